//! Pages of a caller's jobs.

use forebay_wire::{
    ClusterName, JobId, JobState,
    api::{Job, Page},
};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{
    cursor::{Cursor, Key},
    row::{JOB_COLUMNS, JOB_TABLES, JobRow},
};
use crate::{
    Store,
    error::Error,
    sql::{get, moment},
    users::Caller,
};

/// The most bytes of specs on one page; scripts may be large. A page holds at
/// least one job.
const PAGE_BYTES: i64 = 8 << 20;

/// Which of the caller's jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// In one of these states; empty for all.
    pub states: Vec<JobState>,
    /// On this cluster.
    pub cluster: Option<ClusterName>,
    /// With this in their name, in any case of letters. Without NUL.
    pub name: Option<String>,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobSort {
    /// `created_at`: the oldest first.
    Oldest,
    /// `-created_at`: the newest first.
    #[default]
    Newest,
    /// `name`.
    Name,
    /// `-name`.
    NameDown,
}

impl JobSort {
    /// The word in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "created_at",
            Self::Newest => "-created_at",
            Self::Name => "name",
            Self::NameDown => "-name",
        }
    }

    /// From the word in queries.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Oldest, Self::Newest, Self::Name, Self::NameDown];
        all.into_iter().find(|sort| sort.as_str() == text)
    }

    pub(super) const fn by_time(self) -> bool {
        matches!(self, Self::Oldest | Self::Newest)
    }

    /// The statement: one text each, so that its plan uses the index of its sort, or that of the
    /// jobs which have not ended where no other is wanted.
    fn sql(self, after: bool, open: bool) -> String {
        let (key, cast) = if self.by_time() {
            ("created_at", "timestamptz")
        } else {
            ("name", "text")
        };
        let (compare, order) = match self {
            Self::Oldest | Self::Name => (">", "ASC"),
            Self::Newest | Self::NameDown => ("<", "DESC"),
        };
        let after = if after {
            format!("AND (c.{key}, c.id) {compare} ($7::{cast}, $8)")
        } else {
            String::new()
        };
        let open = if open { "AND c.ended_at IS NULL" } else { "" };
        format!(
            "WITH page AS MATERIALIZED (
                 SELECT c.id, c.{key} AS sorted, c.spec_bytes FROM jobs c
                 WHERE c.owner = $1 AND ($2::text[] IS NULL OR c.state = ANY($2))
                   AND ($3::text IS NULL OR c.cluster = $3)
                   AND ($4::text IS NULL OR strpos(lower(c.name), lower($4)) > 0) {open} {after}
                 ORDER BY c.{key} {order}, c.id {order} LIMIT $5::int8 + 1),
             placed AS (
                 SELECT id, row_number() OVER near AS place, sum(spec_bytes) OVER near AS bytes
                 FROM page WINDOW near AS (ORDER BY sorted {order}, id {order}))
             SELECT p.place, (SELECT count(*) FROM page) AS found, j.name, {JOB_COLUMNS}
             FROM placed p JOIN ({JOB_TABLES}) ON j.id = p.id
             WHERE p.place <= $5 AND (p.place = 1 OR p.bytes <= $6) ORDER BY p.place"
        )
    }
}

impl Store {
    /// One page of the caller's jobs, at most `limit`. Rows that come or go in
    /// the meantime neither repeat nor hide others.
    pub async fn jobs(
        &self,
        caller: &Caller,
        filter: &JobFilter,
        sort: JobSort,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job>, Error> {
        let after = cursor
            .map(|text| Cursor::decode(text, filter, sort))
            .transpose()?;
        let owner = caller.user.uuid();
        let open = !filter.states.is_empty() && !filter.states.iter().any(|state| state.is_end());
        let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
        let states = (!states.is_empty()).then_some(states);
        let cluster = filter.cluster.as_ref().map(ClusterName::as_str);
        let limit = i64::from(limit);
        let mut params: Vec<&(dyn ToSql + Sync)> =
            vec![&owner, &states, &cluster, &filter.name, &limit, &PAGE_BYTES];
        let at;
        if let Some(after) = &after {
            match &after.key {
                Key::At(moment) => {
                    at = moment.get();
                    params.push(&at);
                }
                Key::Name(name) => params.push(name),
            }
            params.push(&after.id);
        }
        let client = self.client().await?;
        let rows = client
            .named("jobs.list")
            .query(&sort.sql(after.is_some(), open), &params)
            .await?;
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            match JobRow::read(row).and_then(JobRow::job) {
                Ok(job) => items.push(job),
                // One broken row does not hide the others.
                Err(error) => tracing::error!(%error, "a job cannot be listed"),
            }
        }
        let found = rows.first().map_or(Ok(0), |row| get::<i64>(row, "found"))?;
        let next = match rows.last() {
            Some(last) if found > i64::try_from(rows.len()).unwrap_or(i64::MAX) => {
                let key = if sort.by_time() {
                    Key::At(moment(last, "created_at")?)
                } else {
                    Key::Name(get(last, "name")?)
                };
                let id = JobId::from_uuid(get::<Uuid>(last, "id")?);
                Some(Cursor::encode(filter, sort, key, id.uuid())?)
            }
            _ => None,
        };
        Ok(Page { items, next })
    }
}
