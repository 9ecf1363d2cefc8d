//! The view-server: the public API of Forebay, and the central side of its
//! sites' links. [`server::start`] turns a [`config::Config`] into a running
//! service; the program around it is a dozen lines.
//!
//! | module | what it is |
//! |---|---|
//! | `api` | the public API's handlers: decode, call, convert |
//! | `link` | what agents call, and the tunnel that turns the connection around |
//! | [`page`] | the page: its files, its cookie, and what keeps others from using that |
//! | [`spec_check`] | whether a job may be handed in; pure |
//! | `jobs` | what handing one in means, apart from HTTP |
//! | [`view`] | what handlers work with; who calls |
//! | [`ways`], [`tunnels`] | the ways from here to the agents |
//! | `replica` | what other replicas call |
//! | [`config`], [`command`], [`admin`], [`certificate`] | told by files and the command line |
#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod certificate;
pub mod command;
pub mod config;
mod gauges;
mod jobs;
mod known;
mod link;
pub mod page;
mod replica;
pub mod server;
pub mod spec_check;
pub mod tunnels;
pub mod view;
pub mod ways;
