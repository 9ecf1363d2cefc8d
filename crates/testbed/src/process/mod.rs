//! Processes started for a test: as a user, with an explicit environment, in a session of their
//! own, with their output in files, below a [`crate::guard::Guard`].

mod command;
mod daemon;
mod identity;
mod run;

pub use command::Command;
pub(crate) use daemon::tail;
pub use daemon::{Daemon, Error, Memory};
pub use identity::User;
pub use run::{Output, run};

/// How a process ended: with a code or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code, if it exited.
    pub code: Option<i32>,
    /// The signal's number, if one ended it.
    pub signal: Option<i32>,
}

impl Exit {
    /// Exit code 0.
    pub fn success(self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("an unknown end"),
        }
    }
}
