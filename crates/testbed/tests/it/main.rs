//! The testbed itself, with real processes and a real Slurm. One binary: linking is what costs.

#![allow(clippy::unwrap_used)] // helpers of tests, which clippy does not see as tests

mod guard;
mod need;
mod postgres;
mod slurm;
mod support;
