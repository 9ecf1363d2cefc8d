//! The view-server as its callers meet it, over TCP, with a real Postgres.

mod admin;
mod bad_input;
mod enrolment;
mod fake_agent;
mod faults;
#[path = "../../../central/tests/all/instance.rs"]
mod instance;
mod jobs;
mod link;
mod logs;
mod page;
mod server;
mod stream;
mod walk;
mod work;
