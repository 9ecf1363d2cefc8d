//! The part of Forebay that runs as the user: one process a user, with that user's rights alone.
//!
//! | module | |
//! |---|---|
//! | [`cli`], [`serve`] | command line, and the life of the process |
//! | [`calls`] | the calls of `forebay_wire::ipc` |
//! | [`prepare`], [`run`], [`log`], [`local`] | what each call does |
//! | [`shim`] | the process that holds one job of the `local` integration |
//! | [`dir`], [`place`] | files below the home, without following links |
//!
//! A library only so that its parts can be tested; the program is `forebay-user-agent`.
#![deny(unsafe_code)] // `descriptors` says why it needs it.

pub mod account;
pub mod calls;
pub mod cli;
pub mod descriptors;
pub mod dir;
pub mod environment;
pub mod idle;
pub mod local;
pub mod log;
pub mod place;
pub mod prepare;
pub mod problems;
pub mod run;
pub mod serve;
pub mod shim;
