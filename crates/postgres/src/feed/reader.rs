//! Reading rows after a cursor, and snapshots to begin at.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use time::OffsetDateTime;
use tokio_postgres::IsolationLevel;

use super::{Cursor, INSTANCE};
use crate::client::Transaction;
use crate::error::Error;
use crate::pool::Pool;

/// Rows per page at most.
pub const PAGE_ROWS_MAX: usize = 1000;

/// Which rows to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// Every row.
    All,
    /// The rows of these topics. Reading costs one index look-up per topic.
    Only(BTreeSet<String>),
}

impl<T: Into<String>> FromIterator<T> for Topics {
    fn from_iter<I: IntoIterator<Item = T>>(topics: I) -> Topics {
        Topics::Only(topics.into_iter().map(Into::into).collect())
    }
}

/// A row as it was read.
#[derive(Clone, Debug)]
pub struct Delta {
    /// Its own position: a reader that stopped right after this row resumes here.
    pub cursor: Cursor,
    /// Who hears of it.
    pub topic: String,
    /// What the body is.
    pub kind: String,
    /// Which object it tells of.
    pub key: String,
    /// The object's revision.
    pub rev: i64,
    /// JSON, not parsed.
    pub body: Box<RawValue>,
    /// When it was written (its transaction committed later), UTC.
    pub at: OffsetDateTime,
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct Page {
    /// In order of position; at most the limit that was asked for.
    pub rows: Vec<Delta>,
    /// Where the next page begins. It also moves past rows of other topics, so that a quiet topic's cursor stays good.
    pub next: Cursor,
    /// The page is full: read again at once.
    pub more: bool,
    /// Rows have been committed that cannot be read yet, because an older transaction is still running: read again in
    /// some milliseconds, no doorbell may ring for them.
    pub held_back: bool,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Rows after the cursor are gone. Take a [snapshot](Reader::snapshot).
    #[error("rows after the cursor have been deleted")]
    Expired,
    /// The cursor belongs to another life of the feed. Take a [snapshot](Reader::snapshot).
    #[error("the cursor belongs to another epoch of the feed")]
    OtherEpoch,
    /// The database failed; the cursor is as good as it was.
    #[error("the feed could not be read")]
    Database(#[source] Error),
}

impl ReadError {
    /// The cursor is of no further use: begin again at a snapshot.
    pub fn needs_snapshot(&self) -> bool {
        matches!(self, ReadError::Expired | ReadError::OtherEpoch)
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> ReadError {
        ReadError::Database(error)
    }
}

/// Reads and tends the feed table of one database. Clones share the pool; it holds no other state.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) pool: Pool,
}

impl Reader {
    /// A reader of the feed in this pool's database, which has [`SCHEMA_SQL`](super::SCHEMA_SQL).
    pub fn new(pool: Pool) -> Reader {
        Reader { pool }
    }

    /// Reads at most `limit` rows (1 to [`PAGE_ROWS_MAX`]) after `cursor`.
    pub async fn read_after(
        &self,
        cursor: &Cursor,
        topics: &Topics,
        limit: usize,
    ) -> Result<Page, ReadError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let rows_max = i64::try_from(limit).expect("at most a page");
        let (xid, mut client) = (cursor.xid.to_string(), self.pool.get().await?);
        let result = match topics {
            Topics::All => {
                client
                    .named("feed.read")
                    .query(&read_sql(ALL), &[&xid, &cursor.id, &rows_max])
                    .await?
            }
            Topics::Only(topics) => {
                let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
                client
                    .named("feed.read_topics")
                    .query(&read_sql(TOPICS), &[&xid, &cursor.id, &rows_max, &topics])
                    .await?
            }
        };
        let head = result
            .first()
            .map(Head::of)
            .transpose()?
            .ok_or(ReadError::OtherEpoch)?;
        if !head.same_instance {
            renew(&mut client).await?;
            return Err(ReadError::OtherEpoch);
        }
        if head.cursor.epoch != cursor.epoch {
            return Err(ReadError::OtherEpoch);
        }
        if *cursor < head.pruned {
            return Err(ReadError::Expired);
        }
        let rows = result
            .iter()
            .map(|row| delta(row, cursor.epoch))
            .collect::<Result<Vec<_>, _>>()?;
        let rows: Vec<Delta> = rows.into_iter().flatten().collect();
        let more = rows.len() == limit;
        let next = match rows.last() {
            Some(last) if more => last.cursor,
            _ => head.cursor.max(*cursor),
        };
        Ok(Page {
            rows,
            next,
            more,
            held_back: head.held_back,
        })
    }

    /// Runs `read` in one read-only transaction that sees a single moment, and returns what it returned with the
    /// cursor of that moment: reading on from there gives every later change, and perhaps some that `read` has seen
    /// already.
    pub async fn snapshot<T, E>(
        &self,
        read: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Cursor), E>
    where
        E: From<Error>,
    {
        let mut client = self.pool.get().await?;
        let mut renewed = false;
        loop {
            let tx = client.begin(IsolationLevel::RepeatableRead, true).await?;
            let row = tx
                .named("feed.snapshot")
                .query_one(&head_sql(), &[])
                .await?;
            let head = Head::of(&row)?;
            if head.same_instance || renewed {
                let value = read(&tx).await?;
                tx.rollback().await?; // It changed nothing; this only ends it.
                return Ok((value, head.cursor));
            }
            tx.rollback().await?;
            renew(&mut client).await?;
            renewed = true;
        }
    }

    /// The cursor of this moment, for a reader that wants only what comes.
    pub async fn now(&self) -> Result<Cursor, Error> {
        self.snapshot(async |_| Ok::<(), Error>(()))
            .await
            .map(|((), cursor)| cursor)
    }

    /// The age in milliseconds of the oldest committed row that no reader can have yet, because an older transaction
    /// is still running; 0 when there is none. For the metric `feed_lag_ms`.
    pub async fn lag_ms(&self) -> Result<u64, Error> {
        let client = self.pool.get().await?;
        let row = client
            .named("feed.lag")
            .query_one(
                "SELECT greatest(0, coalesce(extract(epoch FROM clock_timestamp() - min(at)) * 1000, 0))::int8
                 FROM (SELECT at FROM feed WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())
                       ORDER BY xid, id LIMIT 1000) AS held_back",
                &[],
            )
            .await?;
        row.try_get::<_, i64>(0)
            .map(i64::unsigned_abs)
            .map_err(Error::in_query("feed.lag"))
    }
}

/// The state of the whole feed in the reading statement's own snapshot: `epoch`, whether the instance is the same,
/// the last position pruned, the last position that can be read, and whether rows are held back.
const HEAD: &str = "
    SELECT m.epoch, m.instance = @INSTANCE@ AS same_instance,
           m.pruned_xid::text AS pruned_xid, m.pruned_id,
           coalesce(h.xid, m.pruned_xid)::text AS head_xid, coalesce(h.id, m.pruned_id) AS head_id,
           coalesce(l.xid >= pg_snapshot_xmin(pg_current_snapshot()), false) AS held_back
           @COLUMNS@
    FROM feed_meta m
    LEFT JOIN LATERAL (SELECT xid, id FROM feed WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
                       ORDER BY xid DESC, id DESC LIMIT 1) h ON true
    LEFT JOIN LATERAL (SELECT xid FROM feed ORDER BY xid DESC, id DESC LIMIT 1) l ON true
    @ROWS@";

const ALL: &str = "
    SELECT * FROM feed
    WHERE (xid, id) > ($1::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, id LIMIT $3";

/// One index range per topic, merged: `topic = ANY(…)` would read and sort everything after the cursor.
const TOPICS: &str = "
    SELECT of_topic.* FROM unnest($4::text[]) AS wanted (topic)
    CROSS JOIN LATERAL (
        SELECT * FROM feed
        WHERE feed.topic = wanted.topic
          AND (xid, id) > ($1::text::xid8, $2) AND xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xid, id LIMIT $3) AS of_topic
    ORDER BY xid, id LIMIT $3";

fn head_sql() -> String {
    HEAD.replace("@INSTANCE@", INSTANCE)
        .replace("@COLUMNS@", "")
        .replace("@ROWS@", "")
}

fn read_sql(rows: &str) -> String {
    let columns =
        ", f.xid::text AS xid, f.id, f.topic, f.kind, f.key, f.rev, f.body::text AS body, f.at";
    HEAD.replace("@INSTANCE@", INSTANCE)
        .replace("@COLUMNS@", columns)
        .replace(
            "@ROWS@",
            &format!("LEFT JOIN LATERAL ({rows}) f ON true ORDER BY f.xid, f.id"),
        )
}

struct Head {
    same_instance: bool,
    pruned: Cursor,
    /// The last position that can be read.
    cursor: Cursor,
    held_back: bool,
}

impl Head {
    fn of(row: &tokio_postgres::Row) -> Result<Head, Error> {
        let bad = Error::in_query("feed.head");
        let epoch = row.try_get::<_, i64>("epoch").map_err(&bad)?.unsigned_abs();
        let cursor = |xid: &str, id: &str| {
            Ok::<_, Error>(Cursor {
                epoch,
                xid: transaction_id(row, xid)?,
                id: row.try_get(id).map_err(&bad)?,
            })
        };
        Ok(Head {
            same_instance: row.try_get("same_instance").map_err(&bad)?,
            pruned: cursor("pruned_xid", "pruned_id")?,
            cursor: cursor("head_xid", "head_id")?,
            held_back: row.try_get("held_back").map_err(&bad)?,
        })
    }
}

/// `xid8` travels as text: the driver has no type for it.
pub(super) fn transaction_id(row: &tokio_postgres::Row, column: &str) -> Result<u64, Error> {
    let text: &str = row.try_get(column).map_err(Error::in_query("feed.head"))?;
    text.parse().map_err(|_| Error::Invalid {
        what: "a transaction id",
        reason: "it is not a number".to_owned(),
    })
}

/// `None` for the row that stands for "no rows".
fn delta(row: &tokio_postgres::Row, epoch: u64) -> Result<Option<Delta>, Error> {
    let bad = Error::in_query("feed.read");
    if row.try_get::<_, Option<i64>>("id").map_err(&bad)?.is_none() {
        return Ok(None);
    }
    let body: String = row.try_get("body").map_err(&bad)?;
    let body = RawValue::from_string(body).map_err(|error| Error::Invalid {
        what: "a feed row's body",
        reason: error.to_string(),
    })?;
    Ok(Some(Delta {
        cursor: Cursor {
            epoch,
            xid: transaction_id(row, "xid")?,
            id: row.try_get("id").map_err(&bad)?,
        },
        topic: row.try_get("topic").map_err(&bad)?,
        kind: row.try_get("kind").map_err(&bad)?,
        key: row.try_get("key").map_err(&bad)?,
        rev: row.try_get("rev").map_err(&bad)?,
        body,
        at: row.try_get("at").map_err(&bad)?,
    }))
}

/// The database lives in another instance than the one that wrote its feed: rows' transaction ids mean nothing here.
/// Begins a new epoch with an empty feed. Idempotent, and safe to run by several at once.
async fn renew(client: &mut crate::Client) -> Result<(), Error> {
    let tx = client.transaction().await?;
    let same: bool = tx
        .named("feed.renew_lock")
        .query_one(
            &format!("SELECT instance = {INSTANCE} FROM feed_meta FOR UPDATE"),
            &[],
        )
        .await?
        .try_get(0)
        .map_err(Error::in_query("feed.renew_lock"))?;
    if !same {
        tracing::warn!(
            "the database has moved to another instance or timeline: the feed begins a new epoch"
        );
        tx.named("feed.renew_empty").batch("TRUNCATE feed").await?;
        tx.named("feed.renew")
            .execute(
                &format!(
                    "UPDATE feed_meta SET instance = {INSTANCE}, pruned_xid = '0', pruned_id = 0,
                     epoch = ('x' || left(replace(gen_random_uuid()::text, '-', ''), 12))::bit(48)::bigint"
                ),
                &[],
            )
            .await?;
    }
    tx.commit().await
}
