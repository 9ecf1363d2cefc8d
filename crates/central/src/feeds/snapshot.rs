//! The state of topics at one moment.

use forebay_postgres::{Transaction, feed::Cursor};
use forebay_wire::{
    JobId, UserId,
    feed::{EVENTS_MAX, Item, JOBS_MAX, Object},
};

use super::{Source, items};
use crate::{
    Store, announcements, clusters,
    error::Error,
    jobs::{ITEM_COLUMNS, JOB_TABLES, event},
};

/// The state of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What there is.
    pub items: Vec<Item>,
    /// There are older ones.
    pub more: bool,
}

impl State {
    fn all(items: Vec<Item>) -> Self {
        Self { items, more: false }
    }
}

impl Store {
    /// The state of all of these at one moment, and the cursor of that moment: reading on from there gives every later
    /// change. None for what does not exist, or is another's.
    pub async fn states(&self, sources: &[Source]) -> Result<(Vec<Option<State>>, Cursor), Error> {
        self.feed
            .snapshot(async |tx| {
                let mut states = Vec::with_capacity(sources.len());
                for source in sources {
                    states.push(match source {
                        Source::Job(id, user) => job(tx, *id, *user).await?,
                        Source::Jobs(user) => Some(jobs(tx, *user).await?),
                        Source::Cluster(name) => cluster(tx, name.as_str()).await?,
                        Source::Announcements => Some(announced(tx).await?),
                    });
                }
                Ok(states)
            })
            .await
    }
}

async fn job(tx: &Transaction<'_>, id: JobId, user: UserId) -> Result<Option<State>, Error> {
    let sql = format!("SELECT {ITEM_COLUMNS} FROM {JOB_TABLES} WHERE j.id = $1 AND j.owner = $2");
    let row = tx
        .named("feeds.job")
        .query_opt(&sql, &[&id.uuid(), &user.uuid()])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let mut job = items::job(&row)?.job;
    let rows = tx
        .named("feeds.job_events")
        .query(
            "SELECT * FROM (SELECT * FROM job_events WHERE job = $1 ORDER BY seq DESC LIMIT $2) newest ORDER BY seq",
            &[&id.uuid(), &i64::from(EVENTS_MAX)],
        )
        .await?;
    for row in &rows {
        job.events.extend(event(row)?);
    }
    Ok(Some(State::all(vec![items::job_item(job)])))
}

async fn jobs(tx: &Transaction<'_>, user: UserId) -> Result<State, Error> {
    let sql = format!(
        "SELECT {ITEM_COLUMNS} FROM {JOB_TABLES} WHERE j.owner = $1 ORDER BY j.created_at DESC, j.id DESC LIMIT $2"
    );
    let limit = i64::from(JOBS_MAX) + 1;
    let rows = tx
        .named("feeds.newest_jobs")
        .query(&sql, &[&user.uuid(), &limit])
        .await?;
    let most = JOBS_MAX as usize;
    let shown = &rows[..rows.len().min(most)];
    Ok(State {
        items: items::readable(shown, items::job)
            .map(|owned| items::job_item(owned.job))
            .collect(),
        more: rows.len() > most,
    })
}

async fn cluster(tx: &Transaction<'_>, name: &str) -> Result<Option<State>, Error> {
    let sql = format!("{} AND c.name = $1", clusters::SELECT);
    let row = tx.named("feeds.cluster").query_opt(&sql, &[&name]).await?;
    let Some(row) = row else { return Ok(None) };
    let cluster = clusters::cluster(&row)?;
    Ok(Some(State::all(vec![Item {
        key: cluster.name.to_string(),
        rev: cluster.rev,
        object: Object::Cluster(Some(Box::new(cluster))),
    }])))
}

async fn announced(tx: &Transaction<'_>) -> Result<State, Error> {
    let sql = announcements::list_sql();
    let rows = tx.named("feeds.announced").query(&sql, &[]).await?;
    let items = items::readable(&rows, announcements::announcement);
    Ok(State::all(items.map(announcements::item).collect()))
}
