#![doc = include_str!("../README.md")]

mod client;
pub mod doorbell;
mod error;
pub mod feed;
pub mod migrate;
pub mod pool;
pub mod private;
mod stats;

pub use client::{Client, Named, Transaction};
pub use error::Error;
pub use pool::{Config, Connection, Pool, Status, Target};
pub use stats::QueryStats;

/// The driver, for its types: rows, parameters, SQL states.
pub use tokio_postgres;

/// The migration library, for [`migrate::run`].
pub use refinery;
