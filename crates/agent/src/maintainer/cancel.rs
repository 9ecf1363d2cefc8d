//! Ends jobs that somebody wants ended, until they have.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use forebay_service::CancellationToken;
use forebay_wire::JobId;
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{Maintainer, lock};

/// A cancel that did not end its job is asked for again.
const AGAIN: Duration = Duration::from_secs(15);
/// One that the scheduler did not hear.
const UNHEARD: Duration = Duration::from_secs(1);
/// For so long a wish is kept for a job that is not here yet. Most are of jobs
/// of another cluster, or have ended.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// Owners whose jobs are cancelled at once: one whose user-agent hangs holds up
/// nobody else.
const OWNERS_MAX: usize = 32;

/// What one owner wants cancelled.
#[derive(Debug, Default)]
struct Wanted {
    jobs: Vec<JobId>,
    scheduler_ids: Vec<String>,
}

impl Maintainer {
    /// Jobs still on their way to the scheduler read the same wish between
    /// their phases; here it is done to those that the scheduler may start.
    pub(super) async fn cancel(&self, stop: CancellationToken) {
        let mut workers = FuturesUnordered::new();
        let mut busy: HashSet<String> = HashSet::new();
        // When what was asked for is asked for again.
        let mut again: HashMap<JobId, Instant> = HashMap::new();
        loop {
            for (owner, wanted) in self.wanted(&mut again) {
                if busy.len() < OWNERS_MAX && busy.insert(owner.clone()) {
                    workers.push(self.cancel_of(owner, wanted));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.cancel.nudged() => {}
                Some((owner, wanted, took)) = workers.next(), if !workers.is_empty() => {
                    busy.remove(&owner);
                    let at = Instant::now() + if took { AGAIN } else { UNHEARD };
                    again.extend(wanted.jobs.into_iter().map(|job| (job, at)));
                    self.look();
                }
                () = tokio::time::sleep(UNHEARD) => {}
            }
        }
    }

    /// What is to be asked for now, by owner.
    fn wanted(&self, again: &mut HashMap<JobId, Instant>) -> HashMap<String, Wanted> {
        let mut cancels = lock(&self.0.cancels);
        let watched = lock(&self.0.watched);
        let in_hand = lock(&self.0.in_hand);
        cancels.retain(|id, at| {
            at.elapsed() < AHEAD_MAX || watched.contains_key(id) || in_hand.contains(id)
        });
        again.retain(|id, _| cancels.contains_key(id));
        let now = Instant::now();
        let mut by_owner: HashMap<String, Wanted> = HashMap::new();
        let due = cancels
            .keys()
            .filter(|id| again.get(id).is_none_or(|at| *at <= now));
        for job in due.filter_map(|id| watched.get(id)) {
            if let Some(copy) = &job.copy {
                let of_owner = by_owner.entry(job.owner.identity.clone()).or_default();
                of_owner.jobs.push(job.job);
                of_owner.scheduler_ids.push(copy.scheduler_id.clone());
            }
        }
        by_owner
    }

    /// Whether the scheduler took all of it, with what and whose it was.
    async fn cancel_of(&self, owner: String, wanted: Wanted) -> (String, Wanted, bool) {
        let account = match self.0.parts.accounts.resolve(&owner).await {
            Ok(account) => account,
            Err(error) => {
                tracing::warn!(owner, %error, "a cancel waits for its account");
                return (owner, wanted, false);
            }
        };
        let ids = &wanted.scheduler_ids;
        let cancelled = self.0.parts.integration.cancel(&account, ids).await;
        if let Err(unavailable) = &cancelled {
            tracing::warn!(reason = unavailable.message, ?ids, "a cancel waits");
        }
        (owner, wanted, cancelled.is_ok())
    }
}
