//! The one writer of jobs and reports.
//!
//! All writes go through one task, for two reasons. Reports are numbered
//! without gaps in the order in which they commit, which concurrent
//! transactions could only do by waiting for each other. And what many
//! submissions write at the same moment shares one transaction, and so one
//! flush to disk.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use forebay_postgres::{Pool, Transaction};
use forebay_wire::{JobId, Timestamp, link::Report};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{StoreError, lock};
use crate::job::Tracked;

/// Changes that share a transaction at most.
const BATCH_MAX: usize = 1_000;
/// Under load a batch waits so long for others to join it: a transaction costs more than what one job
/// writes in it.
const GATHER: Duration = Duration::from_millis(5);
/// Two batches within so long are load; a lone change is written at once.
const BUSY: Duration = Duration::from_millis(20);

/// What is to be written of one job: its row, an attempt, and reports.
#[derive(Clone, Debug)]
pub struct Change {
    job: Option<Row>,
    attempt: Option<Attempt>,
    /// A job whose owner wants it cancelled.
    cancel: Option<Uuid>,
    /// A job whose log's end is not wanted any more.
    tail: Option<Uuid>,
    reports: Vec<Report>,
}

#[derive(Clone, Debug)]
struct Attempt {
    job: Uuid,
    number: i32,
    script_sha256: Vec<u8>,
    at: time::OffsetDateTime,
}

/// A job's row. The large, constant part is written once.
#[derive(Clone, Debug)]
struct Row {
    tracked: Tracked,
    is_new: bool,
    /// Its log ended with it, and the end is to be fetched.
    wants_tail: bool,
}

impl Change {
    /// The job as it is now, and what to report of it.
    pub fn save(job: &Tracked, reports: Vec<Report>) -> Self {
        Self {
            job: Some(Row {
                tracked: job.clone(),
                is_new: false,
                wants_tail: false,
            }),
            ..Self::report(reports)
        }
    }

    /// The same of a job that has ended, the end of whose log is to be fetched.
    pub fn end(job: &Tracked, reports: Vec<Report>) -> Self {
        let mut change = Self::save(job, reports);
        if let Some(row) = &mut change.job {
            row.wants_tail = true;
        }
        change
    }

    /// The end of this job's log, as far as there is one; it is wanted no more.
    pub fn tail(job: JobId, reports: Vec<Report>) -> Self {
        Self {
            tail: Some(job.uuid()),
            ..Self::report(reports)
        }
    }

    /// A job that was not tracked before. Keeps the old row if there is one.
    pub fn track(job: &Tracked) -> Self {
        Self {
            job: Some(Row {
                tracked: job.clone(),
                is_new: true,
                wants_tail: false,
            }),
            ..Self::report(Vec::new())
        }
    }

    /// The job is about to be sent to its scheduler.
    pub fn intend(job: &Tracked, script_sha256: [u8; 32]) -> Self {
        Self {
            attempt: Some(Attempt {
                job: job.job.uuid(),
                number: i32::try_from(job.attempt).unwrap_or(i32::MAX),
                script_sha256: script_sha256.to_vec(),
                at: Timestamp::now().get(),
            }),
            ..Self::save(job, Vec::new())
        }
    }

    /// Only reports.
    pub fn report(reports: Vec<Report>) -> Self {
        Self {
            job: None,
            attempt: None,
            cancel: None,
            tail: None,
            reports,
        }
    }

    /// Its owner wants this job cancelled: for good, whatever is saved of it later.
    /// Nothing of a job that is not tracked, or has ended.
    pub fn cancel_wanted(job: JobId) -> Self {
        Self {
            cancel: Some(job.uuid()),
            ..Self::report(Vec::new())
        }
    }
}

/// Changes of one caller, and where it waits.
#[derive(Debug)]
pub(super) struct Entry {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Entry {
    pub(super) fn new(changes: Vec<Change>) -> (Self, oneshot::Receiver<Result<(), StoreError>>) {
        let (done, waiting) = oneshot::channel();
        (Self { changes, done }, waiting)
    }
}

/// The writing side; run it under supervision.
#[derive(Clone, Debug)]
pub struct Journal {
    pool: Pool,
    holder: Uuid,
    // Behind a lock so that a restarted task goes on with the same queue.
    entries: Arc<tokio::sync::Mutex<mpsc::Receiver<Entry>>>,
    written: Arc<watch::Sender<i64>>,
    writers: TaskTracker,
}

impl Journal {
    pub(super) fn new(
        pool: Pool,
        holder: Uuid,
        entries: mpsc::Receiver<Entry>,
        written: Arc<watch::Sender<i64>>,
        writers: TaskTracker,
    ) -> Self {
        Self {
            pool,
            holder,
            entries: Arc::new(tokio::sync::Mutex::new(entries)),
            written,
            writers,
        }
    }

    /// Writes until `stop`, then what is still queued, and what those write
    /// who had begun something before.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StoreError> {
        let mut entries = self.entries.lock().await;
        let mut batch = Vec::new();
        let mut written: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                received = entries.recv_many(&mut batch, BATCH_MAX) => {
                    if received == 0 {
                        return Ok(());
                    }
                }
                () = self.is_over(&stop) => return Ok(()),
            }
            if written.is_some_and(|at| at.elapsed() < BUSY) {
                tokio::time::sleep(GATHER).await;
                while batch.len() < BATCH_MAX
                    && let Ok(entry) = entries.try_recv()
                {
                    batch.push(entry);
                }
            }
            self.commit(std::mem::take(&mut batch)).await;
            written = Some(Instant::now());
        }
    }

    async fn is_over(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        self.writers.close();
        self.writers.wait().await;
    }

    /// Commits a batch; each caller learns what became of its own changes.
    async fn commit(&self, batch: Vec<Entry>) {
        let all = batch.iter().flat_map(|entry| &entry.changes);
        match self.transact(all).await {
            Ok(()) => {
                for entry in batch {
                    let _ = entry.done.send(Ok(()));
                }
            }
            // A statement that the server refuses must fail its own caller alone.
            Err(error) if batch.len() > 1 && !error.is_unavailable() => {
                tracing::warn!(
                    error = forebay_service::logs::chain(&error),
                    "writing one by one"
                );
                for entry in batch {
                    let result = self.transact(entry.changes.iter()).await;
                    let _ = entry.done.send(result);
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                for entry in batch {
                    let _ = entry.done.send(Err(StoreError::Batch(Arc::clone(&error))));
                }
            }
        }
    }

    async fn transact(
        &self,
        changes: impl Iterator<Item = &Change> + Clone,
    ) -> Result<(), StoreError> {
        let mut client = self
            .pool
            .get()
            .await
            .map_err(StoreError::at("connecting"))?;
        let transaction = client
            .transaction()
            .await
            .map_err(StoreError::at("beginning"))?;
        lock::check(&transaction, self.holder).await?;
        insert(&transaction, changes.clone()).await?;
        update(&transaction, changes.clone()).await?;
        cancels(&transaction, changes.clone()).await?;
        tails(&transaction, changes.clone()).await?;
        attempts(&transaction, changes.clone()).await?;
        let newest = reports(&transaction, changes).await?;
        transaction
            .commit()
            .await
            .map_err(StoreError::at("committing"))?;
        if let Some(seq) = newest {
            self.written.send_replace(seq);
        }
        Ok(())
    }
}

fn rows<'a>(
    changes: impl Iterator<Item = &'a Change>,
    new: bool,
) -> impl Iterator<Item = &'a Tracked> {
    changes
        .filter_map(|change| change.job.as_ref())
        .filter(move |row| row.is_new == new)
        .map(|row| &row.tracked)
}

async fn insert(
    transaction: &Transaction<'_>,
    changes: impl Iterator<Item = &Change>,
) -> Result<(), StoreError> {
    let jobs: Vec<&Tracked> = rows(changes, true).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.job.uuid()).collect();
    let clusters: Vec<&str> = jobs.iter().map(|job| job.cluster.as_str()).collect();
    let owners: Vec<Uuid> = jobs.iter().map(|job| job.owner.user.uuid()).collect();
    let identities: Vec<&str> = jobs.iter().map(|job| job.owner.identity.as_str()).collect();
    let specs = jobs
        .iter()
        .map(|job| json("spec", &*job.spec))
        .collect::<Result<Vec<_>, _>>()?;
    let phases: Vec<&str> = jobs.iter().map(|job| job.phase.as_str()).collect();
    let cancels: Vec<bool> = jobs.iter().map(|job| job.cancel_wanted).collect();
    transaction
        .named("tracked_jobs.insert")
        .execute(
            "INSERT INTO tracked_jobs (job, cluster, owner, identity, spec, phase, cancel_wanted)
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::jsonb[],
                                  $6::text[], $7::bool[])
             ON CONFLICT (job) DO NOTHING",
            &[
                &ids,
                &clusters,
                &owners,
                &identities,
                &specs,
                &phases,
                &cancels,
            ],
        )
        .await
        .map_err(StoreError::at("tracking jobs"))?;
    Ok(())
}

async fn update(
    transaction: &Transaction<'_>,
    changes: impl Iterator<Item = &Change>,
) -> Result<(), StoreError> {
    // Of several changes to one job in a batch the last holds.
    let newest: HashMap<Uuid, &Tracked> = rows(changes, false)
        .map(|job| (job.job.uuid(), job))
        .collect();
    if newest.is_empty() {
        return Ok(());
    }
    let jobs: Vec<&Tracked> = newest.into_values().collect();
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.job.uuid()).collect();
    let phases: Vec<&str> = jobs.iter().map(|job| job.phase.as_str()).collect();
    let attempts: Vec<i32> = jobs
        .iter()
        .map(|job| i32::try_from(job.attempt).unwrap_or(i32::MAX))
        .collect();
    let scheduler_ids: Vec<Option<&str>> = jobs
        .iter()
        .map(|job| job.copy.as_ref().map(|copy| copy.scheduler_id.as_str()))
        .collect();
    let submitted: Vec<Option<time::OffsetDateTime>> = jobs
        .iter()
        .map(|job| job.copy.as_ref().map(|copy| copy.submitted_at.get()))
        .collect();
    let cancels: Vec<bool> = jobs.iter().map(|job| job.cancel_wanted).collect();
    let told = jobs
        .iter()
        .map(|job| json("told", &job.told))
        .collect::<Result<Vec<_>, _>>()?;
    transaction
        .named("tracked_jobs.update")
        .execute(
            "UPDATE tracked_jobs AS t
             SET phase = n.phase, attempt = n.attempt, scheduler_id = n.scheduler_id,
                 submitted_at = n.submitted_at, told = n.told,
                 cancel_wanted = t.cancel_wanted OR n.cancel_wanted,
                 changed_at = now()
             FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::timestamptz[],
                         $6::bool[], $7::jsonb[])
                  AS n (job, phase, attempt, scheduler_id, submitted_at, cancel_wanted, told)
             WHERE t.job = n.job",
            &[
                &ids,
                &phases,
                &attempts,
                &scheduler_ids,
                &submitted,
                &cancels,
                &told,
            ],
        )
        .await
        .map_err(StoreError::at("saving jobs"))?;
    Ok(())
}

/// Marks the jobs that ended with a log, and takes the mark from those whose log's end is kept.
async fn tails(
    transaction: &Transaction<'_>,
    changes: impl Iterator<Item = &Change> + Clone,
) -> Result<(), StoreError> {
    let wanted: Vec<Uuid> = changes
        .clone()
        .filter_map(|change| change.job.as_ref())
        .filter(|row| row.wants_tail)
        .map(|row| row.tracked.job.uuid())
        .collect();
    let kept: Vec<Uuid> = changes.filter_map(|change| change.tail).collect();
    if wanted.is_empty() && kept.is_empty() {
        return Ok(());
    }
    transaction
        .named("tracked_jobs.tails")
        .execute(
            "UPDATE tracked_jobs SET tail_due = CASE WHEN job = ANY($1) THEN now() END
             WHERE job = ANY($1::uuid[] || $2::uuid[])",
            &[&wanted, &kept],
        )
        .await
        .map_err(StoreError::at("marking logs' ends"))?;
    Ok(())
}

async fn cancels(
    transaction: &Transaction<'_>,
    changes: impl Iterator<Item = &Change>,
) -> Result<(), StoreError> {
    let jobs: Vec<Uuid> = changes.filter_map(|change| change.cancel).collect();
    if jobs.is_empty() {
        return Ok(());
    }
    transaction
        .named("tracked_jobs.cancel")
        .execute(
            "UPDATE tracked_jobs SET cancel_wanted = true
             WHERE job = ANY($1) AND NOT cancel_wanted AND phase <> 'closed'",
            &[&jobs],
        )
        .await
        .map_err(StoreError::at("keeping wishes to cancel"))?;
    Ok(())
}

async fn attempts(
    transaction: &Transaction<'_>,
    changes: impl Iterator<Item = &Change>,
) -> Result<(), StoreError> {
    let attempts: Vec<&Attempt> = changes
        .filter_map(|change| change.attempt.as_ref())
        .collect();
    if attempts.is_empty() {
        return Ok(());
    }
    let jobs: Vec<Uuid> = attempts.iter().map(|a| a.job).collect();
    let numbers: Vec<i32> = attempts.iter().map(|a| a.number).collect();
    let hashes: Vec<&[u8]> = attempts
        .iter()
        .map(|a| a.script_sha256.as_slice())
        .collect();
    let moments: Vec<time::OffsetDateTime> = attempts.iter().map(|a| a.at).collect();
    transaction
        .named("attempts.insert")
        .execute(
            "INSERT INTO attempts (job, attempt, script_sha256, intended_at)
             SELECT * FROM unnest($1::uuid[], $2::int[], $3::bytea[], $4::timestamptz[])
             ON CONFLICT (job, attempt) DO NOTHING",
            &[&jobs, &numbers, &hashes, &moments],
        )
        .await
        .map_err(StoreError::at("recording attempts"))?;
    Ok(())
}

/// Numbers and writes the reports; gives the newest number.
async fn reports(
    transaction: &Transaction<'_>,
    changes: impl Iterator<Item = &Change>,
) -> Result<Option<i64>, StoreError> {
    let items = changes
        .flat_map(|change| &change.reports)
        .map(|report| json("report", report))
        .collect::<Result<Vec<Value>, _>>()?;
    if items.is_empty() {
        return Ok(None);
    }
    let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let row = transaction
        .named("outbound.append")
        .query_one(
            "WITH numbered AS (
                 UPDATE site SET outbound_seq = outbound_seq + $2
                 RETURNING outbound_seq - $2 AS base
             ), written AS (
                 INSERT INTO outbound (seq, item)
                 SELECT base + n, item
                 FROM numbered, unnest($1::jsonb[]) WITH ORDINALITY AS u (item, n)
             )
             SELECT base + $2 FROM numbered",
            &[&items, &count],
        )
        .await
        .map_err(StoreError::at("writing reports"))?;
    row.try_get(0).map(Some).map_err(|source| StoreError::Row {
        what: "report number",
        source: source.into(),
    })
}

fn json(what: &'static str, value: &impl serde::Serialize) -> Result<Value, StoreError> {
    serde_json::to_value(value).map_err(|source| StoreError::Row {
        what,
        source: source.into(),
    })
}
