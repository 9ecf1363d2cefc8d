//! Reports on their way to the central side, and the installation they go to.

use std::sync::atomic::{AtomicI64, Ordering};

use forebay_service::metrics::Counter;
use forebay_wire::link::Report;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Store, StoreError};

/// Characters of an unreadable report that are logged: it is the last that is heard of it.
const SHOWN_MAX: usize = 2_000;

/// Reports that this version cannot read.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    count: Counter,
    /// The newest that was counted: a page is read again when it could not be sent.
    newest: AtomicI64,
}

impl Unreadable {
    fn note(&self, seq: i64, item: &Value, error: &serde_json::Error) {
        if self.newest.fetch_max(seq, Ordering::Relaxed) < seq {
            self.count.inc();
            let item: String = item.to_string().chars().take(SHOWN_MAX).collect();
            tracing::error!(seq, item, %error, "a report cannot be read and is skipped");
        }
    }
}

impl Store {
    /// The reports after `seq`, in order, without gaps: at most `items_max`
    /// and about `bytes_max`, but one at least.
    pub async fn reports_after(
        &self,
        seq: i64,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(i64, Report)>, StoreError> {
        let client = self.client().await?;
        let items_max = i64::try_from(items_max).unwrap_or(i64::MAX);
        let bytes_max = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        let rows = client
            .named("outbound.after")
            .query(
                "SELECT seq, item FROM (
                     SELECT seq, item, sum(octet_length(item::text)) OVER (ORDER BY seq) AS bytes,
                            row_number() OVER (ORDER BY seq) AS n
                     FROM (SELECT seq, item FROM outbound WHERE seq > $1 ORDER BY seq LIMIT $2) AS page
                 ) AS sized
                 WHERE bytes <= $3 OR n = 1
                 ORDER BY seq",
                &[&seq, &items_max, &bytes_max],
            )
            .await
            .map_err(StoreError::at("reading reports"))?;
        rows.iter()
            .map(|row| {
                let row_error = |source: forebay_postgres::tokio_postgres::Error| StoreError::Row {
                    what: "report",
                    source: source.into(),
                };
                let seq: i64 = row.try_get(0).map_err(row_error)?;
                let item: Value = row.try_get(1).map_err(row_error)?;
                let report = Report::deserialize(&item).unwrap_or_else(|error| {
                    self.unreadable.note(seq, &item, &error);
                    // In its place, since numbers must have no gap.
                    Report::nothing()
                });
                Ok((seq, report))
            })
            .collect()
    }

    /// Counts reports that were skipped because this version cannot read them.
    pub fn unreadable_reports(&self) -> Counter {
        self.unreadable.count.clone()
    }

    /// Reports up to this one are about to be sent.
    pub async fn sending_reports(&self, seq: i64) -> Result<(), StoreError> {
        let client = self.client().await?;
        // Need not be on disk at once: should it be lost, some reports are sent twice.
        client
            .named("link.sending")
            .execute(
                "WITH soon AS (SELECT set_config('synchronous_commit', 'off', true))
                 UPDATE link SET sent_seq = greatest(sent_seq, $1) FROM soon",
                &[&seq],
            )
            .await
            .map_err(StoreError::at("noting what is sent"))?;
        Ok(())
    }

    /// Forgets what the central side has applied.
    pub async fn forget_reports(&self, acked_seq: i64) -> Result<(), StoreError> {
        let client = self.client().await?;
        client
            .named("outbound.forget")
            .execute("DELETE FROM outbound WHERE seq <= $1", &[&acked_seq])
            .await
            .map_err(StoreError::at("forgetting reports"))?;
        Ok(())
    }

    /// Settles the numbers of reports at the start of a link. Where the central side has applied
    /// more than this database ever sent, the database is an older copy of the one that sent it:
    /// what waits here is new, and is numbered anew from behind `acked_seq`.
    pub async fn continue_after(&self, acked_seq: i64) -> Result<(), StoreError> {
        let failed = || StoreError::at("numbering reports");
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(failed())?;
        // The journal numbers reports under the same lock.
        let row = transaction
            .named("outbound.numbers")
            .query_one(
                "SELECT least(link.sent_seq, site.outbound_seq) FROM site, link FOR UPDATE",
                &[],
            )
            .await
            .map_err(failed())?;
        let sent_seq: i64 = row.try_get(0).map_err(|source| StoreError::Row {
            what: "report number",
            source: source.into(),
        })?;
        if acked_seq <= sent_seq {
            return Ok(());
        }
        let behind = acked_seq - sent_seq;
        // By way of negative numbers, so that none meets one that has not moved yet.
        transaction
            .named("outbound.take_out")
            .execute(
                "UPDATE outbound SET seq = -(seq + $1) WHERE seq > $2",
                &[&behind, &sent_seq],
            )
            .await
            .map_err(failed())?;
        let moved = transaction
            .named("outbound.put_back")
            .execute("UPDATE outbound SET seq = -seq WHERE seq < 0", &[])
            .await
            .map_err(failed())?;
        transaction
            .named("outbound.continue")
            .execute(
                "WITH numbers AS (UPDATE site SET outbound_seq = outbound_seq + $1)
                 UPDATE link SET sent_seq = $2",
                &[&behind, &acked_seq],
            )
            .await
            .map_err(failed())?;
        transaction.commit().await.map_err(failed())?;
        tracing::warn!(
            acked_seq,
            sent_seq,
            moved,
            "this site database is older than what the central side knows; reports are numbered anew"
        );
        Ok(())
    }

    /// The installation that this site belongs to, once it has been linked.
    pub async fn installation(&self) -> Result<Option<Uuid>, StoreError> {
        let client = self.client().await?;
        let row = client
            .named("site.installation")
            .query_one("SELECT installation FROM site", &[])
            .await
            .map_err(StoreError::at("reading the installation"))?;
        row.try_get(0).map_err(|source| StoreError::Row {
            what: "installation",
            source: source.into(),
        })
    }

    /// Binds this database to an installation, for good.
    pub async fn pin_installation(&self, offered: Uuid) -> Result<(), StoreError> {
        let client = self.client().await?;
        let row = client
            .named("site.pin")
            .query_one(
                "UPDATE site SET installation = coalesce(installation, $1) RETURNING installation",
                &[&offered],
            )
            .await
            .map_err(StoreError::at("pinning the installation"))?;
        let pinned: Uuid = row.try_get(0).map_err(|source| StoreError::Row {
            what: "installation",
            source: source.into(),
        })?;
        if pinned == offered {
            Ok(())
        } else {
            Err(StoreError::OtherInstallation { pinned, offered })
        }
    }
}
