//! The public API, `/api/v1`.
//!
//! Objects are `{id, rev, created_at, spec, status}`, lists `{items, next}`,
//! moments RFC 3339 in UTC, units in the names.
//!
//! No type refuses unknown fields: whoever reads an answer must ignore those of a newer server.
//! Whoever takes a request refuses them (`forebay_http::Request::json`), so that no typing error
//! goes unnoticed.

mod cluster;
mod event;
mod job;
mod log;
mod me;
mod session;
mod spec;

pub use cluster::{Cluster, ClusterStatus, Partition};
pub use event::{EventKind, JobEvent};
pub use job::{CreateJob, Exit, Job, JobStatus, JobTask};
pub use log::{LogItem, LogStream};
pub use me::{Health, Me};
pub use session::{PageSettings, SESSION_COOKIE, SESSION_COOKIE_PLAIN, SignIn, SignedIn};
pub use spec::{JobSpec, Output, Resources, SlurmOptions};

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The page's objects, in the order asked for.
    pub items: Vec<T>,
    /// Pass it as `cursor=` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
