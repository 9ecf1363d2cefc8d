//! Why a call gave no answer. None of these says anything about a job.

use crate::runner::{Exit, Output, Program, RunnerError};
use crate::submit::clean;

/// Why a call gave no answer. Nothing about any job follows from an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The controller, or the accounting database, does not answer.
    #[error("Slurm does not answer: {message}")]
    Unavailable {
        /// What `program` said.
        message: String,
        /// The program.
        program: Program,
    },
    /// The program could not be run, or not to its end.
    #[error("{program} gave no answer")]
    NoAnswer {
        /// The program.
        program: Program,
        /// Why.
        #[source]
        source: RunnerError,
    },
    /// This cluster keeps no accounting.
    #[error("this cluster keeps no accounting")]
    NoAccounting,
    /// The caller may not ask that.
    #[error("Slurm refuses the answer: {message}")]
    Denied {
        /// What the program said.
        message: String,
    },
    /// What was asked is malformed, or names a user that does not exist.
    #[error("the question cannot be asked: {message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// The program failed in another way.
    #[error("{program} failed with {exit}: {message}")]
    Failed {
        /// The program.
        program: Program,
        /// How it ended.
        exit: Exit,
        /// What it said.
        message: String,
    },
    /// The program answered in a form that is not known.
    #[error("{program} answered in an unknown form: {message}")]
    Malformed {
        /// The program.
        program: Program,
        /// What is wrong.
        message: String,
    },
}

impl Error {
    /// Whether asking again later may help: Slurm, or the way to it, is away.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::NoAnswer { source, .. } => !matches!(
                source,
                RunnerError::NotFound { .. } | RunnerError::Dir { .. }
            ),
            _ => false,
        }
    }

    /// What a failed program's words mean.
    pub(super) fn of(program: Program, output: &Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let message = clean(&stderr);
        let text = stderr.to_ascii_lowercase();
        let has = |needles: &[&str]| needles.iter().any(|needle| text.contains(needle));
        if has(&[
            "accounting storage is disabled",
            "slurmdbd is not",
            "no slurmdbd",
        ]) {
            Self::NoAccounting
        } else if is_silence(&text) {
            Self::Unavailable { message, program }
        } else if has(&["permission denied", "you are not running a supported"]) {
            Self::Denied { message }
        } else if has(&[
            "invalid user",
            "invalid job state",
            "invalid partition",
            "invalid job id",
            "invalid field",
        ]) {
            Self::Invalid { message }
        } else {
            Self::Failed {
                program,
                exit: output.exit,
                message,
            }
        }
    }
}

/// Whether these words (in lower case) mean that the controller, the database or munge is away
/// or has no time.
pub(super) fn is_silence(text: &str) -> bool {
    [
        "unable to contact slurm controller",
        "socket timed out",
        "connection timed out",
        "connection refused",
        "connection reset",
        "zero bytes were transmitted",
        "unexpected message received",
        "failed to send entire message",
        "message receive failure",
        "message send failure",
        "communication connection failure",
        "communication shutdown failure",
        "connection rejected by handler",
        "quiesce timeout",
        "delayed socket error",
        "process is shutting down",
        "protocol authentication error",
        "authentication credential",
        "munge",
        "problem talking to the database",
        "unable to connect to database",
        "failed to open persistent connection",
        "sending persistinit msg",
        "database connection reference",
        "standby mode",
        "rate limit exceeded",
        "resource temporarily unavailable",
        "try again",
        "incompatible versions of client and server",
        "unable to establish configuration source",
        "could not establish a configuration source",
    ]
    .iter()
    .any(|needle| text.contains(needle))
}
