//! The central store of Forebay: what the services in front of the clusters
//! share, in one Postgres database.
//!
//! SQL is only here. Each noun has its module, each an `impl` of [`Store`]. What
//! a job may become is decided by [`life`], which is pure; the store reads a row
//! under its lock, asks, and writes what came out. The database holds the table
//! of legal transitions as well and refuses others.
//!
//! Nothing reads a job without a [`Caller`], except for its site, which comes
//! with a [`Link`]: whose job it is, is part of each query.
#![forbid(unsafe_code)]

mod announcements;
mod audit;
mod claims;
mod clusters;
mod desired;
mod enrolment;
mod error;
pub mod feeds;
mod jobs;
pub mod life;
mod replicas;
mod reports;
mod retention;
mod secret;
mod sessions;
mod sites;
mod sql;
mod stats;
mod store;
mod users;

pub use announcements::{ANNOUNCEMENT_CHARS_MAX, ANNOUNCEMENTS_MAX};
pub use audit::{Actor, AuditEntry};
pub use claims::CLAIM_MAX;
pub use desired::{Again, DesiredCursor, DesiredPage};
pub use enrolment::{
    AssertionError, ENROLMENT, ENROLMENT_MAX, KnownSite, SiteKey, check_statement,
};
pub use error::Error;
pub use jobs::{Created, Events, JobFilter, JobPlace, JobSort, LogTail, NewJob};
pub use replicas::{REPLICA_TOKEN, Replica};
pub use retention::Retention;
pub use secret::NewToken;
pub use sessions::{NewSession, SESSION_IDLE, SESSION_MAX, SESSIONS_MAX};
pub use sites::{CLUSTERS_MAX, LINK_TOKEN_S, Link, Site, versions_overlap};
pub use store::Store;
pub use users::{Caller, Token};
