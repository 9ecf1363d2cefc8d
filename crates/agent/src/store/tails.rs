//! Ends of logs that are still to be fetched. That one is wanted is written with the job's end, and
//! taken back with the report that holds it, so that no crash loses it.

use std::{collections::HashSet, time::Duration};

use forebay_wire::ClusterName;
use uuid::Uuid;

use super::{Store, StoreError, tracked::COLUMNS, tracked::tracked};
use crate::job::Tracked;

impl Store {
    /// Owners with log ends that may be fetched now: at most `max`, the longest waiting first,
    /// and none of `busy`.
    pub async fn owners_of_tails(
        &self,
        cluster: &ClusterName,
        busy: &HashSet<String>,
        max: usize,
    ) -> Result<Vec<String>, StoreError> {
        let client = self.client().await?;
        let busy: Vec<&str> = busy.iter().map(String::as_str).collect();
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = client
            .named("tails.owners")
            .query(
                "SELECT identity FROM tracked_jobs
                 WHERE cluster = $1 AND tail_due <= now() AND identity <> ALL($2)
                 GROUP BY identity ORDER BY min(tail_due) LIMIT $3",
                &[&cluster.as_str(), &busy, &max],
            )
            .await
            .map_err(StoreError::at("reading whose logs' ends are wanted"))?;
        rows.iter()
            .map(|row| {
                row.try_get(0).map_err(|source| StoreError::Row {
                    what: "log end's owner",
                    source: source.into(),
                })
            })
            .collect()
    }

    /// Jobs of one owner whose log ends may be fetched now, at most `max`. One that this version
    /// cannot read is reported and not asked for again.
    pub async fn tails_of(
        &self,
        cluster: &ClusterName,
        identity: &str,
        max: usize,
    ) -> Result<Vec<Tracked>, StoreError> {
        let client = self.client().await?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = client
            .named("tails.of")
            .query(
                &format!(
                    "SELECT {COLUMNS} FROM tracked_jobs
                     WHERE cluster = $1 AND identity = $2 AND tail_due <= now()
                     ORDER BY tail_due, job LIMIT $3"
                ),
                &[&cluster.as_str(), &identity, &max],
            )
            .await
            .map_err(StoreError::at("reading which logs' ends are wanted"))?;
        let mut jobs = Vec::new();
        let mut unreadable: Vec<Uuid> = Vec::new();
        for row in &rows {
            match tracked(row) {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    let job: Option<Uuid> = row.try_get(0).ok();
                    tracing::error!(
                        ?job,
                        error,
                        "the end of a log is not kept: its job cannot be read"
                    );
                    unreadable.extend(job);
                }
            }
        }
        if !unreadable.is_empty() {
            client
                .named("tails.unreadable")
                .execute(
                    "UPDATE tracked_jobs SET tail_due = NULL WHERE job = ANY($1)",
                    &[&unreadable],
                )
                .await
                .map_err(StoreError::at("giving up logs' ends"))?;
        }
        Ok(jobs)
    }

    /// An owner's logs cannot be read at present: all of them wait, each for about as long as its
    /// job has been over, between `least` and an hour. After `at_most` they are given up.
    pub async fn put_off_tails(
        &self,
        cluster: &ClusterName,
        identity: &str,
        least: Duration,
        at_most: Duration,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let (least, at_most) = (least.as_secs_f64(), at_most.as_secs_f64());
        client
            .named("tails.put_off")
            .execute(
                "UPDATE tracked_jobs SET tail_due = CASE
                     WHEN changed_at < now() - make_interval(secs => $4) THEN NULL
                     ELSE now() + least(greatest(now() - changed_at, make_interval(secs => $3)),
                                        interval '1 hour')
                 END
                 WHERE cluster = $1 AND identity = $2 AND tail_due <= now()",
                &[&cluster.as_str(), &identity, &least, &at_most],
            )
            .await
            .map_err(StoreError::at("putting off logs' ends"))?;
        Ok(())
    }
}
