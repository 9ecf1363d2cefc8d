//! Slurm by its command line: submit, hold, release, cancel, list, look up.
//!
//! Every call answers with what Slurm said, or with an error that says nothing about any job:
//! an empty list is returned only when Slurm itself listed nothing.

mod accounting;
mod cluster;
mod control;
mod error;
mod fields;
mod queue;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::Duration;

pub use accounting::{AcctJob, AcctQuery};
pub use cluster::{ClusterConfig, Controller, Partition, PartitionState};
pub use control::{CancelOptions, ControlError};
pub use error::Error;
pub use queue::{JobDetail, QueueJob, QueueQuery};

use crate::runner::{Command, Output, Runner};
use crate::submit::{Submission, SubmitError, Submitted, read_answer};

/// How long calls may take, and how much goes into one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long `sbatch` may take. It tries for 9 seconds to reach the controller, and for up to
    /// two minutes when the controller has no room.
    pub submit_deadline: Duration,
    /// How long any other program may take.
    pub query_deadline: Duration,
    /// How many ids go into one call, at least 1.
    pub batch_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            submit_deadline: Duration::from_secs(60),
            query_deadline: Duration::from_secs(30),
            batch_max: 200,
        }
    }
}

/// Slurm, reached through a [`Runner`].
///
/// Cheap to clone. Calls may run at the same time; how many is the caller's to bound.
#[derive(Clone, Debug)]
pub struct Cli {
    runner: Arc<dyn Runner>,
    limits: Limits,
}

impl Cli {
    /// Slurm through this runner, with the default limits.
    pub fn new(runner: impl Runner + 'static) -> Self {
        Self::with_limits(runner, Limits::default())
    }

    /// Slurm through this runner, with these limits.
    pub fn with_limits(runner: impl Runner + 'static, limits: Limits) -> Self {
        Self {
            runner: Arc::new(runner),
            limits,
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Submits a job, once: nothing is tried again.
    ///
    /// An error of which [`SubmitError::maybe_submitted`] is true means that a job may exist all
    /// the same; look for it, by a mark in its comment, before submitting again.
    pub async fn submit(&self, submission: &Submission) -> Result<Submitted, SubmitError> {
        let mut command = submission.to_command().map_err(SubmitError::Invalid)?;
        command.deadline = self.limits.submit_deadline;
        let result = self.runner.run(command).await;
        read_answer(result, &submission.options)
    }

    /// Runs a query and returns what it printed, whatever its exit code.
    async fn ask(&self, mut command: Command) -> Result<Output, Error> {
        command.deadline = self.limits.query_deadline;
        let program = command.program;
        self.runner
            .run(command)
            .await
            .map_err(|source| Error::NoAnswer { program, source })
    }

    fn batch_max(&self) -> usize {
        self.limits.batch_max.max(1)
    }
}
