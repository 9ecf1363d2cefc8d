//! What a test process and its guard say to each other: one JSON value a line, over a socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::process::Command;

/// To the guard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Start a process; answered by `Started` or `Failed`.
    Start { id: u64, command: Box<Command> },
    /// Send a signal to a started process, or to all of its session; answered by `Signalled` with
    /// the number `answer`.
    Signal {
        id: u64,
        answer: u64,
        signal: i32,
        session: bool,
    },
    /// Remove this directory at the end.
    Remove { path: PathBuf },
}

/// From the guard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tell {
    /// Said once, first.
    Ready,
    Started {
        id: u64,
        pid: i32,
    },
    Failed {
        id: u64,
        error: String,
    },
    /// How many processes got the signal; 0 if all had ended.
    Signalled {
        answer: u64,
        count: usize,
    },
    /// Exactly one of the two is given.
    Exited {
        id: u64,
        code: Option<i32>,
        signal: Option<i32>,
    },
}
