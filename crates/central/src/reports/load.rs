//! The jobs that a batch is about, read under their locks.

use std::collections::BTreeSet;

use forebay_postgres::Transaction;
use forebay_wire::{
    JobId, Timestamp, UserId,
    link::{Observation, Report},
};
use uuid::Uuid;

use super::batch::{Batch, Tracked};
use crate::{
    error::Error,
    jobs::{LIFE_COLUMNS, life, task_row},
    sql::get,
};

pub(super) async fn load(
    tx: &Transaction<'_>,
    site: &str,
    items: &[(i64, Report)],
) -> Result<Batch, Error> {
    let mut batch = Batch {
        received_at: Some(Timestamp::now()),
        ..Batch::default()
    };
    let mut wanted = BTreeSet::new();
    let mut arrays = BTreeSet::new();
    for (_, item) in items {
        match item {
            Report::Job { job, saw, .. } => {
                wanted.insert(job.uuid());
                if matches!(saw, Observation::Tasks { .. }) {
                    arrays.insert(job.uuid());
                }
            }
            Report::LogTail { job, .. } => {
                wanted.insert(job.uuid());
            }
            Report::Cluster { .. } => {}
        }
    }
    if wanted.is_empty() {
        return Ok(batch);
    }
    let wanted: Vec<Uuid> = wanted.into_iter().collect();
    // In the order of ids, so that two who lock several never wait for each other.
    let sql = format!(
        "SELECT j.id, j.owner, j.seq, {LIFE_COLUMNS} FROM jobs j
         WHERE j.id = ANY($1) AND j.site = $2 ORDER BY j.id FOR UPDATE"
    );
    for row in tx
        .named("reports.jobs")
        .query(&sql, &[&wanted, &site])
        .await?
    {
        let id = JobId::from_uuid(get(&row, "id")?);
        let owner = UserId::from_uuid(get(&row, "owner")?);
        match life(&row) {
            Ok(life) => {
                batch
                    .jobs
                    .insert(id, Tracked::new(owner, life, get(&row, "seq")?));
            }
            // Left as it is, and its reports skipped, rather than stopping its site.
            Err(error) => tracing::error!(job = %id, %error, "a job cannot be read"),
        }
    }
    if arrays.is_empty() {
        return Ok(batch);
    }
    let arrays: Vec<Uuid> = arrays.into_iter().collect();
    let rows = tx
        .named("reports.tasks")
        .query(
            "SELECT t.* FROM job_tasks t JOIN jobs j ON j.id = t.job WHERE t.job = ANY($1) AND j.site = $2",
            &[&arrays, &site],
        )
        .await?;
    for row in &rows {
        if let Some(job) = batch.jobs.get_mut(&JobId::from_uuid(get(row, "job")?)) {
            let task = task_row(row)?;
            job.tasks.insert(task.index, task);
        }
    }
    Ok(batch)
}
