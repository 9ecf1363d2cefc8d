//! Lets held copies start, many at once.

use std::{collections::HashMap, panic::AssertUnwindSafe, time::Duration};

use forebay_service::{Backoff, CancellationToken, Retry};
use forebay_wire::{
    Timestamp,
    link::{Observation, Report},
};
use futures_util::FutureExt;
use tokio::{sync::mpsc, time::Instant};

use super::{Maintainer, Wait, about, diff, diff::array::Accounting, lock, submit::released};
use crate::{
    accounts::Account,
    integration::{Recall, Record, Release},
    job::{Phase, Tracked},
    store::Change,
};

/// Copies released by one call at most.
const BATCH_MAX: usize = 200;
/// While more jobs are on their way to the scheduler, a batch waits so long for them: each release is a
/// program of its own, as dear as a submission.
const GATHER: Duration = Duration::from_millis(100);

/// A job whose copy is held.
#[derive(Debug)]
pub(super) struct Held {
    job: Tracked,
    /// A release may have reached the scheduler already, so that its absence
    /// no longer means that it never ran.
    maybe_released: bool,
    retry: Retry,
}

impl Held {
    pub(super) fn new(job: Tracked) -> Self {
        Self {
            job,
            maybe_released: false,
            retry: Backoff::new(Duration::from_millis(500), Duration::from_secs(30)).retry(),
        }
    }

    pub(super) fn maybe_released(job: Tracked) -> Self {
        Self {
            maybe_released: true,
            ..Self::new(job)
        }
    }
}

impl Maintainer {
    pub(super) async fn release(
        &self,
        held: &mut mpsc::UnboundedReceiver<Held>,
        stop: CancellationToken,
    ) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                received = held.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
            }
            self.gather(held, &mut batch, &stop).await;
            let mut by_owner: HashMap<String, Vec<Held>> = HashMap::new();
            for held in batch.drain(..) {
                let of_owner = by_owner.entry(held.job.owner.identity.clone());
                of_owner.or_default().push(held);
            }
            for (identity, jobs) in by_owner {
                self.spawn_release(identity, jobs, &stop);
            }
        }
    }

    /// Releases the jobs of one owner beside those of others, whose user-agents may hang.
    fn spawn_release(&self, identity: String, jobs: Vec<Held>, stop: &CancellationToken) {
        let (this, stop) = (self.clone(), stop.clone());
        let open = self.0.parts.store.keep_open();
        drop(self.0.tasks.spawn("release", async move {
            // Should it panic, the jobs are not lost with it.
            let kept: Vec<Tracked> = jobs.iter().map(|held| held.job.clone()).collect();
            let released = AssertUnwindSafe(this.release_of(&identity, jobs));
            let again = released.catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!("a release panicked; its jobs are taken up again");
                kept.into_iter()
                    .filter(|job| lock(&this.0.in_hand).contains(&job.job))
                    .map(Held::maybe_released)
                    .collect()
            });
            drop(open);
            this.again(again, &stop);
        }));
    }

    /// Waits for those that will be held in a moment.
    async fn gather(
        &self,
        held: &mut mpsc::UnboundedReceiver<Held>,
        batch: &mut Vec<Held>,
        stop: &CancellationToken,
    ) {
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX && lock(&self.0.in_hand).len() > batch.len() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                received = held.recv_many(batch, BATCH_MAX) => if received == 0 { return },
            }
        }
    }

    /// Tries these again later, together. Those that wait do not hold up the others.
    fn again(&self, mut batch: Vec<Held>, stop: &CancellationToken) {
        let Some(pause) = batch.iter_mut().map(|held| held.retry.next_delay()).max() else {
            return;
        };
        let (this, stop) = (self.clone(), stop.clone());
        drop(self.0.tasks.spawn("release again", async move {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            for held in batch {
                this.hand_to_release(held);
            }
        }));
    }

    /// Gives back those that must be tried again.
    async fn release_of(&self, identity: &str, jobs: Vec<Held>) -> Vec<Held> {
        let account = match self.0.parts.accounts.resolve(identity).await {
            Ok(account) => account,
            Err(error) => {
                tracing::warn!(identity, %error, "held jobs wait for their account");
                return jobs;
            }
        };
        let (cancelled, wanted): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(|held| self.cancel_wanted(held.job.job));
        let mut again = self.cancel_held(&account, cancelled).await;
        again.extend(self.release_wanted(&account, wanted).await);
        again
    }

    async fn release_wanted(&self, account: &Account, mut batch: Vec<Held>) -> Vec<Held> {
        let ids: Vec<String> = batch
            .iter()
            .filter_map(|held| Some(held.job.copy.as_ref()?.scheduler_id.clone()))
            .collect();
        if ids.is_empty() {
            return Vec::new();
        }
        for held in &mut batch {
            held.job.phase = Phase::Releasing;
        }
        let changes = batch
            .iter()
            .map(|held| Change::save(&held.job, Vec::new()))
            .collect();
        if let Err(error) = self.0.parts.store.write(changes).await {
            tracing::warn!(
                error = forebay_service::logs::chain(&error),
                "release waits"
            );
            return batch;
        }
        let mut outcomes = self.0.parts.integration.release(account, &ids).await;
        // One for each, whatever came.
        outcomes.resize(batch.len(), Release::Unknown("no answer for it".to_owned()));
        let mut done = Vec::new();
        let mut again = Vec::new();
        for (mut held, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Release::Done => done.push(held.job),
                Release::Unknown(message) => {
                    tracing::warn!(job = %held.job.job, reason = message, "release without an answer");
                    held.maybe_released = true;
                    again.push(held);
                }
                Release::Gone => {
                    if let Err((held, wait)) = self.gone(held).await {
                        let error = forebay_service::logs::chain(&wait);
                        tracing::warn!(job = %held.job.job, error, "a held copy is gone");
                        again.push(held);
                    }
                }
            }
        }
        if let Err((jobs, error)) = self.keep_released(done).await {
            tracing::warn!(
                error = forebay_service::logs::chain(&error),
                "release waits"
            );
            again.extend(jobs.into_iter().map(Held::maybe_released));
        }
        again
    }

    async fn keep_released(&self, mut jobs: Vec<Tracked>) -> Result<(), (Vec<Tracked>, Wait)> {
        let changes = jobs
            .iter_mut()
            .map(|job| {
                job.phase = Phase::Released;
                let reports = released(job).into_iter().collect();
                Change::save(job, reports)
            })
            .collect();
        match self.0.parts.store.write(changes).await {
            Ok(()) => {
                self.hand_to_watch(jobs);
                Ok(())
            }
            Err(error) => Err((jobs, error.into())),
        }
    }

    /// The scheduler says that there is no such held job. It may have ended,
    /// or started, or the scheduler lost it.
    async fn gone(&self, held: Held) -> Result<(), (Held, Wait)> {
        match self.gone_to(&held).await {
            Ok(()) => Ok(()),
            Err(wait) => Err((held, wait)),
        }
    }

    async fn gone_to(&self, held: &Held) -> Result<(), Wait> {
        let installation = self.installation().await;
        let Some(interest) = self.interest(&held.job, installation).await else {
            return Err(Wait::Scheduler(
                "the job's account cannot be found now".into(),
            ));
        };
        let interest = [interest];
        let integration = &self.0.parts.integration;
        let mut seen = integration.observe(&interest).await?;
        if seen.silent.contains(&held.job.job) {
            return Err(Wait::Scheduler("nobody knows where the job is".into()));
        }
        let found = seen.records.remove(&held.job.job);
        if let Some(record) = found.filter(|record| interest[0].is_of(record)) {
            return self.was_found(&held.job, &record).await;
        }
        if let Recall::Answer(mut answer) = integration.recall(&interest).await? {
            let found = answer.records.remove(&held.job.job);
            // Accounting keeps calling pending what the controller has lost:
            // of a copy that was never released only its end counts.
            let counts =
                |record: &Record| record.has_ended() || record.has_started() || held.maybe_released;
            if let Some(record) = found.filter(|record| interest[0].is_of(record) && counts(record))
            {
                return self.was_found(&held.job, &record).await;
            }
        }
        if held.maybe_released {
            let message =
                "The scheduler lost the job after its release; it may have run.".to_owned();
            let report = about(
                &held.job,
                Timestamp::now(),
                Observation::Vanished { message },
            );
            self.close(held.job.clone(), vec![report]).await?;
        } else {
            tracing::warn!(job = %held.job.job, "the scheduler lost a copy that never ran; submitting again");
            let mut job = held.job.clone();
            job.phase = Phase::Intent;
            job.copy = None;
            self.0.parts.store.save(&job, Vec::new()).await?;
            self.hand_to_submit(job);
        }
        Ok(())
    }

    async fn was_found(&self, job: &Tracked, record: &Record) -> Result<(), Wait> {
        let now = Timestamp::now();
        let step = if record.is_array() {
            let expected = self.tasks_of(job);
            diff::array::seen(job, Some(record), Accounting::NotAsked, &expected, now)
        } else {
            diff::seen(job, record, now)
        };
        if step.ended {
            let mut job = job.clone();
            let mut reports = Vec::new();
            if record.has_started() {
                reports.extend(released(&mut job));
            }
            reports.extend(step.reports);
            job.told = step.told;
            if record.has_started() {
                self.close_with_log(job, reports).await?;
            } else {
                self.close(job, reports).await?;
            }
            return Ok(());
        }
        if record.is_held() {
            return Err(Wait::Scheduler(
                "the scheduler would not release a held job".into(),
            ));
        }
        let mut job = job.clone();
        job.phase = Phase::Released;
        let reports: Vec<Report> = released(&mut job).into_iter().collect();
        self.0.parts.store.save(&job, reports).await?;
        self.hand_to_watch([job]);
        Ok(())
    }

    /// Ends held copies that nobody wants any more.
    async fn cancel_held(&self, account: &Account, batch: Vec<Held>) -> Vec<Held> {
        let ids: Vec<String> = batch
            .iter()
            .filter_map(|held| Some(held.job.copy.as_ref()?.scheduler_id.clone()))
            .collect();
        if ids.is_empty() {
            return Vec::new();
        }
        if let Err(unavailable) = self.0.parts.integration.cancel(account, &ids).await {
            tracing::warn!(
                reason = unavailable.message,
                "held copies wait for their end"
            );
            return batch;
        }
        let mut again = Vec::new();
        for held in batch {
            // A copy that may have been released may have run: its record says how it ended.
            let result = if held.maybe_released {
                self.keep_released(vec![held.job.clone()])
                    .await
                    .map_err(|(_, wait)| wait)
            } else {
                self.cancelled_before_submission(&held.job).await
            };
            if let Err(wait) = result {
                let error = forebay_service::logs::chain(&wait);
                tracing::warn!(job = %held.job.job, error, "a cancelled job waits");
                again.push(held);
            }
        }
        again
    }
}
