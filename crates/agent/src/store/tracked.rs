//! Jobs that this site sees through.

use std::{collections::HashMap, sync::Arc, time::Duration};

use forebay_postgres::tokio_postgres::{self, Row};
use forebay_wire::{JobId, Timestamp, UserId, link::Owner};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    asked::Asked,
    job::{Copy, Tracked},
};

pub(super) const COLUMNS: &str = "job, cluster, owner, identity, spec, phase, attempt, scheduler_id, \
                       submitted_at, cancel_wanted, told";

/// Rows deleted in one statement, so that retention holds no lock for long.
const PRUNE_BATCH: i64 = 5_000;

impl Store {
    /// Every job that has not ended, oldest first. A row that this version
    /// cannot read is reported and left alone: one bad row never stops a start.
    pub async fn open_jobs(&self) -> Result<Vec<Tracked>, StoreError> {
        let client = self.client().await?;
        let rows = client
            .named("tracked_jobs.open")
            .query(
                &format!(
                    "SELECT {COLUMNS} FROM tracked_jobs WHERE phase <> 'closed' ORDER BY claimed_at, job"
                ),
                &[],
            )
            .await
            .map_err(StoreError::at("reading open jobs"))?;
        Ok(readable(&rows))
    }

    /// Those of these jobs that this site has or had, in no order.
    pub async fn tracked_jobs(&self, jobs: &[JobId]) -> Result<Vec<Tracked>, StoreError> {
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.uuid()).collect();
        let client = self.client().await?;
        let rows = client
            .named("tracked_jobs.some")
            .query(
                &format!("SELECT {COLUMNS} FROM tracked_jobs WHERE job = ANY($1)"),
                &[&ids],
            )
            .await
            .map_err(StoreError::at("reading jobs"))?;
        Ok(readable(&rows))
    }

    /// A job that this site has or had, also when it has ended.
    pub async fn tracked_job(&self, job: JobId) -> Result<Option<Tracked>, StoreError> {
        let client = self.client().await?;
        let row = client
            .named("tracked_jobs.one")
            .query_opt(
                &format!("SELECT {COLUMNS} FROM tracked_jobs WHERE job = $1"),
                &[&job.uuid()],
            )
            .await
            .map_err(StoreError::at("reading a job"))?;
        row.as_ref()
            .map(tracked)
            .transpose()
            .map_err(|source| StoreError::Row {
                what: "job",
                source: source.into(),
            })
    }

    /// Under which start of the scheduler's controller these were seen let go, of those that were.
    pub async fn seen_under(
        &self,
        jobs: &[JobId],
    ) -> Result<HashMap<JobId, Timestamp>, StoreError> {
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.uuid()).collect();
        let client = self.client().await?;
        let rows = client
            .named("tracked_jobs.seen_under")
            .query(
                "SELECT job, seen_under FROM tracked_jobs WHERE job = ANY($1) AND seen_under IS NOT NULL",
                &[&ids],
            )
            .await
            .map_err(StoreError::at("reading jobs"))?;
        let read = |row: &Row| -> Result<_, tokio_postgres::Error> {
            let at: time::OffsetDateTime = row.try_get(1)?;
            Ok((JobId::from_uuid(row.try_get(0)?), at.into()))
        };
        rows.iter()
            .map(|row| {
                read(row).map_err(|source| StoreError::Row {
                    what: "job",
                    source: source.into(),
                })
            })
            .collect()
    }

    /// These were seen let go under the controller that runs since `since`.
    pub async fn set_seen_under(&self, jobs: &[JobId], since: Timestamp) -> Result<(), StoreError> {
        let ids: Vec<Uuid> = jobs.iter().map(|job| job.uuid()).collect();
        let client = self.client().await?;
        client
            .named("tracked_jobs.set_seen_under")
            .execute(
                "UPDATE tracked_jobs SET seen_under = $2 WHERE job = ANY($1)",
                &[&ids, &since.get()],
            )
            .await
            .map_err(StoreError::at("noting a restart of the controller"))?;
        Ok(())
    }

    /// Forgets jobs that ended longer ago than `age`, and their attempts.
    pub async fn prune(&self, age: Duration) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let before = time::OffsetDateTime::now_utc() - age;
        let mut pruned = 0;
        for (name, sql) in [
            (
                "tracked_jobs.prune",
                "DELETE FROM tracked_jobs WHERE job IN (
                     SELECT job FROM tracked_jobs WHERE phase = 'closed' AND changed_at < $1 LIMIT $2)",
            ),
            (
                "attempts.prune",
                "DELETE FROM attempts WHERE (job, attempt) IN (
                     SELECT job, attempt FROM attempts AS a WHERE intended_at < $1
                     AND NOT EXISTS (SELECT FROM tracked_jobs AS t WHERE t.job = a.job) LIMIT $2)",
            ),
        ] {
            loop {
                let deleted = client
                    .named(name)
                    .execute(sql, &[&before, &PRUNE_BATCH])
                    .await
                    .map_err(StoreError::at("pruning"))?;
                pruned += deleted;
                if deleted < PRUNE_BATCH.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(pruned)
    }
}

/// Those rows that this version can read; the others are reported and left alone.
fn readable(rows: &[Row]) -> Vec<Tracked> {
    rows.iter()
        .filter_map(|row| match tracked(row) {
            Ok(job) => Some(job),
            Err(error) => {
                let job: Option<Uuid> = row.try_get(0).ok();
                tracing::error!(
                    ?job,
                    error,
                    "a tracked job cannot be read; it is left alone"
                );
                None
            }
        })
        .collect()
}

pub(super) fn tracked(row: &Row) -> Result<Tracked, String> {
    fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
        row: &'a Row,
        name: &str,
    ) -> Result<T, String> {
        row.try_get(name)
            .map_err(|error| format!("{name}: {error}"))
    }
    let text = |name: &str| get::<&str>(row, name);
    let json = |name: &str| get::<serde_json::Value>(row, name);
    let copy = match get::<Option<&str>>(row, "scheduler_id")? {
        Some(scheduler_id) => Some(Copy {
            scheduler_id: scheduler_id.to_owned(),
            submitted_at: get::<time::OffsetDateTime>(row, "submitted_at")?.into(),
        }),
        None => None,
    };
    Ok(Tracked {
        job: JobId::from_uuid(get(row, "job")?),
        cluster: text("cluster")?
            .parse()
            .map_err(|e| format!("cluster: {e}"))?,
        owner: Owner {
            user: UserId::from_uuid(get(row, "owner")?),
            identity: text("identity")?.to_owned(),
        },
        spec: Arc::new(Asked::read(json("spec")?).map_err(|e| format!("spec: {e}"))?),
        phase: text("phase")?.parse()?,
        attempt: u32::try_from(get::<i32>(row, "attempt")?).unwrap_or(0),
        copy,
        cancel_wanted: get(row, "cancel_wanted")?,
        told: serde_json::from_value(json("told")?).map_err(|e| format!("told: {e}"))?,
    })
}
