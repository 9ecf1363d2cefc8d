//! What can go wrong with an installation.

use crate::process::{self, Exit};
use crate::{accounts, guard, ports, programs};

/// Why an installation does not run, or a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory or a file could not be made or read.
    #[error("cannot make a place for the services")]
    Place(#[source] std::io::Error),
    /// No guard.
    #[error("cannot guard the services")]
    Guard(#[source] guard::Error),
    /// No ports.
    #[error("no ports for the services")]
    Ports(#[source] ports::Error),
    /// An account could not be looked up.
    #[error("no account for a user")]
    Account(#[source] accounts::Error),
    /// There is no such user here, or no account of that name.
    #[error("there is no user {0}")]
    NoUser(String),
    /// An ordinary user's installation runs that user's jobs only.
    #[error("without root the only user can be {own}, not {wanted}")]
    OneUser {
        /// Who this process is.
        own: String,
        /// Who was asked for.
        wanted: String,
    },
    /// A program is not built.
    #[error("a program of Forebay is not there")]
    Program(#[source] programs::Error),
    /// A process did not do what it should.
    #[error("{what}")]
    Process {
        /// What was tried.
        what: String,
        /// How it went wrong.
        #[source]
        source: process::Error,
    },
    /// A command said no.
    #[error("{command}: {exit}: {stderr}")]
    Command {
        /// Program and arguments.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What it printed on standard error.
        stderr: String,
    },
    /// There is no such process now.
    #[error("{0} does not run")]
    NotRunning(String),
}

pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(process::Error) -> Error {
    let what = what.into();
    |source| Error::Process { what, source }
}
