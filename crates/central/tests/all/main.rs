//! The store against a real Postgres, as one program.

mod claims;
mod enrolment;
mod feeds;
mod instance;
mod jobs;
mod life;
mod reports;
mod sessions;
mod sites;
mod tend;
mod users;
mod world;
