//! The one reader of the feed: reads what changed, and gives it to all who subscribed.

use std::time::Duration;

use forebay_central::Again;
use forebay_service::{CancellationToken, logs};

use crate::{realtime::Realtime, told::Told};

/// Rows that another transaction holds back are readable soon.
const SOON: Duration = Duration::from_millis(15);
/// After a failure of the database.
const PAUSE: Duration = Duration::from_millis(500);

/// Reads until `stop`. The database may come and go.
pub(crate) async fn read(realtime: Realtime, stop: CancellationToken) {
    stop.run_until_cancelled(async {
        let mut bell = realtime.store().bell();
        let mut failing = false;
        loop {
            match step(&realtime).await {
                Ok(again) => {
                    failing = false;
                    match again {
                        Again::Now => {}
                        Again::Soon => tokio::time::sleep(SOON).await,
                        Again::No => bell.wait(realtime.config().limits.poll).await,
                    }
                    realtime
                        .counters()
                        .held_back
                        .set(i64::from(again == Again::Soon));
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(
                            error = logs::chain(&error),
                            "the feed cannot be read at present"
                        );
                    }
                    failing = true;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
    .await;
}

/// One page.
async fn step(realtime: &Realtime) -> Result<Again, forebay_central::Error> {
    let (store, hub) = (realtime.store(), realtime.hub());
    let position = *realtime.position().borrow();
    let Some(position) = position else {
        begin(realtime).await?;
        return Ok(Again::Now);
    };
    let changes = store
        .changes(&position, None, |source| hub.is_wanted(source))
        .await?;
    let Some(changes) = changes else {
        tracing::warn!("the feed was left behind: everybody begins anew");
        begin(realtime).await?;
        return Ok(Again::Now);
    };
    realtime.counters().skipped.inc_by(changes.skipped);
    for change in changes.changes {
        if let Some(told) = Told::change(change) {
            hub.send(told.source(), &told);
        }
    }
    // Only now: whoever sees this position and has an empty mailbox has everything up to it.
    realtime.position().send_replace(Some(changes.next));
    Ok(changes.again)
}

/// Begins to read at this moment. What was told before is in the snapshots that everybody takes after it.
async fn begin(realtime: &Realtime) -> Result<(), forebay_central::Error> {
    let now = realtime.store().feed_now().await?;
    realtime.position().send_replace(Some(now));
    realtime.hub().lag_all();
    Ok(())
}
