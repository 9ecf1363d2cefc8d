//! Accounting's jobs, by `sacct`.
//!
//! Accounting answers seconds late, never lists a held job in a window (only by its id), and
//! cuts a name at 255 bytes and writes its double quotes as backquotes; characters beyond Latin-1
//! may come back as question marks. A task cancelled while its array waited may have no record. For a few seconds the record of a short job
//! may tell its end, and not yet who it was: [`AcctJob::partial`].

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use super::fields::{exit, maybe_number, number, text, time};
use super::queue::{environment, id_batches, list};
use super::{Cli, Error};
use crate::duration::TimeLimit;
use crate::exit::ExitStatus;
use crate::id::JobId;
use crate::runner::{Command, Program};
use crate::state::JobState;
use crate::table::{Listing, Separators, counted_rows};

/// Which jobs to look up. Give ids, or a time from which on, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcctQuery {
    /// Jobs, arrays, tasks; empty does not restrict. An id that accounting does not know is
    /// simply not listed.
    pub ids: Vec<JobId>,
    /// Users, by name or uid; empty does not restrict.
    pub users: Vec<String>,
    /// Jobs that were anything (waiting, running, ended) after this. It must be before the
    /// oldest open job was submitted. `None`, allowed with ids only, is the beginning of time.
    pub since: Option<OffsetDateTime>,
    /// Steps too (`123.batch`), which tell memory and signals apart.
    pub steps: bool,
}

/// A job, or a step of it, as accounting knows it. A requeued job has a record for each run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AcctJob {
    /// The id that names it: `123`, `123_4`, `123+1`, `123.batch`; `123_[5-9]` for the tasks of
    /// an array that never started.
    pub id: JobId,
    /// The controller's own number for it. Slurm uses numbers again after losing its state.
    pub job_id: u64,
    /// The end of the job has reached the database before its start: owner, name, partition and
    /// working directory are not known yet. Ask again.
    pub partial: bool,
    /// The owner; none for steps and partial records, of which `sacct` says 0.
    pub uid: Option<u32>,
    /// The owner's name; empty for steps.
    pub user: String,
    /// The state, with the uid that cancelled it.
    pub state: JobState,
    /// How it ended.
    pub exit: Option<ExitStatus>,
    /// The highest exit of its steps.
    pub derived_exit: Option<ExitStatus>,
    /// When it was submitted.
    #[serde(with = "time::serde::rfc3339::option")]
    pub submit_time: Option<OffsetDateTime>,
    /// When it was allowed to start; none for a job that was held to its end.
    #[serde(with = "time::serde::rfc3339::option")]
    pub eligible_time: Option<OffsetDateTime>,
    /// When it started; for a job that was cancelled while it was held, the time of that: see
    /// [`has_started`](AcctJob::has_started).
    #[serde(with = "time::serde::rfc3339::option")]
    pub start_time: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub end_time: Option<OffsetDateTime>,
    /// How long it ran, in seconds.
    pub elapsed_s: u64,
    /// Its time limit.
    pub time_limit: TimeLimit,
    /// The partition.
    pub partition: String,
    /// The quality of service.
    pub qos: String,
    /// The nodes it had, as a list expression.
    pub nodes: String,
    /// What it was given (`cpu=2,mem=1G,node=1`).
    pub tres: String,
    /// The most memory a task of the step used at once, in KiB; for steps only.
    pub rss_max_kib: Option<u64>,
    /// Why it waited last.
    pub reason: String,
    /// The account.
    pub account: String,
    /// Its name.
    pub name: String,
    /// Its comment; empty unless the cluster stores comments (`AccountingStoreFlags`).
    pub comment: String,
    /// Its working directory.
    pub work_dir: String,
}

impl AcctJob {
    /// Whether this run of it ever started. `start_time` does not tell.
    pub fn has_started(&self) -> bool {
        !self.nodes.is_empty()
    }
}

/// Fields, in this order; what a user can write comes last.
const FIELDS: [&str; 22] = [
    "JobID",
    "JobIDRaw",
    "UID",
    "User",
    "State",
    "ExitCode",
    "DerivedExitCode",
    "Submit",
    "Eligible",
    "Start",
    "End",
    "ElapsedRaw",
    "TimelimitRaw",
    "Partition",
    "QOS",
    "NodeList",
    "AllocTRES",
    "MaxRSS",
    "Reason",
    "Account",
    "JobName",
    "Comment",
];

/// The fields above and the working directory.
const WIDTH: usize = FIELDS.len() + 1;

fn read_job(fields: &[&str; WIDTH]) -> Result<AcctJob, String> {
    let [
        id,
        raw,
        uid,
        user,
        state,
        exit_code,
        derived,
        submit,
        eligible,
        start,
        end,
        elapsed,
        limit,
        partition,
        qos,
        nodes,
        tres,
        rss,
        reason,
        account,
        name,
        comment,
        work_dir,
    ] = *fields;
    let id: JobId = id
        .parse()
        .map_err(|error: crate::id::ParseIdError| error.to_string())?;
    let raw_number = raw.split('.').next().unwrap_or(raw);
    // Every job has a partition; slurmdbd calls one of which it knows only the end so.
    let partial = id.step().is_none() && partition.is_empty() && name == "allocation";
    Ok(AcctJob {
        partial,
        job_id: number(raw_number, "job id")?,
        uid: maybe_number(uid)
            .filter(|_| !partial)
            .and_then(|uid| u32::try_from(uid).ok()),
        user: user.to_owned(),
        state: JobState::parse(state),
        exit: exit(exit_code),
        derived_exit: exit(derived),
        submit_time: time(submit)?,
        eligible_time: time(eligible)?,
        start_time: time(start)?,
        end_time: time(end)?,
        elapsed_s: maybe_number(elapsed).unwrap_or(0),
        time_limit: time_limit(limit),
        partition: text(partition),
        qos: text(qos),
        nodes: if nodes == "None assigned" {
            String::new()
        } else {
            text(nodes)
        },
        tres: text(tres),
        rss_max_kib: rss.parse::<crate::MemorySize>().ok().map(|size| size.kib),
        reason: if reason == "None" {
            String::new()
        } else {
            text(reason)
        },
        account: text(account),
        name: if partial { String::new() } else { text(name) },
        comment: text(comment),
        work_dir: text(work_dir),
        id,
    })
}

/// Minutes, or a word.
fn time_limit(text: &str) -> TimeLimit {
    match text.trim() {
        "" => TimeLimit::Unknown,
        text => text.parse().unwrap_or(TimeLimit::Unknown),
    }
}

fn command(
    query: &AcctQuery,
    users: Option<String>,
    batch: Option<&String>,
    separator: &str,
) -> Result<Command, Error> {
    let mut args = ["--noheader", "--parsable", "--duplicates"]
        .map(str::to_owned)
        .to_vec();
    args.push(format!("--delimiter={separator}"));
    if !query.steps {
        args.push("--allocations".to_owned());
    }
    match users {
        Some(users) => args.push(users),
        None => args.push("--allusers".to_owned()),
    }
    args.extend(batch.cloned());
    // sacct's own window begins at midnight: never leave it to that. TZ is UTC.
    let since = match query.since {
        Some(since) => since
            .to_offset(time::UtcOffset::UTC)
            .format(format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second]"
            ))
            .map_err(|error| Error::Invalid {
                message: format!("the time cannot be written: {error}"),
            })?,
        None => "1970-01-01T00:00:00".to_owned(),
    };
    args.push(format!("--starttime={since}"));
    args.push(format!("--format={},WorkDir", FIELDS.join(",")));
    Ok(Command {
        env: environment(),
        ..Command::new(Program::Sacct, args)
    })
}

impl Cli {
    /// Looks jobs up in accounting. A row that cannot be read is in [`Listing::skipped`].
    ///
    /// The list is empty only when accounting answered that there is nothing.
    /// [`Error::NoAccounting`] when the cluster keeps none.
    pub async fn accounting(&self, query: &AcctQuery) -> Result<Listing<AcctJob>, Error> {
        if query.ids.is_empty() && query.since.is_none() {
            return Err(Error::Invalid {
                message: "neither jobs nor a time are given".to_owned(),
            });
        }
        let users = list("--user", "user", &query.users)?;
        let batches = id_batches(&query.ids, self.batch_max(), "--jobs");
        let mut listing = Listing::default();
        for batch in batches
            .iter()
            .map(Some)
            .chain(batches.is_empty().then_some(None))
        {
            let by = Separators::new();
            let output = self
                .ask(command(query, users.clone(), batch, &by.row)?)
                .await?;
            // A database that is away leaves sacct with an empty output.
            if !output.exit.success() {
                return Err(Error::of(Program::Sacct, &output));
            }
            listing.append(counted_rows(
                &by.row,
                &String::from_utf8_lossy(&output.stdout),
                read_job,
            ));
        }
        if !query.ids.is_empty() {
            listing
                .items
                .retain(|job| query.ids.iter().any(|id| names(id, job)));
        }
        Ok(listing)
    }
}

/// Whether this id names that record, or a step of it.
fn names(id: &JobId, job: &AcctJob) -> bool {
    id.covers(&job.id) || job.id.without_step().covers(id) || *id == JobId::new(job.job_id)
}

#[cfg(test)]
#[path = "accounting_tests.rs"]
mod tests;
