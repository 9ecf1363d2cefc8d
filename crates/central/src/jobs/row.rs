//! A row of `jobs` as a job.

use forebay_wire::{
    Freshness, JobId, JobState, SiteName, Timestamp,
    api::{Exit, Job, JobSpec, JobStatus, JobTask},
};
use tokio_postgres::Row;

use crate::{
    error::Error,
    life::Life,
    sql::{count, get, moment, moment_opt, parsed},
};

/// Whether the site or the scheduler of the job `j` is silent, by its site `s` and cluster `c`: a site that was silent
/// for three heartbeats of the link is away, and so is a scheduler of which its site says that it does not answer.
macro_rules! away {
    () => {
        "(s.seen_at IS NULL OR s.seen_at < now() - interval '30 seconds' \
         OR c.status ->> 'freshness' IS DISTINCT FROM 'live')"
    };
}

macro_rules! life_columns {
    () => {
        "j.state, j.run, j.freshness, j.rev, j.event_seq, j.reason, j.cancel_wanted_at, \
         j.scheduler_id, j.submitted_at, j.started_at, j.ended_at, j.exit_code, j.exit_signal, \
         j.nodes, j.stdout_path, j.stderr_path, j.tasks_total"
    };
}

/// What [`Life`] is made of.
pub(crate) const LIFE_COLUMNS: &str = life_columns!();

/// What [`JobRow`] is made of, from [`JOB_TABLES`].
pub(crate) const JOB_COLUMNS: &str = concat!(
    "j.id, u.name AS owner_name, j.site, j.created_at, j.spec::text AS spec, ",
    away!(),
    " AS away, ",
    life_columns!()
);

/// What an item of a list of jobs is made of, from [`JOB_TABLES`]: without the spec, which may be large.
pub(crate) const ITEM_COLUMNS: &str = concat!(
    "j.id, u.name AS owner_name, j.owner, j.site, j.cluster, j.name, j.created_at, ",
    away!(),
    " AS away, ",
    life_columns!()
);

/// Jobs with their owners' names, their sites and their clusters.
pub(crate) const JOB_TABLES: &str = "jobs j JOIN users u ON u.id = j.owner JOIN sites s ON s.name = j.site \
     JOIN clusters c ON c.name = j.cluster";

/// A job as read.
pub(crate) struct JobRow<'a> {
    pub(crate) id: JobId,
    pub(crate) owner_name: String,
    pub(crate) site: SiteName,
    created_at: Timestamp,
    spec: &'a str,
    away: bool,
    pub(crate) life: Life,
}

impl<'a> JobRow<'a> {
    pub(crate) fn read(row: &'a Row) -> Result<Self, Error> {
        Ok(Self {
            id: JobId::from_uuid(get(row, "id")?),
            owner_name: get(row, "owner_name")?,
            site: parsed("jobs", row, "site")?,
            created_at: moment(row, "created_at")?,
            spec: get(row, "spec")?,
            away: get(row, "away")?,
            life: life(row)?,
        })
    }

    pub(crate) fn job(self) -> Result<Job, Error> {
        let spec = spec_of(self.id, self.spec)?;
        let freshness = shown_freshness(&self.life, self.away);
        Ok(Job {
            id: self.id,
            rev: self.life.rev,
            created_at: self.created_at,
            owner: self.owner_name,
            site: self.site,
            spec,
            status: JobStatus {
                freshness,
                ..status(self.life)
            },
        })
    }
}

/// How fresh a job's state is, as far as its site and its scheduler are heard.
pub(crate) fn shown_freshness(life: &Life, away: bool) -> Freshness {
    let held = !matches!(life.state, JobState::Draft | JobState::Queued);
    match life.freshness {
        // Its site, or its scheduler, is silent: what it last said may be old.
        Freshness::Live if away && held && !life.state.is_end() => Freshness::Stale,
        freshness => freshness,
    }
}

/// What a job's life shows of itself.
pub(crate) fn status(life: Life) -> JobStatus {
    JobStatus {
        state: life.state,
        freshness: life.freshness,
        run: life.run,
        reason: life.reason,
        cancel_wanted_at: life.cancel_wanted_at,
        scheduler_id: life.scheduler_id,
        submitted_at: life.submitted_at,
        started_at: life.started_at,
        ended_at: life.ended_at,
        exit: life.exit,
        nodes: life.nodes,
        stdout_path: life.stdout_path,
        stderr_path: life.stderr_path,
        tasks: life.tasks_total,
    }
}

/// The spec as it was stored.
pub(crate) fn spec_of(id: JobId, text: &str) -> Result<JobSpec, Error> {
    serde_json::from_str(text).map_err(|error| Error::Row {
        table: "jobs",
        reason: format!("the spec of {id}: {error}"),
    })
}

/// From the columns [`LIFE_COLUMNS`].
pub(crate) fn life(row: &Row) -> Result<Life, Error> {
    let total: Option<i64> = get(row, "tasks_total")?;
    Ok(Life {
        state: parsed("jobs", row, "state")?,
        run: count("jobs", row, "run")?,
        freshness: parsed("jobs", row, "freshness")?,
        rev: get(row, "rev")?,
        event_seq: get(row, "event_seq")?,
        reason: get(row, "reason")?,
        cancel_wanted_at: moment_opt(row, "cancel_wanted_at")?,
        scheduler_id: get(row, "scheduler_id")?,
        submitted_at: moment_opt(row, "submitted_at")?,
        started_at: moment_opt(row, "started_at")?,
        ended_at: moment_opt(row, "ended_at")?,
        exit: exit(row)?,
        nodes: get(row, "nodes")?,
        stdout_path: get(row, "stdout_path")?,
        stderr_path: get(row, "stderr_path")?,
        tasks_total: total.and_then(|total| u32::try_from(total).ok()),
    })
}

fn exit(row: &Row) -> Result<Option<Exit>, Error> {
    let code: Option<i32> = get(row, "exit_code")?;
    let signal = get(row, "exit_signal")?;
    Ok(code.map(|code| Exit { code, signal }))
}

/// A row of `job_tasks`.
pub(crate) fn task_row(row: &Row) -> Result<JobTask, Error> {
    Ok(JobTask {
        index: count("job_tasks", row, "index")?,
        state: parsed("job_tasks", row, "state")?,
        scheduler_id: get(row, "scheduler_id")?,
        started_at: moment_opt(row, "started_at")?,
        ended_at: moment_opt(row, "ended_at")?,
        exit: exit(row)?,
        nodes: get(row, "nodes")?,
    })
}
