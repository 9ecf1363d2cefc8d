//! The `local` integration: jobs as processes on this host, one shim each.
//!
//! The user-agent keeps nothing about them in memory that is not on disk: after it was killed,
//! the next one finds the same jobs by their records, see `record.rs`.

pub(crate) mod record;
mod start;
mod sweep;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_wire::{
    Code, JobId, Problem, Timestamp,
    ipc::{LocalJob, LocalJobs, LocalPhase, LocalStart},
};

use crate::account::Account;
use crate::dir::Dir;
use crate::place::Place;
use crate::problems::{self, blocking};
pub(crate) use start::check_path;

use record::{CANCEL, Hold, RELEASE, Record, RecordError, Status};

/// A record may be used by one call at a time; this long for the disk's part of it.
const DEADLINE: Duration = Duration::from_secs(20);
/// So many records are looked at; a user reaches it with 1,400 jobs a day.
const RECORDS: usize = 10_000;

/// The limits of this part.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// How many may be held or running at once. Default 1,000.
    pub alive: usize,
    /// How long the record of an ended job is kept. Default 7 days.
    pub keep: Duration,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            alive: 1000,
            keep: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The processes of one user.
#[derive(Clone, Debug)]
pub struct Local {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: LocalConfig,
    place: Place,
    environment: std::collections::BTreeMap<String, String>,
    /// Starts, releases and cancels, one after the other.
    turn: tokio::sync::Mutex<()>,
    /// Ended ones do not change: their records need not be read at every list.
    ended: Mutex<HashMap<JobId, LocalJob>>,
}

impl Local {
    /// None of the user's jobs is touched before the first call.
    pub fn new(
        config: LocalConfig,
        account: &Account,
        place: Place,
        slurm_conf: Option<&std::path::Path>,
    ) -> Self {
        let environment = crate::environment::base(account, slurm_conf);
        let (turn, ended) = (tokio::sync::Mutex::default(), Mutex::default());
        Self {
            inner: Arc::new(Inner {
                config,
                place,
                environment,
                turn,
                ended,
            }),
        }
    }

    /// Starts a held process. The same job again is a no-op; the answer is where it is now.
    ///
    /// A job whose shim died before it was released is held anew: it has not run.
    pub async fn start(&self, asked: LocalStart) -> Result<LocalJob, Problem> {
        let _turn = self.turn().await?;
        let inner = Arc::clone(&self.inner);
        let job = asked.job;
        let launch = blocking(DEADLINE, "write the job's record", move || {
            start::begin(&inner, asked)
        })
        .await?;
        if let Some(launch) = launch {
            let gone_wrong = start::launch(launch).await;
            gone_wrong?;
        }
        self.look(job).await
    }

    /// Lets a held process run; the answer is where it was at that moment. A no-op for one that
    /// runs or has ended.
    pub async fn release(&self, job: JobId) -> Result<LocalJob, Problem> {
        self.tell(job, RELEASE).await
    }

    /// Ends a process: SIGTERM, and SIGKILL 5 s later; the answer is where it was at that moment.
    /// A no-op for one that has ended.
    pub async fn cancel(&self, job: JobId) -> Result<LocalJob, Problem> {
        self.tell(job, CANCEL).await
    }

    /// All of them, oldest first.
    pub async fn list(&self) -> Result<LocalJobs, Problem> {
        let inner = Arc::clone(&self.inner);
        blocking(DEADLINE, "list the records", move || inner.list()).await
    }

    async fn tell(&self, job: JobId, what: &'static str) -> Result<LocalJob, Problem> {
        let _turn = self.turn().await?;
        let inner = Arc::clone(&self.inner);
        blocking(DEADLINE, "write to the job's record", move || {
            inner.tell(job, what)
        })
        .await
    }

    async fn look(&self, job: JobId) -> Result<LocalJob, Problem> {
        let inner = Arc::clone(&self.inner);
        blocking(DEADLINE, "read the job's record", move || {
            let record = Inner::record(&inner.open()?, job)?;
            Inner::entry(&record, job)
        })
        .await
    }

    async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Problem> {
        let turn = tokio::time::timeout(DEADLINE, self.inner.turn.lock()).await;
        turn.map_err(|_| {
            Problem::new(
                Code::Busy,
                "Another call about local jobs takes long; try again.",
            )
        })
    }
}

impl Inner {
    fn open(&self) -> Result<Dir, Problem> {
        self.place.local().map_err(|error| problems::of_dir(&error))
    }

    fn record(local: &Dir, job: JobId) -> Result<Record, Problem> {
        match local.enter(&job.to_string()) {
            Ok(dir) => Ok(Record { dir }),
            Err(error) if error.is_absent() => Err(Problem::not_found("local job")),
            Err(error) => Err(problems::of_dir(&error)),
        }
    }

    fn entry(record: &Record, job: JobId) -> Result<LocalJob, Problem> {
        match record.entry() {
            Ok(Some(entry)) if entry.job == job => Ok(entry),
            Ok(_) => Err(Problem::not_found("local job")),
            Err(error) => Err(of_record(&error)),
        }
    }

    fn tell(&self, job: JobId, what: &'static str) -> Result<LocalJob, Problem> {
        let record = Self::record(&self.open()?, job)?;
        let entry = Self::entry(&record, job)?;
        match entry.phase {
            LocalPhase::Held | LocalPhase::Running { .. } => {
                record.tell(what).map_err(|e| of_record(&e))?;
            }
            LocalPhase::Gone if what == CANCEL => {
                Self::cancel_gone(&record).map_err(|e| of_record(&e))?;
                return Self::entry(&record, job);
            }
            LocalPhase::Gone | LocalPhase::Ended { .. } => {}
        }
        Ok(entry)
    }

    /// The shim died while the job was held: then it never ran, and that is an end.
    fn cancel_gone(record: &Record) -> Result<(), RecordError> {
        let Hold::Taken(_lock) = record.hold()? else {
            return Ok(());
        };
        if record.started()?.is_some() || record.status()?.is_some() {
            return Ok(());
        }
        record.write_status(&Status {
            started_at: None,
            ended_at: Timestamp::now(),
            exit: forebay_wire::api::Exit {
                code: 0,
                signal: Some(rustix::process::Signal::TERM.as_raw()),
            },
            timed_out: false,
            cancelled: true,
        })
    }

    fn list(&self) -> Result<LocalJobs, Problem> {
        let local = self.open()?;
        let names = local
            .names(RECORDS)
            .map_err(|error| problems::of_dir(&error))?;
        let known = self
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut jobs = Vec::new();
        for job in names.iter().filter_map(|name| name.parse::<JobId>().ok()) {
            let entry = match known.get(&job) {
                Some(entry) => Some(entry.clone()),
                None => Self::read(&local, job),
            };
            // One bad record does not spoil the list.
            if let Some(entry) = entry
                && !sweep::forget_old(&local, &entry, self.config.keep)
            {
                jobs.push(entry);
            }
        }
        jobs.sort_by_key(|job| (job.submitted_at, job.job));
        let ended = jobs
            .iter()
            .filter(|job| matches!(job.phase, LocalPhase::Ended { .. }));
        let ended = ended.map(|job| (job.job, job.clone())).collect();
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = ended;
        Ok(LocalJobs { jobs })
    }

    fn read(local: &Dir, job: JobId) -> Option<LocalJob> {
        let record = Record {
            dir: local.enter(&job.to_string()).ok()?,
        };
        match record.entry() {
            Ok(Some(entry)) if entry.job == job => {
                if entry.phase == LocalPhase::Gone {
                    sweep::end_leftovers(&record, job);
                }
                Some(entry)
            }
            Ok(_) => {
                sweep::forget_empty(local, &record, job);
                None
            }
            Err(error) => {
                tracing::warn!(%job, error = forebay_service::logs::chain(&error), "a record cannot be read");
                None
            }
        }
    }

    fn alive(&self) -> Result<usize, Problem> {
        let alive =
            |job: &LocalJob| matches!(job.phase, LocalPhase::Held | LocalPhase::Running { .. });
        Ok(self.list()?.jobs.iter().filter(|job| alive(job)).count())
    }
}

fn of_record(error: &RecordError) -> Problem {
    match error {
        RecordError::Dir(error) => problems::of_dir(error),
        RecordError::Damaged { .. } => Problem::new(Code::Conflict, "The job's record is damaged."),
        RecordError::Lock(_) => {
            Problem::new(Code::Unavailable, "The job's record cannot be locked.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starting a shim needs the program; see the integration tests.
    #[tokio::test]
    async fn only_so_many_live() {
        let temp = tempfile::tempdir().unwrap();
        let account = Account {
            uid: 1000,
            name: "ann".into(),
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        let place = Place::in_directory(temp.path(), "test");
        let config = LocalConfig {
            alive: 0,
            ..LocalConfig::default()
        };
        let local = Local::new(config, &account, place, None);
        let start = LocalStart {
            job: JobId::new(),
            marker: String::new(),
            script: "/script".to_owned(),
            directory: "/".to_owned(),
            stdout: "/dev/null".to_owned(),
            stderr: "/dev/null".to_owned(),
            environment: std::collections::BTreeMap::new(),
            time_limit_s: None,
        };
        assert_eq!(local.start(start).await.unwrap_err().code, Code::Busy);
        assert_eq!(
            std::fs::read_dir(temp.path().join("test/local"))
                .unwrap()
                .count(),
            0
        );
    }
}
