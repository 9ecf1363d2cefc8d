//! realtime: feeds to browsers and programs, over WebSocket and server-sent events. The protocol is
//! [`forebay_wire::feed`]. [`server::start`] turns a [`config::Config`] into a running service.
//!
//! One task reads the feed of the central database (`feed`) and gives what changed to the mailboxes of all who
//! subscribed ([`forebay_streams::hub`]), however many they are. A connection is a task with a `client`: its topics,
//! and what it is owed of them. Nothing else is kept, so any number of replicas may run beside each other.
//!
//! | module | what it is |
//! |---|---|
//! | `feed` | the one reader of the feed |
//! | `told` | what a mailbox holds: a delta, written once for all who get it |
//! | `client` | one connection's topics: snapshots, deltas, resuming; apart from how it is connected |
//! | `socket`, `events` | the two ways to connect |
//! | `auth`, `rights` | who reads, at the start and from then on |
//! | `seats` | how many there may be |
//! | [`config`], [`command`] | told by files and the command line |
#![forbid(unsafe_code)]

mod auth;
mod client;
pub mod command;
pub mod config;
mod events;
mod feed;
mod gauges;
mod health;
mod realtime;
mod rights;
mod seats;
pub mod server;
mod socket;
mod told;

pub use realtime::Realtime;
