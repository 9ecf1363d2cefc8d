//! Against a real Slurm, as Unix users who are not root.
//!
//! The tests share one cluster with accounting; what breaks a cluster has one of its own.

mod lifecycle;
mod names;
mod outages;
mod refusals;
mod scripts;
mod world;
