//! realtime as its readers meet it: the real program, with a real Postgres.

mod announcements;
mod bounds;
mod faults;
mod instance;
mod reader;
mod resume;
mod rig;
mod rights;
mod topics;
mod walk;
#[path = "../../../central/tests/all/world.rs"]
#[expect(dead_code, reason = "central's own tests use all of it")]
mod world;
