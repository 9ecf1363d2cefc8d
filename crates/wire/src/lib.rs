//! The types that cross a process boundary in Forebay, one module a boundary:
//!
//! | module | who speaks | to whom |
//! |---|---|---|
//! | [`api`] | people and programs | the view-server |
//! | [`feed`] | realtime | whoever watches: browsers, programs |
//! | [`link`] | the agent of a site | the view-server, and back through the tunnel |
//! | [`ipc`] | the agent | a user-agent |
//!
//! and what they share: typed [ids](id), job [states](state), [problems](problem)
//! and [timestamps](Timestamp). There is no logic here beyond parsing and printing.
//!
//! ```
//! use forebay_wire::{JobId, JobState};
//!
//! let id: JobId = "j01jdzz2v8nf3tbw0q5c7m9xk4e".parse()?;
//! assert_eq!(id.to_string(), "j01jdzz2v8nf3tbw0q5c7m9xk4e");
//! assert!(JobState::TimedOut.is_end());
//! # Ok::<(), forebay_wire::id::IdError>(())
//! ```
#![forbid(unsafe_code)]

pub mod api;
pub mod feed;
pub mod id;
pub mod ipc;
pub mod link;
pub mod name;
mod pin;
pub mod problem;
pub mod state;
mod timestamp;

pub use id::{AnnouncementId, JobId, KeyId, TokenId, UserId};
pub use name::{ClusterName, SiteName};
pub use pin::{Pin, PinError, hex};
pub use problem::{Code, Detail, Problem, Retry};
pub use state::{Freshness, JobState};
pub use timestamp::Timestamp;
