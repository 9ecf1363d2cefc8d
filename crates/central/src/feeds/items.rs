//! The objects themselves, as topics show them.

use std::collections::BTreeMap;

use forebay_postgres::Client;
use forebay_wire::{
    ClusterName, JobId, UserId,
    api::JobEvent,
    feed::{Item, JobItem, Object},
};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use crate::{
    announcements, clusters,
    error::Error,
    jobs::{ITEM_COLUMNS, JOB_TABLES, event, life, shown_freshness, status},
    sql::{get, moment, parsed},
};

/// `reason` and `nodes` are cut at so many characters: a snapshot holds many jobs.
const TEXT_CHARS: usize = 1_000;

/// A job and whose it is.
pub(super) struct OwnedJob {
    pub(super) owner: UserId,
    pub(super) job: JobItem,
}

/// From the columns [`ITEM_COLUMNS`].
pub(super) fn job(row: &Row) -> Result<OwnedJob, Error> {
    let mut life = life(row)?;
    life.freshness = shown_freshness(&life, get(row, "away")?);
    life.stdout_path = None;
    life.stderr_path = None;
    life.reason = life.reason.map(short);
    life.nodes = life.nodes.map(short);
    Ok(OwnedJob {
        owner: UserId::from_uuid(get(row, "owner")?),
        job: JobItem {
            id: JobId::from_uuid(get(row, "id")?),
            rev: life.rev,
            created_at: moment(row, "created_at")?,
            owner: get(row, "owner_name")?,
            site: parsed("jobs", row, "site")?,
            cluster: parsed("jobs", row, "cluster")?,
            name: get(row, "name")?,
            status: status(life),
            events: Vec::new(),
        },
    })
}

fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

pub(super) fn job_item(job: JobItem) -> Item {
    Item {
        key: job.id.to_string(),
        rev: job.rev,
        object: Object::Job(Some(Box::new(job))),
    }
}

/// Those of these jobs that there are; none for one that cannot be read, which is logged.
pub(super) async fn jobs(
    client: &Client,
    ids: &[Uuid],
) -> Result<BTreeMap<JobId, Option<OwnedJob>>, Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!("SELECT {ITEM_COLUMNS} FROM {JOB_TABLES} WHERE j.id = ANY($1)");
    let rows = client.named("feeds.jobs").query(&sql, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let id = JobId::from_uuid(get(row, "id")?);
            let job = readable(std::slice::from_ref(row), job).next();
            Ok((id, job))
        })
        .collect()
}

/// Events of jobs: those above the first number, up to the second.
pub(super) async fn events(
    client: &Client,
    ranges: &BTreeMap<JobId, (i64, i64)>,
) -> Result<BTreeMap<JobId, Vec<JobEvent>>, Error> {
    if ranges.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<_> = ranges.keys().map(|id| id.uuid()).collect();
    let from: Vec<_> = ranges.values().map(|range| range.0).collect();
    let to: Vec<_> = ranges.values().map(|range| range.1).collect();
    let rows = client
        .named("feeds.events")
        .query(
            "SELECT e.job, e.seq, e.at, e.run, e.kind, e.value, e.message
             FROM unnest($1::uuid[], $2::int8[], $3::int8[]) AS n (job, after, upto)
             JOIN job_events e ON e.job = n.job AND e.seq > n.after AND e.seq <= n.upto ORDER BY e.job, e.seq",
            &[&ids, &from, &to],
        )
        .await?;
    let mut events: BTreeMap<JobId, Vec<JobEvent>> = BTreeMap::new();
    for row in &rows {
        let job = JobId::from_uuid(get(row, "job")?);
        events.entry(job).or_default().extend(event(row)?);
    }
    Ok(events)
}

/// Those of these clusters that there are.
pub(super) async fn clusters(
    client: &Client,
    names: &[&str],
) -> Result<BTreeMap<ClusterName, Item>, Error> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!("{} AND c.name = ANY($1)", clusters::SELECT);
    let rows = client
        .named("feeds.clusters")
        .query(&sql, &[&names])
        .await?;
    Ok(readable(&rows, clusters::cluster)
        .map(|cluster| {
            let item = Item {
                key: cluster.name.to_string(),
                rev: cluster.rev,
                object: Object::Cluster(Some(Box::new(cluster.clone()))),
            };
            (cluster.name, item)
        })
        .collect())
}

/// Those of these announcements that are in force.
pub(super) async fn announcements(
    client: &Client,
    ids: &[Uuid],
) -> Result<BTreeMap<Uuid, Item>, Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let sql = format!(
        "SELECT {} FROM announcements WHERE {} AND id = ANY($1)",
        announcements::COLUMNS,
        announcements::IN_FORCE
    );
    let params: [&(dyn ToSql + Sync); 1] = [&ids];
    let rows = client
        .named("feeds.announcements")
        .query(&sql, &params)
        .await?;
    Ok(readable(&rows, announcements::announcement)
        .map(|one| (one.id.uuid(), announcements::item(one)))
        .collect())
}

/// One broken row does not hide the others.
pub(super) fn readable<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> Result<T, Error>,
) -> impl Iterator<Item = T> {
    rows.iter().filter_map(move |row| {
        let read = read(row);
        if let Err(error) = &read {
            tracing::error!(%error, "a row cannot be shown");
        }
        read.ok()
    })
}
