//! Ends jobs that somebody wants ended, until they have.

use std::{collections::HashMap, time::Duration};

use forebay_service::CancellationToken;

use super::{Maintainer, lock};
use crate::job::Tracked;

/// A cancel that did not end its job is asked for again.
const AGAIN: Duration = Duration::from_secs(15);
/// For so long a wish is kept for a job that is not here yet. Most are of jobs
/// of another cluster, or have ended.
const AHEAD_MAX: Duration = Duration::from_secs(300);

impl Maintainer {
    /// Jobs still on their way to the scheduler read the same wish between
    /// their phases; here it is done to those that the scheduler may start.
    pub(super) async fn cancel(&self, stop: CancellationToken) {
        loop {
            let pause = if self.cancel_watched().await {
                AGAIN
            } else {
                Duration::from_secs(1)
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.cancel.nudged() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Whether the scheduler took all of it.
    async fn cancel_watched(&self) -> bool {
        let wanted: Vec<Tracked> = {
            let mut cancels = lock(&self.0.cancels);
            let watched = lock(&self.0.watched);
            let in_hand = lock(&self.0.in_hand);
            cancels.retain(|id, at| {
                at.elapsed() < AHEAD_MAX || watched.contains_key(id) || in_hand.contains(id)
            });
            cancels
                .keys()
                .filter_map(|id| watched.get(id).cloned())
                .collect()
        };
        let mut by_owner: HashMap<&str, Vec<String>> = HashMap::new();
        for job in &wanted {
            if let Some(copy) = &job.copy {
                by_owner
                    .entry(&job.owner.identity)
                    .or_default()
                    .push(copy.scheduler_id.clone());
            }
        }
        let mut all = true;
        for (identity, ids) in by_owner {
            let account = match self.0.parts.accounts.resolve(identity).await {
                Ok(account) => account,
                Err(error) => {
                    tracing::warn!(identity, %error, "a cancel waits for its account");
                    all = false;
                    continue;
                }
            };
            if let Err(unavailable) = self.0.parts.integration.cancel(&account, &ids).await {
                tracing::warn!(reason = unavailable.message, ?ids, "a cancel waits");
                all = false;
            }
        }
        if !wanted.is_empty() {
            self.look();
        }
        all
    }
}
