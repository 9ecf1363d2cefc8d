//! Reads what the central side wants, as soon as it wants it.

use std::time::Duration;

use forebay_http::ndjson::Line;
use forebay_wire::link::{Desired, HEARTBEAT_S, Want};
use http::Method;

use super::{Link, LinkError, Open, Site};

/// Silence for so long means that the feed is gone.
const SILENCE_MAX: Duration = Duration::from_secs(3 * HEARTBEAT_S);
/// A line names a job or a cluster.
const LINE_BYTES_MAX: usize = 4_096;

impl Link {
    pub(super) async fn read_desired(&self, open: &Open, site: &Site) -> Result<(), LinkError> {
        let failed = |source| LinkError::Call {
            call: "desired",
            source,
        };
        let answer = self
            .call(open, "desired", Method::GET, "/link/v1/desired")
            .map_err(failed)?
            .query("after", &open.session.desired_after)
            .stream()
            .await
            .map_err(failed)?;
        let mut lines = answer.lines(LINE_BYTES_MAX, SILENCE_MAX);
        loop {
            match lines.next::<Desired>().await {
                Ok(Some(Line::Item(desired))) => self.want(open, site, desired.want).await?,
                Ok(Some(Line::Heartbeat)) => {}
                Ok(None) => return Err(LinkError::Feed("ended")),
                Err(error) => {
                    tracing::warn!(
                        error = forebay_service::logs::chain(&error),
                        "a line of the desired feed"
                    );
                    match error {
                        // Wants of a newer version are not ours to understand.
                        forebay_http::ndjson::LineError::Malformed(_)
                        | forebay_http::ndjson::LineError::TooLong { .. } => {}
                        _ => return Err(LinkError::Feed("broke off")),
                    }
                }
            }
        }
    }

    async fn want(&self, open: &Open, site: &Site, want: Want) -> Result<(), LinkError> {
        match want {
            Want::Heartbeat => {}
            Want::Work { cluster } => site.work_waits(&cluster),
            Want::Cancel { job } => site.cancel(job).await?,
            Want::Resync => self.reconcile(open, site).await?,
        }
        Ok(())
    }
}
