//! Sends what the site saw, in order, until it is acknowledged.

use std::time::{Duration, Instant};

use forebay_wire::link::{REPORT_BYTES_MAX, REPORT_ITEMS_MAX, Reports, ReportsApplied};
use tokio::sync::watch;

use super::{Link, LinkError, Open};

/// How often to look for reports without being told of one.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);
/// What is written within so long of the one before goes together: of several reports of one job the
/// central side then writes the outcome only.
const GATHER: Duration = Duration::from_millis(25);
/// However much is written, nothing waits longer.
const GATHER_MAX: Duration = Duration::from_millis(150);
/// What surrounds the items in a body.
const ENVELOPE_BYTES: usize = 16 << 10;

impl Link {
    pub(super) async fn send_reports(&self, open: &Open) -> Result<(), LinkError> {
        let mut written = self.0.store.reports_written();
        let mut acked = open.session.acked_seq;
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
                gather(&mut written).await;
                continue;
            };
            // A full batch has others behind it.
            let full = batch.len() == REPORT_ITEMS_MAX;
            let last_seq = batch.last().map_or(*from_seq, |(seq, _)| *seq);
            self.0.store.sending_reports(last_seq).await?;
            let reports = Reports {
                epoch: open.session.epoch,
                from_seq: *from_seq,
                items: batch.into_iter().map(|(_, report)| report).collect(),
            };
            let applied: ReportsApplied = self
                .post(open, "reports", "/link/v1/reports", &reports)
                .await?;
            acked = applied.acked_seq;
            self.0.store.forget_reports(acked).await?;
            if !full {
                gather(&mut written).await;
            }
        }
    }
}

/// Waits until nothing has been written for a moment, within reason.
async fn gather(written: &mut watch::Receiver<i64>) {
    let until = Instant::now() + GATHER_MAX;
    while Instant::now() < until {
        written.mark_unchanged();
        tokio::time::sleep(GATHER).await;
        if !written.has_changed().unwrap_or(false) {
            return;
        }
    }
}
