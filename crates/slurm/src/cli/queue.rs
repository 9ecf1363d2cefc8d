//! The controller's jobs, by `squeue`.
//!
//! `squeue -O` prints every field in full and raw; [`crate::table`] tells why user text cannot
//! shift its columns. `scontrol show job` is not used: it prints names and comments raw between
//! `Key=value` pairs, so that a name can pretend to be another key.

use serde::Serialize;
use time::OffsetDateTime;

use super::fields::{exit, maybe_number, number, text, time};
use super::{Cli, Error};
use crate::duration::TimeLimit;
use crate::exit::ExitStatus;
use crate::id::{JobId, Part};
use crate::paths::{PathContext, expand};
use crate::runner::{Command, Output, Program};
use crate::state::JobState;
use crate::table::{Listing, Separators};

/// Which jobs to list. Empty lists do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueQuery {
    /// Users, by name or uid.
    pub users: Vec<String>,
    /// Jobs, arrays, tasks. An id that the controller does not know is simply not listed.
    pub ids: Vec<JobId>,
    /// States, in Slurm's words (`PENDING`); empty lists all that the controller still knows,
    /// ended ones too.
    pub states: Vec<String>,
}

/// A job as the controller knows it: one row for each job, for each array task that has
/// started, and for the tasks of an array that still wait. A single task that is cancelled while
/// its array waits leaves no row; nor, on 22.05, a record in accounting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueJob {
    /// The id that names what the row stands for: `123`, `123_4`, `123_[5-9%2]`, `123+1`.
    pub id: JobId,
    /// The controller's own number for the row. For a started array task another than the
    /// array's, but for the last, which keeps it.
    pub job_id: u64,
    /// The leader, for a component of a heterogeneous job.
    pub het_job_id: Option<u64>,
    /// The owner.
    pub uid: u32,
    /// The owner's name.
    pub user: String,
    /// The state; `squeue` shows one word of it.
    pub state: JobState,
    /// Why it waits, or how it ended.
    pub reason: String,
    /// The partition, or several with commas while it waits.
    pub partition: String,
    /// The account; empty without accounting.
    pub account: String,
    /// The quality of service; empty without accounting.
    pub qos: String,
    /// Allocated nodes, as a list expression (`n[1-3]`); empty while it waits.
    pub nodes: String,
    /// How many nodes it has or wants.
    pub node_count: Option<u32>,
    /// How many processors it has or wants.
    pub cpu_count: Option<u32>,
    /// When it was submitted.
    #[serde(with = "time::serde::rfc3339::option")]
    pub submit_time: Option<OffsetDateTime>,
    /// When it was, or will be, allowed to start; none while it is held.
    #[serde(with = "time::serde::rfc3339::option")]
    pub eligible_time: Option<OffsetDateTime>,
    /// When it started; while it waits, when it is expected to; when it was cancelled before it
    /// started, the time of that: see [`has_started`](QueueJob::has_started).
    #[serde(with = "time::serde::rfc3339::option")]
    pub start_time: Option<OffsetDateTime>,
    /// When it ended; before that, when it is expected to.
    #[serde(with = "time::serde::rfc3339::option")]
    pub end_time: Option<OffsetDateTime>,
    /// How it ended; success before it did.
    pub exit: Option<ExitStatus>,
    /// Its time limit.
    pub time_limit: TimeLimit,
    /// Its priority; 0 is held.
    pub priority: u64,
    /// How often it was requeued.
    pub restarts: u32,
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: String,
    /// Where its output goes, patterns expanded as far as they can be.
    pub stdout: String,
    /// Where its error output goes.
    pub stderr: String,
    /// Its working directory.
    pub work_dir: String,
}

impl QueueJob {
    /// Whether it waits until somebody releases it.
    pub fn is_held(&self) -> bool {
        self.state.is_held(&self.reason) || (self.state.is_pending() && self.priority == 0)
    }

    /// Whether this run of it has started, or did before it ended. `start_time` does not tell.
    pub fn has_started(&self) -> bool {
        self.state.is_active() || (!self.state.is_pending() && !self.nodes.is_empty())
    }
}

/// A job with what is worth asking only one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobDetail {
    /// What the list shows too.
    pub job: QueueJob,
    /// The script's path and arguments, when it was submitted as a file.
    pub command: String,
    /// Where its input comes from.
    pub stdin: String,
    /// What it still depends on.
    pub dependency: String,
    /// Features it wants.
    pub features: String,
    /// Licences it wants.
    pub licenses: String,
    /// The reservation it runs in.
    pub reservation: String,
    /// The least memory it wants on each node, as Slurm prints it.
    pub min_memory: String,
    /// What it was given (`cpu=2,mem=1G,node=1,billing=2`).
    pub tres: String,
    /// The node its batch script runs on.
    pub batch_host: String,
}

/// Fields of a list, in this order; what a user can write comes last.
const LIST: [&str; 26] = [
    "JobArrayID",
    "JobID",
    "HetJobID",
    "UserID",
    "State",
    "exit_code",
    "PriorityLong",
    "RestartCnt",
    "SubmitTime",
    "EligibleTime",
    "StartTime",
    "EndTime",
    "TimeLimit",
    "NumNodes",
    "NumCPUs",
    "UserName",
    "Partition",
    "NodeList",
    "Reason",
    "QOS",
    "Account",
    "Name",
    "Comment",
    "StdOut",
    "StdErr",
    "WorkDir",
];

/// More fields, for one job.
const DETAIL: [&str; 35] = {
    let mut all = [""; 35];
    let more = [
        "Command",
        "StdIn",
        "Dependency",
        "Feature",
        "Licenses",
        "Reservation",
        "MinMemory",
        "tres-alloc",
        "BatchHost",
    ];
    let mut at = 0;
    while at < all.len() {
        all[at] = if at < LIST.len() {
            LIST[at]
        } else {
            more[at - LIST.len()]
        };
        at += 1;
    }
    all
};

/// `squeue`'s `-O` for these fields and separators. A field without a width is printed in full.
fn format(fields: &[&str], by: &Separators) -> String {
    let last = fields.len() - 1;
    fields
        .iter()
        .enumerate()
        .map(|(at, field)| format!("{field}:{}", if at == last { &by.row } else { &by.field }))
        .collect::<Vec<_>>()
        .join(",")
}

fn command(fields: &[&str], by: &Separators, filters: impl IntoIterator<Item = String>) -> Command {
    let mut args = vec!["--noheader".to_owned(), "--all".to_owned()];
    args.extend(filters);
    args.push(format!("--Format={}", format(fields, by)));
    Command {
        env: environment(),
        ..Command::new(Program::Squeue, args)
    }
}

/// Times in seconds since 1970, and array expressions in full.
pub(super) fn environment() -> Vec<(String, String)> {
    [
        ("TZ", "UTC"),
        ("SLURM_TIME_FORMAT", "%s"),
        ("SLURM_BITSTR_LEN", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A list for one option: nothing that would end it, or be another option.
pub(super) fn list(option: &str, what: &str, items: &[String]) -> Result<Option<String>, Error> {
    if items.is_empty() {
        return Ok(None);
    }
    let bad = |item: &&String| {
        item.is_empty()
            || !item
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.+@\\$".contains(&byte))
    };
    if let Some(bad) = items.iter().find(bad) {
        return Err(Error::Invalid {
            message: format!("`{}` is no {what}", bad.escape_default()),
        });
    }
    Ok(Some(format!("{option}={}", items.join(","))))
}

/// The numbers that cover these ids, each once, in batches of `--option=1,2,3`.
pub(super) fn id_batches(ids: &[JobId], batch_max: usize, option: &str) -> Vec<String> {
    let mut numbers: Vec<u64> = ids.iter().map(JobId::job).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
        .chunks(batch_max)
        .map(|batch| {
            format!(
                "{option}={}",
                batch
                    .iter()
                    .map(u64::to_string)
                    .collect::<Vec<_>>()
                    .join(",")
            )
        })
        .collect()
}

fn read_job(fields: &[&str; 26]) -> Result<QueueJob, String> {
    let [
        id,
        job_id,
        het,
        uid,
        state,
        exit_code,
        priority,
        restarts,
        submit,
        eligible,
        start,
        end,
        limit,
        nodes_wanted,
        cpus,
        user,
        partition,
        nodes,
        reason,
        qos,
        account,
        name,
        comment,
        stdout,
        stderr,
        work_dir,
    ] = *fields;
    let id: JobId = id
        .parse()
        .map_err(|error: crate::id::ParseIdError| error.to_string())?;
    let job_id = number(job_id, "job id")?;
    let mut job = QueueJob {
        het_job_id: maybe_number(het).filter(|leader| *leader != 0),
        uid: number(uid, "uid")?,
        user: user.to_owned(),
        state: JobState::parse(state),
        reason: if reason == "None" {
            String::new()
        } else {
            text(reason)
        },
        partition: text(partition),
        account: text(account),
        qos: text(qos),
        nodes: text(nodes),
        node_count: maybe_count(nodes_wanted),
        cpu_count: maybe_count(cpus),
        submit_time: time(submit)?,
        eligible_time: time(eligible)?,
        start_time: time(start)?,
        end_time: time(end)?,
        exit: exit(exit_code),
        time_limit: limit.parse().unwrap_or(TimeLimit::Unknown),
        priority: number(priority, "priority")?,
        restarts: maybe_number(restarts)
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        name: text(name),
        comment: text(comment),
        stdout: text(stdout),
        stderr: text(stderr),
        work_dir: text(work_dir),
        id,
        job_id,
    };
    expand_paths(&mut job);
    Ok(job)
}

/// A count, which may be a range (`2-4`) while the job waits: its lower end.
fn maybe_count(field: &str) -> Option<u32> {
    field.split('-').next()?.trim().parse().ok()
}

fn expand_paths(job: &mut QueueJob) {
    let context = PathContext {
        job_id: job.job_id,
        array: match job.id.part() {
            Part::Task(task) => Some((job.id.job(), Some(*task))),
            Part::Tasks(_) => Some((job.id.job(), None)),
            _ => None,
        },
        user: &job.user,
        name: &job.name,
        work_dir: &job.work_dir,
    };
    // 22.05 names an array's default file as if it were no array.
    let wrong = format!("{}/slurm-{}.out", job.work_dir, job.job_id);
    let file = |path: &str| {
        if path.is_empty() {
            String::new()
        } else if context.array.is_some() && path == wrong {
            expand(
                &format!("{}/slurm-%A_%a.out", job.work_dir.replace('%', "%%")),
                &context,
            )
        } else {
            expand(path, &context)
        }
    };
    let (stdout, stderr) = (file(&job.stdout), file(&job.stderr));
    // Newer releases leave the error file empty where it is the output file.
    job.stderr = if stderr.is_empty() {
        stdout.clone()
    } else {
        stderr
    };
    job.stdout = stdout;
}

fn read_detail(fields: &[&str; 35]) -> Result<JobDetail, String> {
    let (listed, more) = fields.split_at(LIST.len());
    let listed: &[&str; 26] = listed.try_into().map_err(|_| "too few fields".to_owned())?;
    let [
        command,
        stdin,
        dependency,
        features,
        licenses,
        reservation,
        memory,
        tres,
        host,
    ] = *<&[&str; 9]>::try_from(more).map_err(|_| "too few fields".to_owned())?;
    Ok(JobDetail {
        job: read_job(listed)?,
        command: text(command),
        stdin: text(stdin),
        dependency: text(dependency),
        features: text(features),
        licenses: text(licenses),
        reservation: text(reservation),
        min_memory: text(memory),
        tres: text(tres),
        batch_host: if host == "n/a" {
            String::new()
        } else {
            text(host)
        },
    })
}

/// Rows, or none when all that was asked for is unknown to the controller, or why neither.
fn answer<const WIDTH: usize, T>(
    output: &Output,
    by: &Separators,
    one_id: bool,
    read: impl Fn(&[&str; WIDTH]) -> Result<T, String>,
) -> Result<Listing<T>, Error> {
    if output.exit.success() {
        return Ok(by.rows(&String::from_utf8_lossy(&output.stdout), read));
    }
    // Asked for one job that is not there, squeue fails; for several, it lists nothing.
    let stderr = String::from_utf8_lossy(&output.stderr);
    if one_id && stderr.contains("Invalid job id specified") {
        return Ok(Listing::default());
    }
    Err(Error::of(Program::Squeue, output))
}

impl Cli {
    /// Lists jobs. A row that cannot be read is in [`Listing::skipped`].
    ///
    /// The list is empty only when the controller answered that there is nothing.
    pub async fn queue(&self, query: &QueueQuery) -> Result<Listing<QueueJob>, Error> {
        let states = if query.states.is_empty() {
            vec!["all".to_owned()]
        } else {
            query.states.clone()
        };
        let mut filters = Vec::new();
        filters.extend(list("--states", "state", &states)?);
        filters.extend(list("--users", "user", &query.users)?);
        let batches = id_batches(&query.ids, self.batch_max(), "--jobs");
        let mut listing = Listing::default();
        for batch in batches
            .iter()
            .map(Some)
            .chain(batches.is_empty().then_some(None))
        {
            let by = Separators::new();
            let filters = filters.iter().cloned().chain(batch.cloned());
            let output = self.ask(command(&LIST, &by, filters)).await?;
            listing.append(answer(&output, &by, batch.is_some(), read_job)?);
        }
        if !query.ids.is_empty() {
            listing
                .items
                .retain(|job| query.ids.iter().any(|id| names(id, job)));
        }
        Ok(listing)
    }

    /// Looks one job up; `None` when the controller does not know it. Of an array the record of
    /// the tasks that wait, or else of the last task.
    pub async fn job(&self, id: &JobId) -> Result<Option<JobDetail>, Error> {
        let by = Separators::new();
        let filters = ["--states=all".to_owned(), format!("--jobs={}", id.job())];
        let output = self.ask(command(&DETAIL, &by, filters)).await?;
        let listing = answer(&output, &by, true, read_detail)?;
        let mut found: Vec<JobDetail> = listing
            .items
            .into_iter()
            .filter(|detail| names(id, &detail.job))
            .collect();
        if found.is_empty() {
            return match listing.skipped.into_iter().next() {
                None => Ok(None),
                Some(skipped) => Err(Error::Malformed {
                    program: Program::Squeue,
                    message: skipped.reason,
                }),
            };
        }
        let best = found
            .iter()
            .position(|detail| detail.job.job_id == id.job())
            .unwrap_or(0);
        Ok(Some(found.swap_remove(best)))
    }
}

/// Whether this id names that row: by its parts, by the row's own number, or because the row
/// stands for tasks of which it is one.
fn names(id: &JobId, job: &QueueJob) -> bool {
    let id = id.without_step();
    id.covers(&job.id)
        || job.id.covers(&id)
        || (*id.part() == Part::Whole && id.job() == job.job_id)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
