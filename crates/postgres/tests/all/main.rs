//! The tests against real servers, as one program. Each test that needs a server has a private instance of its own:
//! some kill it, some hold transactions open, and snapshots are instance-wide.
//!
//! Without Postgres's server programs, or where root is needed and missing, a test says `SKIPPED` and why; with
//! `FOREBAY_REQUIRE=all` in the environment that is a failure.

mod doorbell;
mod feed;
mod migrate;
mod pool;
mod private;
mod support;
mod upgrade;
