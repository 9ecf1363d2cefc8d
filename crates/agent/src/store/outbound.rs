//! Reports on their way to the central side, and the installation they go to.

use forebay_wire::link::Report;
use serde_json::Value;
use uuid::Uuid;

use super::{Store, StoreError};

impl Store {
    /// The reports after `seq`, in order, without gaps: at most `items_max`
    /// and about `bytes_max`, but one at least.
    pub async fn reports_after(
        &self,
        seq: i64,
        items_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<(i64, Report)>, StoreError> {
        let client = self
            .pool
            .get()
            .await
            .map_err(StoreError::at("connecting"))?;
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
                let unreadable = |source| StoreError::Row {
                    what: "report",
                    source,
                };
                let seq: i64 = row.try_get(0).map_err(|e| unreadable(e.into()))?;
                let item: Value = row.try_get(1).map_err(|e| unreadable(e.into()))?;
                let report = serde_json::from_value(item).map_err(|e| unreadable(e.into()))?;
                Ok((seq, report))
            })
            .collect()
    }

    /// Forgets what the central side has applied.
    pub async fn forget_reports(&self, acked_seq: i64) -> Result<(), StoreError> {
        let client = self
            .pool
            .get()
            .await
            .map_err(StoreError::at("connecting"))?;
        client
            .named("outbound.forget")
            .execute("DELETE FROM outbound WHERE seq <= $1", &[&acked_seq])
            .await
            .map_err(StoreError::at("forgetting reports"))?;
        Ok(())
    }

    /// Numbers reports from behind `acked_seq`, should this database be
    /// younger than what the central side has applied.
    pub async fn continue_after(&self, acked_seq: i64) -> Result<(), StoreError> {
        let client = self
            .pool
            .get()
            .await
            .map_err(StoreError::at("connecting"))?;
        client
            .named("outbound.continue")
            .execute(
                "UPDATE site SET outbound_seq = $1 WHERE outbound_seq < $1",
                &[&acked_seq],
            )
            .await
            .map_err(StoreError::at("numbering reports"))?;
        Ok(())
    }

    /// The installation that this site belongs to, once it has been linked.
    pub async fn installation(&self) -> Result<Option<Uuid>, StoreError> {
        let client = self
            .pool
            .get()
            .await
            .map_err(StoreError::at("connecting"))?;
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
        let client = self
            .pool
            .get()
            .await
            .map_err(StoreError::at("connecting"))?;
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
