//! Takes queued jobs from the central side while there is room for them.

use std::time::Duration;

use forebay_service::CancellationToken;
use forebay_wire::link::Work;
use serde_json::Value;

use super::{Maintainer, lock};
use crate::{
    job::Tracked,
    store::{Change, StoreError},
};

/// The job, unless its spec is none at all: then it waits, at the central side, for somebody who
/// can read it.
fn readable(work: Work<Value>) -> Option<Tracked> {
    let job = work.job;
    let read = Tracked::claimed(work);
    read.inspect_err(
        |error| tracing::error!(%job, %error, "a claimed job whose spec cannot be read"),
    )
    .ok()
}

/// How often to ask without being told of work: the desired feed may be late.
const ASK_ANYWAY: Duration = Duration::from_secs(10);

impl Maintainer {
    pub(super) async fn claim(&self, stop: CancellationToken) {
        // A claim whose answer was lost is asked for again under its id, so
        // that the jobs in it are not left lying.
        let mut repeat = None;
        // Whether jobs may be queued: else room that becomes free asks nobody.
        let mut more = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.work.nudged() => more = true,
                () = self.0.room.nudged() => {}
                () = tokio::time::sleep(ASK_ANYWAY) => more = true,
            }
            while more && !stop.is_cancelled() {
                let free = self.free();
                if free == 0 {
                    break;
                }
                let request_id = *repeat.get_or_insert_with(uuid::Uuid::new_v4);
                let claimed = match self
                    .0
                    .parts
                    .link
                    .claim(self.cluster(), free, request_id)
                    .await
                {
                    Ok(claimed) => claimed,
                    Err(error) => {
                        tracing::debug!(cluster = %self.cluster(), %error, "no claim now");
                        break;
                    }
                };
                let jobs: Vec<Tracked> = claimed.jobs.into_iter().filter_map(readable).collect();
                let changes = jobs.iter().map(Change::track).collect();
                let kept = async {
                    self.0.parts.store.write(changes).await?;
                    self.keep_early_wishes(&jobs).await
                };
                if let Err(error) = kept.await {
                    // The same claim will be asked for again, and answered the same.
                    let error = forebay_service::logs::chain(&error);
                    tracing::warn!(error, "claimed jobs were not kept");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    break;
                }
                // As the database has them: of a claim asked for again some may
                // have been recovered by the link, and have ended since.
                let ids = jobs.iter().map(|job| job.job).collect();
                if let Err(error) = self.take_up_all_stored(ids).await {
                    let error = forebay_service::logs::chain(&error);
                    tracing::warn!(error, "claimed jobs wait");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    break;
                }
                repeat = None;
                more = claimed.more;
            }
        }
    }

    /// Wishes that came before their jobs were there found no row to be written into.
    async fn keep_early_wishes(&self, jobs: &[Tracked]) -> Result<(), StoreError> {
        let early = jobs.iter().filter(|job| self.cancel_wanted(job.job));
        let wishes = early.map(|job| Change::cancel_wanted(job.job)).collect();
        self.0.parts.store.write(wishes).await
    }

    /// How many more jobs may be taken now. Nothing until half of what is on
    /// its way has left, so that jobs are taken in numbers and not one by one.
    fn free(&self) -> u32 {
        let limits = &self.0.parts.limits;
        let under_way = self.under_way();
        let in_hand = lock(&self.0.in_hand).len();
        let watched = lock(&self.0.watched).len();
        if under_way > limits.unsubmitted_max / 2 {
            return 0;
        }
        let open = limits.open_max.saturating_sub(in_hand + watched);
        u32::try_from(open.min(limits.unsubmitted_max - under_way)).unwrap_or(u32::MAX)
    }
}
