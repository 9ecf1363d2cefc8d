//! Why a private instance does not run, in words that say what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An error of the private instance.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot be used.
    #[error("the private database's {setting} cannot be used: {reason}")]
    Config {
        /// The setting's name in [`Config`](super::Config).
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The path of the socket is too long for a unix socket address.
    #[error("the socket's path {path} has {length} bytes, a unix socket allows {max}: choose a shorter socket directory", max = super::SOCKET_PATH_BYTES_MAX)]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// `initdb` and `postgres` were not found.
    #[error(
        "PostgreSQL's server programs (initdb, postgres) were not found in {searched}: {remedy}"
    )]
    NoBinaries {
        /// The directories.
        searched: String,
        /// Which package of this system to install, or what else to do.
        remedy: String,
    },
    /// The programs found are older than anything this crate works with.
    #[error("PostgreSQL {found} in {dir} is too old: at least {min} is needed", min = super::MAJOR_MIN)]
    TooOld {
        /// The major version found.
        found: u32,
        /// Where.
        dir: PathBuf,
    },
    /// The data was made by another major version, and no programs of that version are installed.
    #[error(
        "the database in {dir} was made by PostgreSQL {data}, this system has {program}: run `forebay db upgrade`, which needs the programs of both versions"
    )]
    OtherMajor {
        /// The data directory.
        dir: PathBuf,
        /// The data's major version, as it stands in `PG_VERSION`.
        data: String,
        /// The programs' major version.
        program: u32,
    },
    /// The data cannot be brought to another major version.
    #[error("the private database cannot be upgraded: {reason}")]
    Upgrade {
        /// Why, and what to do.
        reason: String,
    },
    /// It was told to stop before it was done.
    #[error("stopped before it was done; the private database is as it was")]
    Stopped,
    /// The account to run as does not exist, or none was named and no usual one exists.
    #[error("{reason}")]
    Account {
        /// What is wrong and what to do.
        reason: String,
    },
    /// A directory belongs to another account.
    #[error(
        "{path} belongs to uid {owner}, but the private database runs as {account} (uid {uid})"
    )]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The account to run as.
        account: String,
        /// Its uid.
        uid: u32,
    },
    /// The account cannot get to one of its directories.
    #[error(
        "the account {account}, as which the private database runs, cannot reach {path}: {at} is closed to it"
    )]
    Unreachable {
        /// The directory that it needs.
        path: PathBuf,
        /// The account.
        account: String,
        /// The directory that keeps it out.
        at: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// Another process runs this instance.
    #[error("the private database in {dir} is already being run{}", by(*pid))]
    AlreadyRunning {
        /// The state directory.
        dir: PathBuf,
        /// The process, if it left its id.
        pid: Option<u32>,
    },
    /// A server that is not this instance answers on the socket.
    #[error(
        "another server answers on {path}: choose another socket directory, or stop that server"
    )]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody works on the data directory by hand.
    #[error("process {pid} works on {dir} in single-user mode: let it finish first")]
    SingleUser {
        /// The data directory.
        dir: PathBuf,
        /// The process.
        pid: u32,
    },
    /// Processes of an earlier run would not end.
    #[error("processes {pids:?} of an earlier run still use {dir} and do not end")]
    StillRunning {
        /// The data directory.
        dir: PathBuf,
        /// The processes.
        pids: Vec<u32>,
    },
    /// `initdb` failed.
    #[error("the private database could not be made: {said}")]
    Initdb {
        /// Its last words.
        said: String,
    },
    /// The server ended before it was ready.
    #[error("the private database did not start: {said}")]
    Start {
        /// Its last words.
        said: String,
    },
    /// The server did not become ready in time.
    #[error("the private database was not ready within {waited:?}")]
    NotReady {
        /// How long it was given.
        waited: Duration,
    },
    /// A file, directory or process could not be handled.
    #[error("could not {what} {path}")]
    Io {
        /// The deed.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Roles and databases could not be made.
    #[error("the private database's roles and databases could not be made")]
    Database(#[source] crate::Error),
}

impl Error {
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }

    pub(super) fn upgrade(reason: impl Into<String>) -> Error {
        Error::Upgrade {
            reason: reason.into(),
        }
    }

    pub(super) fn config(setting: &'static str, reason: impl Into<String>) -> Error {
        Error::Config {
            setting,
            reason: reason.into(),
        }
    }
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}
