//! Copies in the scheduler that should not be there, or not so.
//!
//! A submission whose answer was lost may arrive late, as a second held copy; a
//! job may have ended here while a copy of it was on its way; a controller that
//! was killed may have forgotten that it let a copy go. Each sweep looks at all
//! open copies that carry this installation's mark. It belongs to the hand that
//! watches, so that nobody else changes the same jobs meanwhile.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Instant,
};

use forebay_wire::{JobId, JobState, Timestamp, link::Observation};

use super::{Maintainer, about, lock, release::Held};
use crate::{
    accounts::Account,
    integration::Record,
    job::{Phase, Tracked},
    store::StoreError,
};

/// What is remembered from one sweep to the next.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    began: Option<Instant>,
    /// Copies that one sweep found superfluous. The next one cancels them if
    /// they still are: a listing may be older than what is known here.
    suspects: HashSet<(JobId, String)>,
}

/// What is to be done about one copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be, or not ours to judge.
    Leave,
    /// Let go, as it should be.
    LetGo,
    /// Nobody wants it, and why.
    Cancel(&'static str),
    /// It was let go, and is held.
    HeldAgain,
}

/// Judges an open copy that carries the mark of `job`, whose owner is `uid`.
/// `stays_held`: the owner asked for a hold, which is not ours to end.
pub fn judge(record: &Record, job: &Tracked, uid: u32, stays_held: bool) -> Verdict {
    // Anybody may write our mark into a comment. A state that is not known here says nothing.
    if record.uid != uid || record.parts.is_empty() || record.has_ended() {
        return Verdict::Leave;
    }
    let recorded = job
        .copy
        .as_ref()
        .is_some_and(|copy| copy.scheduler_id == record.copy.scheduler_id);
    match job.phase {
        // The submission itself looks for copies before it makes another.
        Phase::Claimed | Phase::Intent => Verdict::Leave,
        Phase::Closed => Verdict::Cancel("its job has ended"),
        Phase::Held | Phase::Releasing if recorded => Verdict::Leave,
        Phase::Released if recorded => match record.is_held() {
            true if stays_held => Verdict::Leave,
            true => Verdict::HeldAgain,
            false => Verdict::LetGo,
        },
        _ if record.is_held() => Verdict::Cancel("another copy is the recorded one"),
        // Somebody let it go by hand. What runs is not ended on a suspicion.
        _ => Verdict::Leave,
    }
}

/// Whether anything of a job was ever seen running.
fn was_started(job: &Tracked) -> bool {
    let started = |state: &JobState| !matches!(state, JobState::Submitting | JobState::Pending);
    job.told.state.as_ref().is_some_and(started) || job.told.tasks.values().any(started)
}

impl Maintainer {
    /// Sweeps if it is time, or if the scheduler has just come back.
    pub(super) async fn sweep(&self, sweeps: &mut Sweeps, is_back: bool) {
        let every = self.0.parts.limits.sweep;
        if !is_back && sweeps.began.is_some_and(|began| began.elapsed() < every) {
            return;
        }
        sweeps.began = Some(Instant::now());
        let installation = self.installation().await;
        let Ok(marked) = self.0.parts.integration.marked(installation).await else {
            // Silence is noticed, and told, by the looks.
            return;
        };
        if marked.records.is_empty() {
            sweeps.suspects.clear();
            return;
        }
        if let Err(error) = self.judge_all(sweeps, marked.records, marked.since).await {
            let error = forebay_service::logs::chain(&error);
            tracing::warn!(cluster = %self.cluster(), error, "a sweep waits for the site database");
        }
    }

    async fn judge_all(
        &self,
        sweeps: &mut Sweeps,
        records: Vec<Record>,
        since: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let marked = |record: &Record| record.marker.map(|marker| marker.job);
        let ids: Vec<JobId> = records.iter().filter_map(marked).collect();
        let store = &self.0.parts.store;
        let known = store.tracked_jobs(&ids).await?;
        let known: HashMap<JobId, Tracked> = known.into_iter().map(|job| (job.job, job)).collect();
        let seen_under = match since {
            Some(_) => store.seen_under(&ids).await?,
            None => HashMap::new(),
        };
        let mut suspects = HashSet::new();
        let mut superfluous: BTreeMap<String, (Account, Vec<String>)> = BTreeMap::new();
        let mut let_go = Vec::new();
        for record in records {
            // One that is not known here may be a job of a database that was lost: the link
            // takes it up again, or an operator decides.
            let Some(job) = marked(&record).and_then(|id| known.get(&id)) else {
                tracing::warn!(
                    id = record.copy.scheduler_id,
                    "a marked copy of a job that is not known here"
                );
                continue;
            };
            let Ok(account) = self.0.parts.accounts.resolve(&job.owner.identity).await else {
                continue;
            };
            let stays_held = self.0.parts.integration.stays_held(&job.spec);
            let id = record.copy.scheduler_id.clone();
            match judge(&record, job, account.uid, stays_held) {
                Verdict::Leave => {}
                Verdict::LetGo => {
                    if since.is_some() && seen_under.get(&job.job).copied() != since {
                        let_go.push(job.job);
                    }
                }
                Verdict::Cancel(why) => {
                    let suspect = (job.job, id.clone());
                    if sweeps.suspects.contains(&suspect) {
                        tracing::warn!(job = %job.job, id, why, "cancelling a copy");
                        let of_owner = superfluous.entry(account.name.clone());
                        of_owner.or_insert_with(|| (account, Vec::new())).1.push(id);
                    }
                    suspects.insert(suspect);
                }
                Verdict::HeldAgain => {
                    let before = seen_under.get(&job.job).copied();
                    let before = before.unwrap_or(record.copy.submitted_at);
                    // Under the same controller it is the owner who holds it.
                    if since.is_some_and(|since| since > before) {
                        self.held_again(job.job, account).await?;
                        let_go.push(job.job);
                    }
                }
            }
        }
        sweeps.suspects = suspects;
        for (account, ids) in superfluous.into_values() {
            self.cancel_copies(account, ids);
        }
        match since {
            Some(since) if !let_go.is_empty() => store.set_seen_under(&let_go, since).await,
            _ => Ok(()),
        }
    }

    /// The controller forgot that it let this copy go. One that never started is let go again;
    /// one that did has run, at least in part, and does not run twice.
    async fn held_again(&self, id: JobId, account: Account) -> Result<(), StoreError> {
        let job = {
            let mut watched = lock(&self.0.watched);
            let Some(job) = watched.remove(&id) else {
                // In another hand, which looks itself.
                return Ok(());
            };
            lock(&self.0.in_hand).insert(id);
            job
        };
        if !was_started(&job) {
            tracing::warn!(job = %id, "the restarted scheduler holds a job that it had let go; letting go again");
            self.hand_to_release(Held::maybe_released(job));
            return Ok(());
        }
        let message =
            "The scheduler was restarted and lost that the job had started; it is not run again."
                .to_owned();
        tracing::warn!(job = %id, message);
        let report = about(&job, Timestamp::now(), Observation::Vanished { message });
        let copy = job.copy.clone();
        if let Err(error) = self.close(job.clone(), vec![report]).await {
            self.hand_to_watch([job]);
            return Err(error);
        }
        self.cancel_copies(
            account,
            copy.map(|copy| copy.scheduler_id).into_iter().collect(),
        );
        Ok(())
    }

    /// Cancels copies of one owner, beside whatever else goes on: a user-agent may hang. Those
    /// that are left are found again.
    fn cancel_copies(&self, account: Account, ids: Vec<String>) {
        let this = self.clone();
        drop(self.0.tasks.spawn("reap", async move {
            let cancelled = this.0.parts.integration.cancel(&account, &ids).await;
            if let Err(unavailable) = cancelled {
                tracing::warn!(
                    reason = unavailable.message,
                    ?ids,
                    "superfluous copies stay for now"
                );
            }
        }));
    }
}

#[cfg(test)]
#[path = "reap_tests.rs"]
mod tests;
