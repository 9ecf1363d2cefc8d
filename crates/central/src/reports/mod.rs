//! What a site saw, applied: a whole batch in one transaction and a fixed number
//! of statements, however many items it has.

mod batch;
mod clean;
mod load;
mod save;

use forebay_wire::link::{Report, Reports, ReportsApplied};

use crate::{
    Store,
    error::Error,
    sites::{Link, check_epoch},
    sql::get,
};

impl Store {
    /// Applies reports in their order. Those up to `acked_seq` are known and
    /// skipped; a gap is refused. What is about jobs and clusters of others, and
    /// what does not fit a job's life, is skipped and logged: one bad item never
    /// stops the others.
    pub async fn apply_reports(
        &self,
        link: &Link,
        reports: Reports,
    ) -> Result<ReportsApplied, Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let site = link.site.as_str();
        // One batch of a site at a time, and no newer link beneath it.
        let row = tx
            .named("reports.site")
            .query_one(
                "SELECT epoch, acked_seq FROM sites WHERE name = $1 FOR NO KEY UPDATE",
                &[&site],
            )
            .await?;
        check_epoch(link, get(&row, "epoch")?)?;
        if reports.epoch != link.epoch {
            return Err(Error::Superseded { epoch: link.epoch });
        }
        let acked_seq: i64 = get(&row, "acked_seq")?;
        let last = reports
            .from_seq
            .saturating_add(i64::try_from(reports.items.len()).unwrap_or(i64::MAX))
            - 1;
        if reports.items.is_empty() || last <= acked_seq {
            return Ok(ReportsApplied { acked_seq });
        }
        if reports.from_seq > acked_seq.saturating_add(1) || reports.from_seq < 1 {
            return Err(Error::Gap { acked_seq });
        }
        let numbered = (reports.from_seq..).zip(reports.items);
        let items: Vec<(i64, Report)> = numbered
            .filter(|(seq, _)| *seq > acked_seq)
            .map(|(seq, item)| (seq, clean::clean(item)))
            .collect();

        let mut batch = load::load(&tx, site, &items).await?;
        for (seq, item) in &items {
            batch.apply(*seq, item);
        }
        save::save(&tx, site, &batch).await?;
        tx.named("reports.acked")
            .execute(
                "UPDATE sites SET acked_seq = $2, seen_at = now() WHERE name = $1",
                &[&site, &last],
            )
            .await?;
        tx.commit().await?;
        if batch.changed() {
            self.ring();
        }
        Ok(ReportsApplied { acked_seq: last })
    }
}
