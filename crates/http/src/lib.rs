//! warp as every Forebay service uses it.
//!
//! **Server.** [`serve`] is an accept loop of our own over TCP or a unix socket ([`Listener`]), with
//! the limits that warp's server lacks ([`Limits`]): connections, time to the first request, idle
//! and stalled connections, bodies, time per request, drain with a deadline. What it serves is an
//! [`App`]: a [`Table`](routes::Table) of routes, or any boxed warp filter. A route's handler takes
//! a [`Request`] by value, decodes inside the async function and returns
//! `Result<impl warp::Reply, Problem>`; errors are values, never warp rejections.
//!
//! **Client.** [`Client`] calls the same over TCP, a unix socket (the server's uid checked first) or
//! a [`link`], where HTTP/2 runs against the direction in which the connection was opened.
//!
//! **TLS** by rustls, with the feature `tls`: `Listener::with_tls` and `Client::to`.
//!
//! ```no_run
//! use forebay_http::{Limits, Listener, Problem, Request, reply, routes::{Access, Route, Table}};
//! use forebay_service::Tasks;
//!
//! #[derive(serde::Deserialize)]
//! struct New { name: String }
//!
//! async fn create(greeting: &'static str, mut request: Request) -> Result<impl warp::Reply, Problem> {
//!     let new: New = request.json(16 << 10).await?;
//!     Ok(reply::json(http::StatusCode::CREATED, &format!("{greeting}, {}", new.name)))
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let tasks = Tasks::new();
//! let mut table = Table::new();
//! table.add(Route::with(&"hello", http::Method::POST, "/names", Access::Public, create).shielded(&tasks));
//! let listener = Listener::tcp("127.0.0.1:0".parse()?).await?;
//! tasks.spawn_essential("http", forebay_http::serve(listener, table, Limits::default(), tasks.clone()));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod activity;
mod app;
mod body;
pub mod client;
mod connection;
mod io;
mod known;
mod limits;
pub mod link;
mod listener;
mod metrics;
pub mod ndjson;
mod peer;
mod problem;
mod query;
pub mod reply;
mod request;
pub mod routes;
mod server;
mod shield;
pub mod sse;
#[cfg(feature = "tls")]
pub mod tls;
mod unparsed;

pub use app::App;
pub use body::Body;
pub use client::{Client, ClientError};
pub use forebay_wire::{Code, Problem};
pub use known::read_noting_unknown;
pub use limits::Limits;
pub use listener::{Address, ListenError, Listener};
pub use peer::Peer;
pub use reply::Response;
pub use request::{Request, RequestId, UpgradedIo, request};
pub use server::serve;
pub use shield::shielded;
