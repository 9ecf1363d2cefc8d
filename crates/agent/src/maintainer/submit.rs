//! Hands jobs to the scheduler, held, each exactly once.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use forebay_service::{Backoff, CancellationToken, logs};
use forebay_wire::{JobState, Timestamp, link::Observation};
use futures_util::FutureExt;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};

use super::{Maintainer, Wait, about, lock, release::Held};
use crate::{
    accounts::Account,
    integration::{Record, Submission, SubmitError},
    job::{Marker, Phase, Tracked},
    store::Change,
};

/// How long a scheduler may be without room before the job is given up. One
/// that is away is waited for without end: the owner can cancel.
const FULL_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long an adopted copy waits to learn where its outputs are.
const OUTPUTS_MAX: Duration = Duration::from_secs(8);
/// Before a submission that failed unforeseen is looked into again.
const AFTER_PANIC: Duration = Duration::from_secs(5);

/// So many owners' submissions may be under way at their full number.
const OWNERS_AT_ONCE: usize = 4;
/// Jobs whose intents share a transaction.
const INTENTS_MAX: usize = 32;

/// What became of one step.
enum Next {
    /// The scheduler has a held copy.
    Held,
    /// The scheduler has a copy that its owner wants held, or that has been released.
    Released,
    /// The job has ended here.
    Closed,
}

/// A job to be submitted.
struct Upcoming {
    job: Tracked,
    /// Its intent is written, and nothing has been sent since: no copy of this
    /// attempt can exist yet.
    intended: bool,
}

/// Who may submit now. An owner whose user-agent hangs holds his own turns and no
/// more, so that others go on.
#[derive(Debug)]
struct Turns {
    /// At once of one owner, which is what one user-agent runs at once.
    of_owner_max: usize,
    of_owner: Mutex<HashMap<String, Weak<Semaphore>>>,
    all: Semaphore,
}

/// A turn, given back when it is dropped.
type Turn<'a> = (OwnedSemaphorePermit, SemaphorePermit<'a>);

impl Turns {
    fn new(of_owner_max: usize) -> Self {
        Self {
            of_owner_max,
            of_owner: Mutex::default(),
            all: Semaphore::new(of_owner_max * OWNERS_AT_ONCE),
        }
    }

    async fn take(&self, owner: &str) -> Turn<'_> {
        let of_owner = self.of(owner).acquire_owned().await;
        let all = self.all.acquire().await;
        match (of_owner, all) {
            (Ok(of_owner), Ok(all)) => (of_owner, all),
            // They are never closed.
            _ => std::future::pending().await,
        }
    }

    fn of(&self, owner: &str) -> Arc<Semaphore> {
        let mut all = lock(&self.of_owner);
        if let Some(turns) = all.get(owner).and_then(Weak::upgrade) {
            return turns;
        }
        all.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Semaphore::new(self.of_owner_max));
        all.insert(owner.to_owned(), Arc::downgrade(&turns));
        turns
    }
}

/// Counts a job as parked for as long as it lives.
struct Parked<'a>(&'a AtomicUsize);

impl<'a> Parked<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Maintainer {
    pub(super) async fn submit(
        &self,
        jobs: &mut mpsc::UnboundedReceiver<Tracked>,
        stop: CancellationToken,
    ) {
        let turns = Arc::new(Turns::new(self.0.parts.limits.submissions_max));
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = jobs.recv_many(&mut batch, INTENTS_MAX) => if received == 0 { return },
            }
            // Runs to the end of its step also while the agent drains: what was
            // sent to the scheduler is then known, and written down.
            let open = self.0.parts.store.keep_open();
            let upcoming = self.intend(std::mem::take(&mut batch)).await;
            drop(open);
            for upcoming in upcoming {
                self.spawn_submission(upcoming, &turns, &stop);
            }
        }
    }

    fn spawn_submission(&self, upcoming: Upcoming, turns: &Arc<Turns>, stop: &CancellationToken) {
        let (this, stop, turns) = (self.clone(), stop.clone(), Arc::clone(turns));
        let open = self.0.parts.store.keep_open();
        drop(self.0.tasks.spawn("submission", async move {
            let _open = open;
            let again = Tracked {
                // A copy may exist: it is looked for first.
                phase: Phase::Intent,
                ..upcoming.job.clone()
            };
            let submitted = AssertUnwindSafe(this.submit_one(upcoming, &turns, &stop));
            if submitted.catch_unwind().await.is_err() {
                tracing::error!(job = %again.job, "a submission panicked; it is taken up again");
                tokio::time::sleep(AFTER_PANIC).await;
                this.hand_to_submit(again);
            }
        }));
    }

    /// Writes the intents of new jobs in one transaction. Whatever is not plain sailing is left
    /// to each job's own step, which does all of it again.
    async fn intend(&self, jobs: Vec<Tracked>) -> Vec<Upcoming> {
        let mut changes = Vec::new();
        let mut upcoming = Vec::with_capacity(jobs.len());
        for job in jobs {
            let script = match job.phase {
                Phase::Claimed if !self.cancel_wanted(job.job) => self.script_of(&job).ok(),
                _ => None,
            };
            upcoming.push(match script {
                Some(script) => {
                    let (job, change) = intent(&job, &script);
                    changes.push(change);
                    Upcoming {
                        job,
                        intended: true,
                    }
                }
                None => Upcoming {
                    job,
                    intended: false,
                },
            });
        }
        if let Err(error) = self.0.parts.store.write(changes).await {
            tracing::warn!(
                error = logs::chain(&error),
                "intents are not written; each tries for itself"
            );
            for one in &mut upcoming {
                // It may have been written all the same.
                one.intended = false;
            }
        }
        upcoming
    }

    /// What is handed over, or why the integration will not.
    fn script_of(&self, job: &Tracked) -> Result<String, String> {
        if let Some(message) = job.spec.refusal() {
            return Err(message);
        }
        let integration = &self.0.parts.integration;
        if let Some(lack) = integration.check(&job.spec).first() {
            return Err(format!("{}: {}", lack.field, lack.message));
        }
        integration.script(&job.spec)
    }

    async fn submit_one(&self, upcoming: Upcoming, turns: &Turns, stop: &CancellationToken) {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let mut retry = backoff.retry();
        let mut full_since = None;
        let Upcoming {
            mut job,
            mut intended,
        } = upcoming;
        loop {
            // Held for one step only: jobs that wait must not hold up others.
            let parked = Parked::new(&self.0.parked);
            let turn = tokio::select! {
                () = stop.cancelled() => return,
                turn = turns.take(&job.owner.identity) => turn,
            };
            drop(parked);
            let outcome = self.submit_step(&mut job, intended, &mut full_since).await;
            intended = false;
            drop(turn);
            let wait = match outcome {
                Ok(Next::Held) => return self.hand_to_release(Held::new(job)),
                Ok(Next::Released) => return self.hand_to_watch([job]),
                Ok(Next::Closed) => return,
                Err(wait) => wait,
            };
            self.say_why(&mut job, &wait).await;
            let _parked = matches!(wait, Wait::Full(_)).then(|| {
                let parked = Parked::new(&self.0.parked);
                self.0.room.nudge();
                parked
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(retry.next_delay()) => {}
            }
        }
    }

    /// Lets the owner see why the job waits, once for each reason.
    async fn say_why(&self, job: &mut Tracked, wait: &Wait) {
        let error = forebay_service::logs::chain(wait);
        tracing::warn!(job = %job.job, error, "submission waits");
        let (Wait::Scheduler(message) | Wait::Full(message)) = wait else {
            return;
        };
        if job.told.reason.as_ref() == Some(message) {
            return;
        }
        let reason = message.clone();
        let report = about(job, Timestamp::now(), Observation::Waiting { reason });
        // What cannot be kept is said again with the next reason.
        if self.report(vec![report]).await.is_ok() {
            job.told.reason = Some(message.clone());
        }
    }

    async fn submit_step(
        &self,
        job: &mut Tracked,
        intended: bool,
        full_since: &mut Option<Instant>,
    ) -> Result<Next, Wait> {
        let installation = self.installation().await;
        let account = match self.0.parts.accounts.resolve(&job.owner.identity).await {
            Ok(account) => account,
            Err(error) if error.is_temporary() => return Err(Wait::Scheduler(error.to_string())),
            Err(error) => return self.refuse(job, error.to_string()).await,
        };
        if job.phase == Phase::Intent
            && !intended
            && let Some(next) = self.adopt(job, &account, installation).await?
        {
            return Ok(next);
        }
        if self.cancel_wanted(job.job) {
            self.cancelled_before_submission(job).await?;
            return Ok(Next::Closed);
        }
        if full_since.is_some_and(|since| since.elapsed() >= FULL_MAX) {
            let message = "The scheduler had no room for the job in a day. Submit it again later.";
            return self.refuse(job, message.to_owned()).await;
        }
        if !intended {
            let script = match self.script_of(job) {
                Ok(script) => script,
                Err(message) => return self.refuse(job, message).await,
            };
            let (intended, change) = intent(job, &script);
            self.0.parts.store.write(vec![change]).await?;
            *job = intended;
        }
        let submission = Submission {
            marker: Marker {
                installation,
                job: job.job,
            },
            spec: &job.spec,
            account: &account,
        };
        match self.0.parts.integration.submit_held(submission).await {
            Ok(receipt) => {
                let mut held = job.clone();
                held.phase = Phase::Held;
                held.copy = Some(receipt.copy);
                held.told.stdout_path = receipt.stdout_path;
                held.told.stderr_path = receipt.stderr_path;
                self.keep_held(job, held, receipt.stays_held).await
            }
            Err(SubmitError::Refused(message)) => self.refuse(job, message).await,
            Err(SubmitError::Full(message)) => {
                full_since.get_or_insert_with(Instant::now);
                Err(Wait::Full(message))
            }
            Err(SubmitError::Away(message) | SubmitError::Unknown(message)) => {
                Err(Wait::Scheduler(message))
            }
        }
    }

    /// Commits the copy's id. A user's own hold needs no release by us.
    async fn keep_held(
        &self,
        job: &mut Tracked,
        mut held: Tracked,
        stays_held: bool,
    ) -> Result<Next, Wait> {
        let mut reports = Vec::new();
        if stays_held {
            held.phase = Phase::Released;
            reports.extend(released(&mut held));
        }
        self.0.parts.store.save(&held, reports).await?;
        *job = held;
        Ok(if stays_held {
            Next::Released
        } else {
            Next::Held
        })
    }

    /// An earlier try may have left a copy: takes it up, and ends what is too many.
    async fn adopt(
        &self,
        job: &mut Tracked,
        account: &Account,
        installation: uuid::Uuid,
    ) -> Result<Option<Next>, Wait> {
        let integration = &self.0.parts.integration;
        let copies = integration
            .find(
                account,
                Marker {
                    installation,
                    job: job.job,
                },
            )
            .await?;
        let Some((kept, others)) = choose(copies, job) else {
            return Ok(None);
        };
        let surplus: Vec<String> = others
            .iter()
            .filter(|record| record.is_held())
            .map(|record| record.copy.scheduler_id.clone())
            .collect();
        if !surplus.is_empty() {
            tracing::warn!(job = %job.job, ?surplus, "cancelling surplus held copies");
            integration.cancel(account, &surplus).await?;
        }
        if kept.parts.is_empty() {
            return Err(Wait::Scheduler(
                "the scheduler has a copy in a state that is not known here".into(),
            ));
        }
        tracing::info!(job = %job.job, id = kept.copy.scheduler_id, "adopted a copy");
        let mut held = job.clone();
        held.copy = Some(kept.copy.clone());
        held.phase = Phase::Held;
        let submission = Submission {
            marker: Marker {
                installation,
                job: job.job,
            },
            spec: &job.spec,
            account,
        };
        let outputs = integration.outputs(submission, &kept.copy);
        // A job without its logs is better than one that never starts.
        let outputs = tokio::time::timeout(OUTPUTS_MAX, outputs).await;
        (held.told.stdout_path, held.told.stderr_path) = outputs.unwrap_or_default();
        if kept.is_held() {
            let stays_held = integration.stays_held(&job.spec);
            return self.keep_held(job, held, stays_held).await.map(Some);
        }
        // Not held any more: somebody released it, by Forebay or by hand.
        held.phase = Phase::Released;
        let reports = released(&mut held).into_iter().collect();
        self.0.parts.store.save(&held, reports).await?;
        *job = held;
        Ok(Some(Next::Released))
    }

    async fn refuse(&self, job: &Tracked, message: String) -> Result<Next, Wait> {
        tracing::info!(job = %job.job, reason = message, "refused");
        let report = about(job, Timestamp::now(), Observation::Refused { message });
        self.close(job.clone(), vec![report]).await?;
        Ok(Next::Closed)
    }

    /// Ends a job whose copy was cancelled while held, or never made.
    pub(super) async fn cancelled_before_submission(&self, job: &Tracked) -> Result<(), Wait> {
        let ended = Observation::Ended {
            end: JobState::Cancelled,
            exit: None,
            started_at: None,
            nodes: None,
            message: None,
        };
        let report = about(job, Timestamp::now(), ended);
        self.close(job.clone(), vec![report]).await?;
        Ok(())
    }
}

/// The job's next attempt, and how it is written down.
fn intent(job: &Tracked, script: &str) -> (Tracked, Change) {
    let intended = Tracked {
        phase: Phase::Intent,
        attempt: job.attempt + 1,
        copy: None,
        ..job.clone()
    };
    let change = Change::intend(&intended, Sha256::digest(script.as_bytes()).into());
    (intended, change)
}

/// The report that a job is the scheduler's to start.
pub(super) fn released(job: &mut Tracked) -> Option<forebay_wire::link::Report> {
    job.told.state = Some(JobState::Pending);
    let copy = job.copy.as_ref()?;
    let saw = Observation::Released {
        scheduler_id: copy.scheduler_id.clone(),
        submitted_at: copy.submitted_at,
        stdout_path: job.told.stdout_path.clone(),
        stderr_path: job.told.stderr_path.clone(),
    };
    Some(about(job, Timestamp::now(), saw))
}

/// Of several copies: one that has started, else the recorded one, else the oldest.
fn choose(mut copies: Vec<Record>, job: &Tracked) -> Option<(Record, Vec<Record>)> {
    copies.sort_by(|a, b| {
        let recorded = |record: &Record| job.copy.as_ref() == Some(&record.copy);
        let rank = |record: &Record| {
            (
                !record.has_started(),
                !recorded(record),
                record.copy.submitted_at,
            )
        };
        rank(a).cmp(&rank(b))
    });
    let mut copies = copies.into_iter();
    let kept = copies.next()?;
    Some((kept, copies.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        integration::{Part, PartPhase},
        job::Copy,
    };

    fn copy(id: &str, second: i64) -> Copy {
        let submitted_at = Timestamp::from_unix(1_772_366_400 + second).expect("in the calendar");
        Copy {
            scheduler_id: id.to_owned(),
            submitted_at,
        }
    }

    fn record(id: &str, second: i64, started: bool) -> Record {
        let part = Part {
            task: None,
            scheduler_id: None,
            phase: if started {
                PartPhase::Running
            } else {
                PartPhase::Held
            },
            reason: None,
            started_at: started.then(Timestamp::now),
            nodes: None,
        };
        Record {
            copy: copy(id, second),
            uid: 1_001,
            marker: None,
            run: 0,
            parts: vec![part],
        }
    }

    fn job(recorded: Option<Copy>) -> Tracked {
        let work = serde_json::json!({
            "job": forebay_wire::JobId::new(),
            "owner": {"user": forebay_wire::UserId::new(), "identity": "alice"},
            "spec": {"cluster": "hpc", "command": ["true"]},
        });
        let work = serde_json::from_value(work).expect("work");
        Tracked {
            copy: recorded,
            ..Tracked::recovered(work).expect("a spec")
        }
    }

    fn chosen(copies: Vec<Record>, recorded: Option<Copy>) -> Option<String> {
        choose(copies, &job(recorded)).map(|(kept, _)| kept.copy.scheduler_id)
    }

    #[test]
    fn the_started_copy_is_kept_then_the_recorded_then_the_oldest() {
        assert_eq!(chosen(vec![], None), None);
        let held = || {
            vec![
                record("8", 2, false),
                record("7", 1, false),
                record("9", 3, false),
            ]
        };
        assert_eq!(chosen(held(), None).as_deref(), Some("7"));
        assert_eq!(chosen(held(), Some(copy("9", 3))).as_deref(), Some("9"));
        // The same id given out again is another copy.
        assert_eq!(chosen(held(), Some(copy("9", 4))).as_deref(), Some("7"));
        let mut one_started = held();
        one_started.push(record("10", 4, true));
        assert_eq!(
            chosen(one_started, Some(copy("9", 3))).as_deref(),
            Some("10")
        );
    }
}
