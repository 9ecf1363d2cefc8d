//! The server of a Forebay site.
//!
//! Claims jobs from the view-server, which it dials; submits each as its
//! owner's Unix account, exactly once; watches the schedulers; reports what it
//! sees. Everything that it must remember is in the site database, so that it
//! can end at any moment and go on where it was.
//!
//! ```text
//! link ──► maintainer (one a cluster) ──► integration ──► user-agents
//!   ▲            │
//!   └── store ◄──┘
//! ```
#![forbid(unsafe_code)]

pub mod accounts;
mod app;
mod args;
pub mod asked;
pub mod config;
pub mod enrolment;
pub mod integration;
pub mod job;
pub mod link;
pub mod logs;
pub mod maintainer;
pub mod store;
pub mod user_agents;

pub use app::main;
