//! The agent speaks to a user-agent, which runs as one Unix user.
//!
//! HTTP over the user-agent's socket. Nothing here carries a key: the
//! user-agent acts with its own uid alone.
//!
//! | call | purpose |
//! |---|---|
//! | `GET /v1/hello` | [`Hello`] |
//! | `POST /v1/jobs/{id}/prepare` | [`Prepare`] → [`Prepared`]: the job's directory and script |
//! | `POST /v1/run` | [`Run`] → [`Ran`]: one of the scheduler's programs |
//! | `GET /v1/log?path=` with `Range` | a piece of a file, at most `max=` bytes; waits with `wait_ms=` |
//! | `POST /v1/local/jobs` | [`LocalStart`] → [`LocalJob`]: a held process of the `local` integration |
//! | `POST /v1/local/jobs/{id}/release`, `…/cancel` | lets it run; ends it → [`LocalJob`] as it was |
//! | `GET /v1/local/jobs` | [`LocalJobs`] |
//! | `POST /v1/end` | ends the user-agent when its calls have been answered; jobs go on → 204 |
//!
//! Of a `run` that answers a problem, `busy`, `invalid`, `forbidden` and `unavailable` say that
//! the program never ran; after `deadline`, `too_large` and `scheduler_error` it may have done
//! what it was asked to do.
//!
//! A log's answer is 206 with `Content-Range` and [`LOG_SIZE_HEADER`]; when there is nothing in
//! the range (yet), 206 without a body and `Content-Range: bytes */<size>`, never 416. A size
//! smaller than the range's start tells that the file was cut. No such file is 404.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{JobId, Timestamp, api::Exit};

/// The newest version of these calls that this build speaks.
pub const VERSION: u16 = 1;

/// Answers of `GET /v1/log` carry the file's size here, bytes.
pub const LOG_SIZE_HEADER: &str = "forebay-log-size";

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of these calls that it speaks.
    pub version: u16,
    /// The program's version.
    pub program_version: String,
    /// The uid it runs as.
    pub uid: u32,
}

/// Makes a job's directory and writes its script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The whole script.
    pub script: String,
}

/// Where things are; absolute paths on the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The user's home, the default working directory.
    pub home: String,
    /// The job's own directory.
    pub directory: String,
    /// The script in it.
    pub script: String,
}

/// Runs one of the scheduler's programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// `sbatch`, `squeue`, `sacct`, `scancel`, `scontrol` or `sinfo`; no other.
    pub program: String,
    /// Its arguments, one each.
    pub args: Vec<String>,
    /// Its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Variables added to the user-agent's own explicit environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Where it runs; the home directory if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// How long it may take, milliseconds; then its process group is killed.
    pub deadline_ms: u64,
}

/// How it ended. Exactly one of `code` and `signal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What it printed; bytes that are not UTF-8 show as U+FFFD.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// Starts a held process of the `local` integration. The same job again is a no-op.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalStart {
    /// The job.
    pub job: JobId,
    /// The mark by which it is found again.
    pub marker: String,
    /// The script, from [`Prepared`].
    pub script: String,
    /// Where it runs.
    pub directory: String,
    /// The file of its standard output.
    pub stdout: String,
    /// The file of its standard error.
    pub stderr: String,
    /// Variables added to its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The longest it may run, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_s: Option<u64>,
}

/// Every process of the `local` integration that this user has a record of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalJobs {
    /// Oldest first.
    pub jobs: Vec<LocalJob>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalJob {
    /// The job.
    pub job: JobId,
    /// Its mark.
    pub marker: String,
    /// When it was handed over.
    pub submitted_at: Timestamp,
    /// Where it is.
    #[serde(flatten)]
    pub phase: LocalPhase,
}

/// Where a process of the `local` integration is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum LocalPhase {
    /// Waits for its release.
    Held,
    /// Runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// Has ended, and how.
    Ended {
        /// When it began, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// When it ended.
        ended_at: Timestamp,
        /// How.
        exit: Exit,
        /// It was ended at its time limit.
        #[serde(default)]
        timed_out: bool,
        /// It was ended because that was asked for.
        #[serde(default)]
        cancelled: bool,
    },
    /// Its shim died without a record: the host was restarted, or somebody killed it.
    Gone,
}
