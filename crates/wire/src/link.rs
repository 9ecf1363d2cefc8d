//! The link: the agent of a site speaks to the view-server, which it dials.
//!
//! | call | purpose |
//! |---|---|
//! | `POST /link/v1/enrol` | registers the site's key, once for each token of an operator |
//! | `POST /link/v1/session` | opens the link with a signed statement: token, epoch, agreed version |
//! | `GET /link/v1/open?after=` | every job that this site holds, in pages |
//! | `POST /link/v1/claim` | takes queued jobs |
//! | `GET /link/v1/desired?after=` | NDJSON of [`Desired`], for as long as the link lives |
//! | `POST /link/v1/reports` | what the site saw, in order |
//! | `GET /link/v1/tunnel` | `Upgrade: forebay-link`; the agent then serves HTTP/2 |
//!
//! Both sides ignore fields that they do not know: the version agreed at the start says what
//! must be understood. A job's spec is the exception, because leaving out what somebody asked
//! for runs another job: the view-server passes it on as it was handed in, and an agent that
//! does not know all of it refuses the job ([`Observation::Refused`]).

mod enrolment;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use enrolment::{
    ASSERTION_CONTEXT, ASSERTION_S, Assertion, CLOCK_SKEW_S, Enrol, Enrolled, Statement, Ticket,
    TicketError,
};

use crate::{
    ClusterName, Freshness, JobId, JobState, SiteName, Timestamp, UserId,
    api::{ClusterStatus, Exit, JobSpec},
};

/// The newest version of the link that this build speaks. It also speaks the one before.
pub const VERSION: u16 = 1;
/// The oldest version of the link that this build speaks.
pub const VERSION_MIN: u16 = 1;
/// The `Upgrade` token of the tunnel.
pub const UPGRADE: &str = "forebay-link";
/// Carries the epoch of the link on `claim`, `open`, `desired` and `tunnel`.
pub const EPOCH_HEADER: &str = "forebay-epoch";
/// The most items in one [`Reports`].
pub const REPORT_ITEMS_MAX: usize = 1_000;
/// The largest body of one [`Reports`], bytes.
pub const REPORT_BYTES_MAX: usize = 1 << 20;
/// How often the desired feed says that it is alive, seconds.
pub const HEARTBEAT_S: u64 = 10;

/// What an agent says of itself when it opens the link: a part of its [`Statement`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    /// The oldest version that the agent speaks.
    pub version_min: u16,
    /// The newest version that the agent speaks.
    pub version_max: u16,
    /// The agent's own version, for people.
    pub agent_version: String,
    /// The installation that the site has pinned; another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation: Option<Uuid>,
    /// The clusters of the site.
    pub clusters: Vec<ClusterDeclaration>,
    /// This very process of the agent: another one of the same site has another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Uuid>,
    /// Whether this process has had a link before. If another process has opened
    /// one since, it is superseded and stays so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// A cluster that a site has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterDeclaration {
    /// Its name; no other site may have it.
    pub name: ClusterName,
    /// The integration that runs its jobs.
    pub integration: String,
}

/// The link is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Bearer token for the other calls.
    pub token: String,
    /// How long the token lives, seconds. Open another session before it ends.
    pub expires_in_s: u64,
    /// This link's number. Calls of an older one are answered `superseded`.
    pub epoch: i64,
    /// The version to speak.
    pub version: u16,
    /// This installation, part of each job's mark in the scheduler.
    pub installation: Uuid,
    /// The site that the credentials belong to.
    pub site: SiteName,
    /// The newest report that was applied; report from the one after.
    pub acked_seq: i64,
    /// Where to begin in the desired feed.
    pub desired_after: String,
}

/// Asks for work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// For which cluster.
    pub cluster: ClusterName,
    /// At most how many.
    pub free: u32,
    /// The same id gets the same answer.
    pub request_id: Uuid,
}

/// The work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed<S = JobSpec> {
    /// Jobs that are now `submitting` and this site's to see through.
    pub jobs: Vec<Work<S>>,
    /// Whether more are queued for this cluster.
    pub more: bool,
}

/// One job to run.
///
/// `S` is the spec. Who only passes it on, or must know whether it understands all of it, takes
/// it as plain JSON: read as a [`JobSpec`], fields that a newer version added are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work<S = JobSpec> {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub owner: Owner,
    /// What to run.
    pub spec: S,
    /// Whether its owner has asked to cancel it.
    #[serde(default)]
    pub cancel_wanted: bool,
}

/// Whose job it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user of this installation.
    pub user: UserId,
    /// The identity that the site maps to a Unix account.
    pub identity: String,
}

/// A job that the site holds already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open<S = JobSpec> {
    /// The job.
    #[serde(flatten)]
    pub work: Work<S>,
    /// Its state as the central side knows it.
    pub state: JobState,
}

/// One page of the answer of `GET /link/v1/open`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenJobs<S = JobSpec> {
    /// Jobs of the site that were claimed and have not ended, by id.
    pub jobs: Vec<Open<S>>,
    /// Pass it as `after=` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<JobId>,
}

/// One line of the desired feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Pass it as `after=` to go on behind this line.
    pub cursor: String,
    /// What is wanted.
    #[serde(flatten)]
    pub want: Want,
}

/// What the central side wants of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "want", rename_all = "snake_case")]
pub enum Want {
    /// Nothing; the link is alive.
    Heartbeat,
    /// Jobs are queued for this cluster: claim.
    Work {
        /// The cluster.
        cluster: ClusterName,
    },
    /// Cancel this job.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// The feed has a gap: ask for the open jobs anew.
    Resync,
}

/// What the site saw, in the order in which it saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// The link's number.
    pub epoch: i64,
    /// The number of the first item; the others follow without gaps.
    pub from_seq: i64,
    /// At most [`REPORT_ITEMS_MAX`].
    pub items: Vec<Report>,
}

/// The reports were applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportsApplied {
    /// The newest that was; the site forgets up to here.
    pub acked_seq: i64,
}

/// One thing that the site saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Report {
    /// A job.
    Job {
        /// The job.
        job: JobId,
        /// When it was seen, or when it happened if the scheduler says so.
        at: Timestamp,
        /// Which run of the job this is about.
        #[serde(default)]
        run: u32,
        /// What was seen.
        saw: Observation,
    },
    /// A cluster.
    Cluster {
        /// The cluster.
        cluster: ClusterName,
        /// How it is.
        status: ClusterStatus,
    },
    /// The end of a log, kept when its files may be gone.
    LogTail {
        /// The job.
        job: JobId,
        /// Which output.
        stream: crate::api::LogStream,
        /// The array task.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<u32>,
        /// Where the tail begins in the file, bytes.
        offset: u64,
        /// The tail, at most 256 KiB.
        text: String,
    },
}

impl Report {
    /// Says nothing, to every central side there is: it is about a job that nobody has. Stands for
    /// a report that the site cannot read any more, since numbers have no gap.
    pub const fn nothing() -> Self {
        Self::LogTail {
            job: JobId::from_uuid(Uuid::nil()),
            stream: crate::api::LogStream::Stdout,
            task: None,
            offset: 0,
            text: String::new(),
        }
    }
}

/// What the site saw of a job. What state follows is the central side's to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Observation {
    /// It is in the scheduler's queue and may start.
    Released {
        /// The scheduler's id.
        scheduler_id: String,
        /// When the scheduler took it.
        submitted_at: Timestamp,
        /// The files of its output, once known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdout_path: Option<String>,
        /// The same for standard error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stderr_path: Option<String>,
    },
    /// The scheduler will not take it.
    Refused {
        /// A sentence that says what to change.
        message: String,
    },
    /// It still waits.
    Waiting {
        /// Why, as the scheduler says it.
        reason: String,
    },
    /// It has started.
    Started {
        /// The nodes it was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nodes: Option<String>,
    },
    /// Its program has ended; the scheduler is cleaning up.
    Ending,
    /// The scheduler put it back into its queue; `run` has risen.
    Requeued,
    /// The scheduler has a terminal record of it.
    Ended {
        /// Which end; one of the ends of [`JobState`].
        end: JobState,
        /// How its program ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<Exit>,
        /// When it started, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The nodes it had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nodes: Option<String>,
        /// Why, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Controller and accounting both say that there is no such job.
    Vanished {
        /// What was asked of whom.
        message: String,
    },
    /// States of an array's tasks that changed.
    Tasks {
        /// How many the array has.
        total: u32,
        /// Those that changed.
        tasks: Vec<crate::api::JobTask>,
    },
    /// Our knowledge became better or worse.
    Freshness {
        /// How fresh it is now.
        freshness: Freshness,
        /// Why, in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}
