//! The life of a service: config, build, spawn, drain.
//!
//! A service is a set of tasks under one [`Tasks`] handle: one cancellation token, one tracker.
//! [`run`](run()) (or [`main`], which also makes the runtime) builds it, tells systemd that it is
//! ready, waits for SIGTERM or SIGINT, and drains it within a deadline; a second signal ends it at
//! once. Around that stand the few things each service needs in the same form: supervised and
//! periodic background work with status ([`Tasks::supervise`], [`Tasks::periodic`]), [`Backoff`]
//! with full jitter, [`logs`], [`Metrics`], [`config`] whose errors name file, line and column,
//! and [`secrets`].
//!
//! ```no_run
//! use std::{convert::Infallible, process::ExitCode, time::Duration};
//! use forebay_service::{Backoff, Every, Nudge, logs};
//!
//! fn main() -> ExitCode {
//!     if let Err(error) = logs::init(logs::Format::Pretty, "info") {
//!         eprintln!("{}", logs::chain(&error));
//!         return ExitCode::FAILURE;
//!     }
//!     forebay_service::main("example", Duration::from_secs(10), |service| async move {
//!         let nudge = Nudge::new();
//!         service.tasks.periodic("sweep", Every::new(Duration::from_secs(60)), nudge, || async {
//!             Ok::<_, std::io::Error>(())
//!         });
//!         service.tasks.supervise("watch", Backoff::default(), |stop| async move {
//!             stop.cancelled().await;
//!             Ok::<_, Infallible>(())
//!         });
//!         Ok::<_, std::io::Error>(())
//!     })
//! }
//! ```
#![forbid(unsafe_code)]

pub mod backoff;
pub mod config;
pub mod logs;
pub mod metrics;
mod notify;
mod nudge;
mod periodic;
mod process;
mod run;
pub mod secrets;
mod status;
mod strictness;
mod supervise;
mod tasks;

pub use backoff::{Backoff, Retry};
pub use metrics::Metrics;
pub use nudge::Nudge;
pub use periodic::Every;
pub use run::{Outcome, Service, main, run};
pub use status::{TaskKind, TaskStatus};
pub use strictness::Strictness;
pub use supervise::TaskHandle;
pub use tasks::{Cut, Ended, Running, Tasks};
pub use tokio_util::sync::CancellationToken;
