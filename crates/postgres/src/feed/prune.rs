//! Retention: deleting the oldest rows, and remembering how far.

use time::OffsetDateTime;

use super::Reader;
use crate::error::Error;

/// Rows per transaction.
const BATCH: i64 = 5000;

impl Reader {
    /// Deletes the rows written before `before`, oldest position first, in transactions of at most 5,000 rows, and
    /// returns how many. Cursors before the last deleted row are expired from then on.
    ///
    /// It stops at the first row that is young enough, so what remains is always everything after one position; and
    /// it leaves rows that no reader can have read yet. Several may run at once.
    pub async fn prune(&self, before: OffsetDateTime) -> Result<u64, Error> {
        let mut client = self.pool.get().await?;
        let mut total = 0;
        loop {
            let tx = client.transaction().await?;
            // Takes turns with other pruners; readers do not notice.
            tx.named("feed.prune_lock")
                .execute("SELECT FROM feed_meta FOR UPDATE", &[])
                .await?;
            // Rows are never updated, so their place on disk (`ctid`) names them within one statement.
            let row = tx
                .named("feed.prune")
                .query_opt(
                    "WITH batch AS MATERIALIZED (
                         SELECT ctid AS row, xid, id, at FROM feed
                         WHERE xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY xid, id LIMIT $2),
                     young AS MATERIALIZED (
                         SELECT xid, id FROM batch WHERE at >= $1 ORDER BY xid, id LIMIT 1),
                     gone AS (
                         DELETE FROM feed WHERE ctid = ANY (ARRAY(
                             SELECT row FROM batch WHERE NOT EXISTS (
                                 SELECT FROM young WHERE (batch.xid, batch.id) >= (young.xid, young.id))))
                         RETURNING xid, id),
                     last AS (SELECT xid, id FROM gone ORDER BY xid DESC, id DESC LIMIT 1)
                     UPDATE feed_meta SET pruned_xid = last.xid, pruned_id = last.id FROM last
                     RETURNING (SELECT count(*) FROM gone)",
                    &[&before, &BATCH],
                )
                .await?;
            tx.commit().await?;
            let deleted: i64 = match row {
                Some(row) => row.try_get(0).map_err(Error::in_query("feed.prune"))?,
                None => 0,
            };
            total += deleted.unsigned_abs();
            if deleted < BATCH {
                return Ok(total);
            }
        }
    }
}
