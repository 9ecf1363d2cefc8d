//! The built program, driven over its socket as the agent does it.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that cannot go on fails its test"
)]

mod access;
mod garbage;
mod local;
mod local_crash;
mod logs;
mod prepare;
mod rig;
mod run;
