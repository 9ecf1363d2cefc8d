//! Clusters as users see them.

use forebay_wire::{
    ClusterName, Freshness,
    api::{Cluster, ClusterStatus},
};
use tokio_postgres::Row;

use crate::{
    Store,
    error::Error,
    sql::{get, parsed},
};

/// Those that there are; a condition may follow.
pub(crate) const SELECT: &str = "
    SELECT c.name, c.site, c.integration, c.rev, c.status::text AS status,
           (s.seen_at IS NULL OR s.seen_at < now() - interval '30 seconds') AS away
    FROM clusters c JOIN sites s ON s.name = c.site WHERE c.withdrawn_at IS NULL";

impl Store {
    /// All clusters by name. There are few: sites are limited in how many they declare.
    pub async fn clusters(&self) -> Result<Vec<Cluster>, Error> {
        let client = self.client().await?;
        let sql = format!("{SELECT} ORDER BY c.name");
        let rows = client.named("clusters.list").query(&sql, &[]).await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let read = cluster(row);
                if let Err(error) = &read {
                    tracing::error!(%error, "a cluster cannot be listed");
                }
                read.ok()
            })
            .collect())
    }

    /// One cluster.
    pub async fn cluster(&self, name: &ClusterName) -> Result<Cluster, Error> {
        let client = self.client().await?;
        let sql = format!("{SELECT} AND c.name = $1");
        let row = client
            .named("clusters.get")
            .query_opt(&sql, &[&name.as_str()])
            .await?
            .ok_or(Error::NotFound("cluster"))?;
        cluster(&row)
    }
}

pub(crate) fn cluster(row: &Row) -> Result<Cluster, Error> {
    let name: ClusterName = parsed("clusters", row, "name")?;
    let status: &str = get(row, "status")?;
    let mut status: ClusterStatus = serde_json::from_str(status).map_err(|error| Error::Row {
        table: "clusters",
        reason: format!("the status of {name}: {error}"),
    })?;
    if get(row, "away")? {
        status.freshness = Freshness::Stale;
        status.message = Some("Its site does not answer at present.".into());
    }
    Ok(Cluster {
        name,
        site: parsed("clusters", row, "site")?,
        integration: get(row, "integration")?,
        rev: get(row, "rev")?,
        status,
    })
}
