//! Integrations: the code that runs jobs on one kind of scheduler.
//!
//! The maintainer of a cluster takes jobs through their life; an integration
//! knows the words of one scheduler and nothing of databases, links or reports.
//! `docs/INTEGRATIONS.md` shows how to write another; [`conformance`] is what it must pass.

pub mod conformance;
pub mod local;
pub mod slurm;

mod record;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use async_trait::async_trait;
use forebay_wire::{
    Detail, JobId, Timestamp,
    api::{ClusterStatus, JobSpec, LogStream},
};

use uuid::Uuid;

pub use record::{Part, PartPhase, Record};

use crate::{
    accounts::Account,
    job::{Copy, Marker, Tracked},
};

/// The scheduler, or the way to it, does not answer. Says nothing about any job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unavailable {
    /// What was asked of whom, and what came instead of an answer.
    pub message: String,
}

impl Unavailable {
    /// With its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// Why a job was not submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// For good; a sentence that says what to change.
    Refused(String),
    /// Certainly not submitted: the scheduler, or the way to it, is away.
    Away(String),
    /// Certainly not submitted: the scheduler has no room at present.
    Full(String),
    /// No answer: a copy may exist, or come to exist.
    Unknown(String),
}

/// What became of the release of one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It may start, or has.
    Done,
    /// The scheduler knows no such job, or one that has ended.
    Gone,
    /// No answer, or one that says to try again.
    Unknown(String),
}

/// A job to be submitted.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// What it will be found by.
    pub marker: Marker,
    /// What to run.
    pub spec: &'a JobSpec,
    /// As whom.
    pub account: &'a Account,
}

/// A held copy that the scheduler has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which copy.
    pub copy: Copy,
    /// Whether the user wants it held: it is not ours to release.
    pub stays_held: bool,
    /// The file of its standard output, absolute.
    pub stdout_path: Option<String>,
    /// The file of its standard error, absolute.
    pub stderr_path: Option<String>,
}

/// A job whose whereabouts are asked for.
#[derive(Clone, Debug)]
pub struct Interest {
    /// Its mark.
    pub marker: Marker,
    /// Whose it is.
    pub account: Account,
    /// The copy that was recorded.
    pub copy: Copy,
    /// Whether it was running when it was last seen.
    pub was_running: bool,
}

impl Interest {
    /// Whether a record is of this very copy. An id alone proves nothing: Slurm
    /// gives ids out again after it lost its state, and anybody may write our
    /// mark into a comment of his own.
    pub fn is_of(&self, record: &Record) -> bool {
        if record.copy.scheduler_id != self.copy.scheduler_id || record.uid != self.account.uid {
            return false;
        }
        if let Some(marker) = record.marker {
            return marker == self.marker;
        }
        // A site's plugin may strip comments, and accounting may not store
        // them. Then the moment of submission decides: by two clocks, and a
        // requeue counts as a new submission.
        let later_s = record.copy.submitted_at.unix() - self.copy.submitted_at.unix();
        later_s.abs() <= CLOCKS_APART_S || (record.run > 0 && later_s > 0)
    }
}

/// How far the scheduler's clock may be from ours, and rounding, seconds.
const CLOCKS_APART_S: i64 = 5;

/// An answer about many jobs: those it knows. Whoever is not in it is unknown
/// to whoever was asked, and nothing more.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// By job.
    pub records: HashMap<JobId, Record>,
    /// Jobs of which nothing was to be learned, since those who know did not
    /// answer: neither there nor absent.
    pub silent: HashSet<JobId>,
}

/// Every open copy that carries an installation's mark.
#[derive(Clone, Debug, Default)]
pub struct Marked {
    /// The copies.
    pub records: Vec<Record>,
    /// Since when the scheduler's controller runs, where that can be told.
    pub since: Option<Timestamp>,
}

/// What accounting says of jobs that the scheduler no longer lists.
#[derive(Clone, Debug)]
pub enum Recall {
    /// There is accounting, and this is what it knows.
    Answer(Answer),
    /// The cluster keeps no accounting: nobody can say.
    NoAccounting,
}

/// One kind of scheduler.
#[async_trait]
pub trait Integration: Send + Sync + fmt::Debug + 'static {
    /// Its name in configurations and in the API.
    fn name(&self) -> &'static str;

    /// What this scheduler lacks of what a job asks for; fields as in the API.
    fn check(&self, spec: &JobSpec) -> Vec<Detail>;

    /// The script that is handed over, whole.
    fn script(&self, spec: &JobSpec) -> Result<String, String>;

    /// Whether a job asks to stay held, so that it is not ours to release.
    fn stays_held(&self, spec: &JobSpec) -> bool {
        let _ = spec;
        false
    }

    /// The tasks that a job asks for, by index and in order, if it is an array. None of a job that
    /// is no array, or where it cannot be told.
    fn tasks(&self, spec: &JobSpec) -> Vec<u32> {
        let _ = spec;
        Vec::new()
    }

    /// Every copy of this job that the scheduler has and that has not ended.
    async fn find(&self, account: &Account, marker: Marker) -> Result<Vec<Record>, Unavailable>;

    /// The file that holds an output of a job, or of one task of an array;
    /// `None` where it cannot be told. Receipts may hold the scheduler's patterns.
    fn log_path(&self, job: &Tracked, stream: LogStream, task: Option<u32>) -> Option<String> {
        let _ = task;
        match stream {
            LogStream::Stdout => job.told.stdout_path.clone(),
            LogStream::Stderr => job.told.stderr_path.clone(),
        }
    }

    /// Hands the job over, held, once.
    async fn submit_held(&self, submission: Submission<'_>) -> Result<Receipt, SubmitError>;

    /// The files of an adopted copy's outputs, standard output first: its receipt was lost.
    /// The job does not wait for them: `None` where they cannot be told, and soon.
    async fn outputs(
        &self,
        submission: Submission<'_>,
        copy: &Copy,
    ) -> (Option<String>, Option<String>);

    /// Lets held copies of one account start. One answer for each id, in order.
    async fn release(&self, account: &Account, ids: &[String]) -> Vec<Release>;

    /// Ends copies of one account, whatever they are doing. Ended ones are no error.
    async fn cancel(&self, account: &Account, ids: &[String]) -> Result<(), Unavailable>;

    /// What the scheduler knows of these jobs now, ended ones as far as it remembers.
    async fn observe(&self, interest: &[Interest]) -> Result<Answer, Unavailable>;

    /// What the scheduler's accounting knows of these jobs.
    async fn recall(&self, interest: &[Interest]) -> Result<Recall, Unavailable>;

    /// Every open copy with this installation's mark, whether it is asked for or not.
    /// Nothing where the scheduler cannot have two copies of a job.
    async fn marked(&self, installation: Uuid) -> Result<Marked, Unavailable> {
        let _ = installation;
        Ok(Marked::default())
    }

    /// How the cluster is.
    async fn status(&self) -> Result<ClusterStatus, Unavailable>;
}

/// The script of a job: its own, or one that runs its command.
pub(crate) fn script(spec: &JobSpec) -> Result<String, String> {
    match (&spec.script, &spec.command) {
        (Some(script), None) => Ok(script.clone()),
        (None, Some(command)) => forebay_slurm::BatchScript::for_command(command)
            .map(|script| String::from_utf8_lossy(script.as_bytes()).into_owned())
            .map_err(|error| forebay_service::logs::chain(&error)),
        _ => Err("A job has either a script or a command.".to_owned()),
    }
}
