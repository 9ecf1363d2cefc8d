//! Takes queued jobs from the central side while there is room for them.

use std::time::Duration;

use forebay_service::CancellationToken;

use super::{Maintainer, lock};
use crate::{job::Tracked, store::Change};

/// How often to ask without being told of work: the desired feed may be late.
const ASK_ANYWAY: Duration = Duration::from_secs(10);

impl Maintainer {
    pub(super) async fn claim(&self, stop: CancellationToken) {
        // A claim whose answer was lost is asked for again under its id, so
        // that the jobs in it are not left lying.
        let mut repeat = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.work.nudged() => {}
                () = tokio::time::sleep(ASK_ANYWAY) => {}
            }
            while !stop.is_cancelled() {
                let free = self.room();
                if free == 0 {
                    break;
                }
                let request_id = *repeat.get_or_insert_with(uuid::Uuid::new_v4);
                let link = &self.0.parts.link;
                let claimed = match link.claim(self.cluster(), free, request_id).await {
                    Ok(claimed) => claimed,
                    Err(error) => {
                        tracing::debug!(cluster = %self.cluster(), %error, "no claim now");
                        break;
                    }
                };
                let jobs: Vec<Tracked> = claimed.jobs.into_iter().map(Tracked::claimed).collect();
                let changes = jobs.iter().map(Change::track).collect();
                if let Err(error) = self.0.parts.store.write(changes).await {
                    // The same claim will be asked for again, and answered the same.
                    tracing::warn!(
                        error = forebay_service::logs::chain(&error),
                        "claimed jobs were not kept"
                    );
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    break;
                }
                repeat = None;
                for job in jobs {
                    self.take_up(job);
                }
                if !claimed.more {
                    break;
                }
            }
        }
    }

    /// How many more jobs may be taken now.
    fn room(&self) -> u32 {
        let limits = &self.0.parts.limits;
        let in_hand = lock(&self.0.in_hand).len();
        let watched = lock(&self.0.watched).len();
        let unsubmitted = limits.unsubmitted_max.saturating_sub(in_hand);
        let open = limits.open_max.saturating_sub(in_hand + watched);
        u32::try_from(unsubmitted.min(open)).unwrap_or(u32::MAX)
    }
}
