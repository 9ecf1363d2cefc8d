//! Sends what the site saw, in order, until it is acknowledged.

use std::time::Duration;

use forebay_wire::link::{REPORT_BYTES_MAX, REPORT_ITEMS_MAX, Reports, ReportsApplied, Session};

use super::{Link, LinkError};

/// How often to look for reports without being told of one.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);
/// What is written within so long goes together.
const GATHER: Duration = Duration::from_millis(25);
/// What surrounds the items in a body.
const ENVELOPE_BYTES: usize = 16 << 10;

impl Link {
    pub(super) async fn send_reports(&self, session: &Session) -> Result<(), LinkError> {
        let mut written = self.0.store.reports_written();
        let mut acked = session.acked_seq;
        loop {
            written.mark_unchanged();
            let bytes_max = REPORT_BYTES_MAX - ENVELOPE_BYTES;
            let batch = self
                .0
                .store
                .reports_after(acked, REPORT_ITEMS_MAX, bytes_max)
                .await?;
            let Some((from_seq, _)) = batch.first() else {
                let _ = tokio::time::timeout(LOOK_ANYWAY, written.changed()).await;
                tokio::time::sleep(GATHER).await;
                continue;
            };
            let reports = Reports {
                epoch: session.epoch,
                from_seq: *from_seq,
                items: batch.into_iter().map(|(_, report)| report).collect(),
            };
            let applied: ReportsApplied = self
                .post(session, "reports", "/link/v1/reports", &reports)
                .await?;
            acked = applied.acked_seq;
            self.0.store.forget_reports(acked).await?;
        }
    }
}
