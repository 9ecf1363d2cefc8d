//! The maintainer of a cluster: takes its jobs through their life.
//!
//! Jobs pass from hand to hand, and each is in one hand at a time, so that
//! nobody overwrites what another knows:
//!
//! ```text
//! claim ──► submit ──► release ──► watch ──► (ended) ──► tails
//!             ▲           │
//!             └───────────┘  the scheduler lost a copy that never ran
//! ```
//!
//! Each step commits in the site database before the next begins. What is in
//! hand when the agent ends is read back from there at the next start.

mod cancel;
mod claim;
pub mod diff;
pub mod reap;
mod release;
mod status;
mod submit;
mod tails;
mod watch;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use forebay_service::{Backoff, Nudge, Tasks};
use forebay_wire::{ClusterName, JobId, JobState, Timestamp, api::LogStream, link::Report};
use tokio::sync::{mpsc, watch as channel};
use uuid::Uuid;

use crate::{
    accounts::Accounts,
    integration::{Integration, Interest, Unavailable},
    job::{Marker, Phase, Tracked},
    link::Link,
    store::{Change, Store, StoreError},
    user_agents::UserAgents,
};

/// So many jobs may wait for their own owner without keeping others' from being claimed.
const PARKED_MAX: usize = 256;

/// How much of a cluster's work is in hand at once, and how often it is looked at.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Claimed jobs that have not ended, at most.
    pub open_max: usize,
    /// Claimed jobs that the scheduler does not have yet, at most.
    pub unsubmitted_max: usize,
    /// Submissions of one owner under way at once.
    pub submissions_max: usize,
    /// From one look at the scheduler to the next, while jobs are open.
    pub poll: Duration,
    /// How often the cluster's own state is read.
    pub status: Duration,
    /// How often all copies of ours are looked through for those that should not be there.
    pub sweep: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_max: 10_000,
            unsubmitted_max: 128,
            // What one user-agent runs at once.
            submissions_max: 16,
            poll: Duration::from_secs(1),
            status: Duration::from_secs(30),
            sweep: Duration::from_secs(30),
        }
    }
}

/// What a maintainer works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The cluster.
    pub cluster: ClusterName,
    /// Its scheduler.
    pub integration: Arc<dyn Integration>,
    /// What it may do at once.
    pub limits: Limits,
    /// The site database.
    pub store: Store,
    /// Who is who.
    pub accounts: Accounts,
    /// The way to the central side.
    pub link: Link,
    /// The way to users' files.
    pub user_agents: UserAgents,
}

/// The maintainer of one cluster; clones are the same one.
#[derive(Clone, Debug)]
pub struct Maintainer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    parts: Parts,
    tasks: Tasks,
    /// Jobs that the scheduler has and that may start, by id.
    watched: Mutex<HashMap<JobId, Tracked>>,
    /// Jobs on their way there.
    in_hand: Mutex<HashSet<JobId>>,
    /// How many of those wait for their own owner: for a turn, or for room in the scheduler.
    parked: AtomicUsize,
    /// Jobs that somebody wants cancelled, and when that was first heard.
    cancels: Mutex<HashMap<JobId, Instant>>,
    to_submit: mpsc::UnboundedSender<Tracked>,
    to_release: mpsc::UnboundedSender<release::Held>,
    work: Nudge,
    room: Nudge,
    look: Nudge,
    cancel: Nudge,
    tail: Nudge,
    /// Whether the scheduler answers; in words why not.
    silent: channel::Sender<Option<String>>,
}

/// What became of a job that was to be taken up from the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is in a hand already.
    InHand,
    /// It was there; in hand now unless it has ended.
    TakenUp,
    /// There is no such job.
    Unknown,
}

/// Locks that guard plain data are never left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something did not answer; the step is tried again later.
#[derive(Debug, thiserror::Error)]
enum Wait {
    #[error("{0}")]
    Scheduler(String),
    /// There is no room for this job, and there may be for others.
    #[error("{0}")]
    Full(String),
    #[error("the site database did not take it")]
    Store(#[source] StoreError),
}

impl From<Unavailable> for Wait {
    fn from(unavailable: Unavailable) -> Self {
        Self::Scheduler(unavailable.message)
    }
}

impl From<StoreError> for Wait {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Maintainer {
    /// Starts the maintainer's tasks, with the jobs that the site database
    /// says are this cluster's.
    pub fn start(parts: Parts, tasks: &Tasks, jobs: Vec<Tracked>) -> Self {
        // The channels carry jobs that `in_hand` counts and `unsubmitted_max`
        // and `open_max` bound.
        let (to_submit, submissions) = mpsc::unbounded_channel();
        let (to_release, releases) = mpsc::unbounded_channel();
        let maintainer = Self(Arc::new(Shared {
            parts,
            tasks: tasks.clone(),
            watched: Mutex::default(),
            in_hand: Mutex::default(),
            parked: AtomicUsize::new(0),
            cancels: Mutex::default(),
            to_submit,
            to_release,
            work: Nudge::new(),
            room: Nudge::new(),
            look: Nudge::new(),
            cancel: Nudge::new(),
            tail: Nudge::new(),
            silent: channel::Sender::new(None),
        }));
        for job in jobs {
            maintainer.take_up(job);
        }
        maintainer.spawn(submissions, releases);
        maintainer
    }

    fn spawn(
        &self,
        submissions: mpsc::UnboundedReceiver<Tracked>,
        releases: mpsc::UnboundedReceiver<release::Held>,
    ) {
        let tasks = &self.0.tasks;
        let name = |task: &str| format!("{}.{task}", self.0.parts.cluster);
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

        let (submissions, releases) = (
            Arc::new(tokio::sync::Mutex::new(submissions)),
            Arc::new(tokio::sync::Mutex::new(releases)),
        );
        macro_rules! supervise {
            ($task:literal, $method:ident $(, $receiver:ident)?) => {{
                let this = self.clone();
                tasks.supervise(&name($task), backoff, move |stop| {
                    let this = this.clone();
                    $(let $receiver = Arc::clone(&$receiver);)?
                    async move {
                        let () = this.$method($(&mut *$receiver.lock().await,)? stop).await;
                        Ok::<_, std::convert::Infallible>(())
                    }
                });
            }};
        }
        supervise!("claim", claim);
        supervise!("submit", submit, submissions);
        supervise!("release", release, releases);
        supervise!("watch", watch);
        supervise!("cancel", cancel);
        supervise!("tails", tails);
        supervise!("status", status);
    }

    /// Hands a job that was read from the database, or recovered by the link,
    /// to whoever is next. A job that is in hand already stays where it is.
    pub fn take_up(&self, job: Tracked) {
        if self.reserve(job.job) {
            self.hand_on(job);
        }
    }

    /// Jobs that are moving towards the scheduler: in hand, and not parked.
    fn under_way(&self) -> usize {
        let parked = self.0.parked.load(Ordering::Relaxed).min(PARKED_MAX);
        lock(&self.0.in_hand).len().saturating_sub(parked)
    }

    /// Reads a job from the database and takes it up, unless it is in hand
    /// already or has ended. It is reserved first, so that it cannot pass
    /// through all hands and end between the reading and the taking up.
    pub(crate) async fn take_up_stored(&self, id: JobId) -> Result<Stored, StoreError> {
        if !self.reserve(id) {
            return Ok(Stored::InHand);
        }
        match self.0.parts.store.tracked_job(id).await {
            Ok(Some(job)) => {
                self.hand_on(job);
                Ok(Stored::TakenUp)
            }
            Ok(None) => {
                lock(&self.0.in_hand).remove(&id);
                Ok(Stored::Unknown)
            }
            Err(error) => {
                lock(&self.0.in_hand).remove(&id);
                Err(error)
            }
        }
    }

    /// [`Self::take_up_stored`] for many, with one look at the database.
    async fn take_up_all_stored(&self, mut ids: Vec<JobId>) -> Result<(), StoreError> {
        ids.retain(|id| self.reserve(*id));
        let found = self.0.parts.store.tracked_jobs(&ids).await;
        let (found, result) = match found {
            Ok(found) => (found, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        let mut found: HashMap<JobId, Tracked> =
            found.into_iter().map(|job| (job.job, job)).collect();
        // In the order in which they were claimed: whose turn it is was decided there.
        for id in ids {
            match found.remove(&id) {
                Some(job) => self.hand_on(job),
                None => drop(lock(&self.0.in_hand).remove(&id)),
            }
        }
        result
    }

    /// Puts a job in hand; not if it is in one.
    fn reserve(&self, id: JobId) -> bool {
        // Both at once: a job moves from one to the other.
        let watched = lock(&self.0.watched);
        let mut in_hand = lock(&self.0.in_hand);
        !watched.contains_key(&id) && in_hand.insert(id)
    }

    /// Hands a reserved job to whoever is next.
    fn hand_on(&self, mut job: Tracked) {
        let id = job.job;
        if job.cancel_wanted && job.phase != Phase::Closed {
            self.want_cancelled(id);
        }
        if matches!(job.phase, Phase::Held | Phase::Releasing) && job.copy.is_none() {
            // It can still be found by its mark.
            job.phase = Phase::Intent;
        }
        match job.phase {
            Phase::Claimed | Phase::Intent => self.hand_to_submit(job),
            Phase::Held => self.hand_to_release(release::Held::new(job)),
            Phase::Releasing => self.hand_to_release(release::Held::maybe_released(job)),
            Phase::Released => self.hand_to_watch([job]),
            Phase::Closed => self.let_go(id),
        }
    }

    /// There is work for this cluster at the central side.
    pub fn work_waits(&self) {
        self.0.work.nudge();
    }

    /// Somebody wants this job cancelled. Jobs that are not in hand are
    /// remembered too: the wish may come before the job. Whoever heard it
    /// writes it down as well, see [`Change::cancel_wanted`].
    pub fn want_cancelled(&self, job: JobId) {
        lock(&self.0.cancels)
            .entry(job)
            .or_insert_with(Instant::now);
        self.0.cancel.nudge();
    }

    /// Look at the scheduler now.
    pub fn look(&self) {
        self.0.look.nudge();
    }

    /// The job, while it is being watched.
    pub fn watched(&self, job: JobId) -> Option<Tracked> {
        lock(&self.0.watched).get(&job).cloned()
    }

    /// Whether this job is in hand or watched.
    pub fn has(&self, job: JobId) -> bool {
        lock(&self.0.in_hand).contains(&job) || lock(&self.0.watched).contains_key(&job)
    }

    /// The file that holds an output of a job of this cluster.
    pub fn log_path(&self, job: &Tracked, stream: LogStream, task: Option<u32>) -> Option<String> {
        self.0.parts.integration.log_path(job, stream, task)
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &ClusterName {
        &self.0.parts.cluster
    }

    fn cancel_wanted(&self, job: JobId) -> bool {
        lock(&self.0.cancels).contains_key(&job)
    }

    fn hand_to_submit(&self, job: Tracked) {
        // The receivers live as long as the tasks, which end with the service.
        let _ = self.0.to_submit.send(job);
    }

    fn hand_to_release(&self, held: release::Held) {
        let _ = self.0.to_release.send(held);
    }

    fn hand_to_watch(&self, jobs: impl IntoIterator<Item = Tracked>) {
        let mut cancel = false;
        {
            let cancels = lock(&self.0.cancels);
            let mut watched = lock(&self.0.watched);
            let mut in_hand = lock(&self.0.in_hand);
            for job in jobs {
                cancel |= cancels.contains_key(&job.job);
                in_hand.remove(&job.job);
                watched.insert(job.job, job);
            }
        }
        if cancel {
            // The wish came after its release.
            self.0.cancel.nudge();
        }
        self.look();
        self.0.room.nudge();
    }

    /// The same of a job that may have printed something.
    async fn close_with_log(
        &self,
        mut job: Tracked,
        reports: Vec<Report>,
    ) -> Result<(), StoreError> {
        job.phase = Phase::Closed;
        let ended = Change::end(&job, reports);
        self.0.parts.store.write(vec![ended]).await?;
        self.let_go(job.job);
        self.0.tail.nudge();
        Ok(())
    }

    /// The job has ended: writes its last reports and lets go of it.
    async fn close(&self, mut job: Tracked, reports: Vec<Report>) -> Result<(), StoreError> {
        job.phase = Phase::Closed;
        self.0.parts.store.save(&job, reports).await?;
        self.let_go(job.job);
        Ok(())
    }

    fn let_go(&self, job: JobId) {
        lock(&self.0.watched).remove(&job);
        lock(&self.0.in_hand).remove(&job);
        lock(&self.0.cancels).remove(&job);
        self.0.room.nudge();
    }

    /// Whose whereabouts to ask for. `None` where the account cannot be looked
    /// up now, or where there is no copy yet.
    async fn interest(&self, job: &Tracked, installation: Uuid) -> Option<Interest> {
        let account = match self.0.parts.accounts.resolve(&job.owner.identity).await {
            Ok(account) => account,
            Err(error) => {
                tracing::warn!(job = %job.job, %error, "the account of an open job cannot be found");
                return None;
            }
        };
        Some(Interest {
            marker: Marker {
                installation,
                job: job.job,
            },
            account,
            copy: job.copy.clone()?,
            was_running: matches!(job.told.state, Some(JobState::Running | JobState::Ending)),
        })
    }

    /// The installation, once the site has been linked. Nothing is submitted before.
    async fn installation(&self) -> Uuid {
        self.0.parts.link.installation().await
    }

    /// The scheduler answered, or did not; reported when that changes.
    async fn heard(&self, answer: Result<(), &Unavailable>) {
        let now = answer.err().map(|unavailable| unavailable.message.clone());
        let changed = self.0.silent.send_if_modified(|before| {
            let changed = before.is_some() != now.is_some();
            before.clone_from(&now);
            changed
        });
        if changed {
            match &now {
                Some(message) => {
                    tracing::warn!(cluster = %self.cluster(), reason = message, "the scheduler does not answer");
                }
                None => tracing::info!(cluster = %self.cluster(), "the scheduler answers again"),
            }
            self.report_status().await;
        }
    }

    async fn report(&self, reports: Vec<Report>) -> Result<(), StoreError> {
        self.0
            .parts
            .store
            .write(vec![Change::report(reports)])
            .await
    }
}

/// One report of one job.
fn about(job: &Tracked, at: Timestamp, saw: forebay_wire::link::Observation) -> Report {
    Report::Job {
        job: job.job,
        at,
        run: job.told.run,
        saw,
    }
}
