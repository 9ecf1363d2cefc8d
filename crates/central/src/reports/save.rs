//! What a batch changed, written.

use forebay_postgres::{Transaction, feed};
use forebay_wire::{JobId, api::JobTask};
use serde_json::Value;

use super::batch::{Batch, Tracked};
use crate::{
    error::Error,
    jobs::{Change, Guard, raw, task_column, write},
    sql::{get, plain_json, time_of},
};

pub(super) async fn save(tx: &Transaction<'_>, site: &str, batch: &Batch) -> Result<(), Error> {
    let is_new = |job: &Tracked| job.now != job.before;
    let changes: Vec<Change> = batch
        .jobs
        .iter()
        .filter(|(_, job)| is_new(job))
        .map(|(id, job)| Change {
            id: *id,
            owner: job.owner,
            before: job.before.state,
            before_rev: job.before.rev,
            after: job.now.clone(),
            events: job.events.clone(),
            seq: Some(job.seq),
        })
        .collect();
    write(tx, &changes, Guard::Seq).await?;
    tasks(tx, batch).await?;
    tails(tx, batch).await?;
    clusters(tx, site, batch).await
}

async fn tasks(tx: &Transaction<'_>, batch: &Batch) -> Result<(), Error> {
    let all: Vec<(JobId, &JobTask)> = batch
        .jobs
        .iter()
        .flat_map(|(id, job)| {
            let changed = job
                .tasks_changed
                .iter()
                .filter_map(|index| job.tasks.get(index));
            changed.map(|task| (*id, task))
        })
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($item:ident => $value:expr) => {
            all.iter().map(|(_, $item)| $value).collect::<Vec<_>>()
        };
    }
    let jobs: Vec<_> = all.iter().map(|(job, _)| job.uuid()).collect();
    tx.named("job_tasks.upsert")
        .execute(
            "INSERT INTO job_tasks (job, index, state, scheduler_id, started_at, ended_at, exit_code, exit_signal, nodes)
             SELECT * FROM unnest($1::uuid[], $2::int8[], $3::text[], $4::text[], $5::timestamptz[],
                                  $6::timestamptz[], $7::int4[], $8::int4[], $9::text[])
             ON CONFLICT (job, index) DO UPDATE SET
                 state = excluded.state, scheduler_id = excluded.scheduler_id, started_at = excluded.started_at,
                 ended_at = excluded.ended_at, exit_code = excluded.exit_code, exit_signal = excluded.exit_signal,
                 nodes = excluded.nodes",
            &[
                &jobs,
                &column!(task => i64::from(task.index)),
                &column!(task => task.state.as_str()),
                &column!(task => task.scheduler_id.as_deref()),
                &column!(task => time_of(task.started_at)),
                &column!(task => time_of(task.ended_at)),
                &column!(task => task.exit.map(|exit| exit.code)),
                &column!(task => task.exit.and_then(|exit| exit.signal)),
                &column!(task => task.nodes.as_deref()),
            ],
        )
        .await?;
    Ok(())
}

async fn tails(tx: &Transaction<'_>, batch: &Batch) -> Result<(), Error> {
    if batch.tails.is_empty() {
        return Ok(());
    }
    let keys = || batch.tails.keys();
    let jobs: Vec<_> = keys().map(|(job, _, _)| job.uuid()).collect();
    let streams: Vec<_> = keys().map(|(_, stream, _)| *stream).collect();
    let tasks: Vec<_> = keys().map(|(_, _, task)| task_column(*task)).collect();
    let offsets: Vec<_> = batch
        .tails
        .values()
        .map(|tail| i64::try_from(tail.offset).unwrap_or(i64::MAX))
        .collect();
    let bodies: Vec<_> = batch
        .tails
        .values()
        .map(|tail| tail.text.as_bytes())
        .collect();
    tx.named("job_logs.upsert")
        .execute(
            "INSERT INTO job_logs (job, stream, task, file_offset, body)
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[], $5::bytea[])
             ON CONFLICT (job, stream, task) DO UPDATE SET
                 file_offset = excluded.file_offset, body = excluded.body, at = now()",
            &[&jobs, &streams, &tasks, &offsets, &bodies],
        )
        .await?;
    Ok(())
}

async fn clusters(tx: &Transaction<'_>, site: &str, batch: &Batch) -> Result<(), Error> {
    if batch.clusters.is_empty() {
        return Ok(());
    }
    let mut names = Vec::new();
    let mut statuses: Vec<Value> = Vec::new();
    for (name, status) in &batch.clusters {
        let mut status = serde_json::to_value(status).map_err(|error| Error::Row {
            table: "clusters",
            reason: error.to_string(),
        })?;
        plain_json(&mut status);
        names.push(name.as_str());
        statuses.push(status);
    }
    // The clusters of other sites are not touched, whatever the site says.
    let rows = tx
        .named("clusters.report")
        .query(
            "UPDATE clusters c SET status = n.status, rev = c.rev + 1
             FROM unnest($1::text[], $2::jsonb[]) AS n (name, status)
             WHERE c.name = n.name AND c.site = $3 AND c.status <> n.status RETURNING c.name, c.rev",
            &[&names, &statuses, &site],
        )
        .await?;
    let told: Vec<feed::Row> = rows
        .iter()
        .map(|row| {
            let name: String = get(row, "name")?;
            Ok(feed::Row {
                topic: format!("cluster:{name}"),
                kind: "cluster".into(),
                key: name,
                rev: get(row, "rev")?,
                body: raw(&serde_json::json!({}))?,
            })
        })
        .collect::<Result<_, Error>>()?;
    feed::append(tx, &told).await?;
    Ok(())
}
