//! The batch in memory: jobs as they are and as they become. Pure.

use std::collections::{BTreeMap, BTreeSet};

use forebay_wire::{
    ClusterName, JobId, Timestamp, UserId,
    api::{ClusterStatus, JobEvent, LogStream},
    link::{Observation, Report},
};

use crate::life::{Cause, Life, Tasks, transition};

/// One job of the batch.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    pub(super) owner: UserId,
    pub(super) before: Life,
    pub(super) now: Life,
    /// The newest report that was applied to it, before and now.
    pub(super) seq: i64,
    pub(super) events: Vec<JobEvent>,
    /// Loaded only where the batch is about tasks.
    pub(super) tasks: Tasks,
    pub(super) tasks_changed: BTreeSet<u32>,
}

/// The end of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) offset: u64,
    pub(super) text: String,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// The site's jobs that the batch is about; others are not here.
    pub(super) jobs: BTreeMap<JobId, Tracked>,
    /// The newest status of each cluster. Whose they are is checked on saving.
    pub(super) clusters: BTreeMap<ClusterName, ClusterStatus>,
    /// The newest tail of each log.
    pub(super) tails: BTreeMap<(JobId, &'static str, Option<u32>), Tail>,
    pub(super) received_at: Option<Timestamp>,
}

impl Tracked {
    pub(super) fn new(owner: UserId, life: Life, seq: i64) -> Self {
        Self {
            owner,
            before: life.clone(),
            now: life,
            seq,
            events: Vec::new(),
            tasks: Tasks::new(),
            tasks_changed: BTreeSet::new(),
        }
    }
}

impl Batch {
    /// Whether anything is to be told.
    pub(super) fn changed(&self) -> bool {
        !self.clusters.is_empty() || self.jobs.values().any(|job| job.now != job.before)
    }

    pub(super) fn apply(&mut self, seq: i64, report: &Report) {
        match report {
            Report::Job { job, at, run, saw } => self.saw(seq, *job, *at, *run, saw),
            Report::Cluster { cluster, status } => {
                self.clusters.insert(cluster.clone(), status.clone());
            }
            Report::LogTail {
                job,
                stream,
                task,
                offset,
                text,
            } => self.tail(*job, *stream, *task, *offset, text),
        }
    }

    fn tail(&mut self, job: JobId, stream: LogStream, task: Option<u32>, offset: u64, text: &str) {
        if !self.jobs.contains_key(&job) {
            tracing::warn!(%job, "the tail of a job that is not this site's was skipped");
            return;
        }
        let tail = Tail {
            offset,
            text: text.to_owned(),
        };
        self.tails.insert((job, stream.as_str(), task), tail);
    }

    fn saw(&mut self, seq: i64, id: JobId, at: Timestamp, run: u32, saw: &Observation) {
        let Some(job) = self.jobs.get_mut(&id) else {
            tracing::warn!(job = %id, seq, "a report about a job that is not this site's was skipped");
            return;
        };
        if seq <= job.seq {
            return;
        }
        let merged = match saw {
            Observation::Tasks { tasks, .. } => {
                let mut merged = job.tasks.clone();
                merged.extend(tasks.iter().map(|task| (task.index, task.clone())));
                Some(merged)
            }
            _ => None,
        };
        let cause = Cause::Saw {
            run,
            at,
            saw,
            tasks: merged.as_ref(),
        };
        let now = self.received_at.unwrap_or(at);
        match transition(&job.now, &cause, now) {
            Ok(outcome) => {
                job.now = outcome.after;
                job.events.extend(outcome.events);
                if let (Some(merged), Observation::Tasks { tasks, .. }) = (merged, saw) {
                    job.tasks = merged;
                    job.tasks_changed
                        .extend(tasks.iter().map(|task| task.index));
                }
            }
            // Late word of what is known already is usual; the log has it for the rest.
            Err(refused) => {
                tracing::info!(job = %id, seq, run, %refused, "a report was not applied");
            }
        }
        job.seq = seq;
    }
}
