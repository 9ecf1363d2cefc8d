//! The whole of Forebay, as people use it: the built programs, a real Slurm and real accounts;
//! through the command and over HTTP. One binary, because linking and starting are what costs.

// Helpers of tests, which clippy does not see as tests; a seed must be printed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod api;
mod arrays;
mod basics;
mod cancel;
mod chaos;
mod faults;
mod isolation;
mod link;
mod local;
mod logs;
mod page;
mod realtime;
mod reap;
mod refusals;
mod specs;
mod up;
mod worlds;
