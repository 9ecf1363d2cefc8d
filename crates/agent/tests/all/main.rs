//! The agent against a real Postgres, a view-server that speaks the link, and a
//! model scheduler whose answers can be lost.

mod chaos;
mod database;
mod faults;
mod life;
mod link;
mod model;
mod reap;
mod restart;
mod store;
mod view_server;
mod world;
