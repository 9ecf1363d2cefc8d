//! What is old enough goes, a bounded piece at a time.

use std::time::Duration;

use time::OffsetDateTime;

use crate::{Store, error::Error};

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs after their end, with events, tasks and tails.
    pub jobs: Duration,
    /// The audit.
    pub audit: Duration,
    /// The feed: readers that were away for longer begin anew.
    pub feed: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            jobs: Duration::from_secs(180 * DAY),
            audit: Duration::from_secs(400 * DAY),
            feed: Duration::from_secs(DAY),
        }
    }
}

/// Rows per statement.
const BATCH: i64 = 1_000;
/// Statements per table and run; the next run goes on.
const ROUNDS: u32 = 50;
/// The advisory lock's key: one program at a time tends the tables.
const LOCK: i64 = i64::from_be_bytes(*b"forebay\x02");

/// What else grows: name, statement deleting at most `$1` rows. A claim's answer
/// is wanted again within minutes, not days.
const OTHERS: [(&str, &str); 9] = [
    (
        "retention.idempotency_keys",
        "DELETE FROM idempotency_keys WHERE (user_id, key) IN (
             SELECT user_id, key FROM idempotency_keys
             WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT $1)",
    ),
    (
        "retention.claims",
        "DELETE FROM claims WHERE request_id IN (
             SELECT request_id FROM claims WHERE created_at < now() - interval '7 days' ORDER BY created_at LIMIT $1)",
    ),
    (
        "retention.link_sessions",
        "DELETE FROM link_sessions WHERE id IN (
             SELECT id FROM link_sessions WHERE expires_at < now() - interval '1 day' ORDER BY expires_at LIMIT $1)",
    ),
    // A statement that has ended is refused for that.
    (
        "retention.link_statements",
        "DELETE FROM link_statements WHERE (key, jti) IN (
             SELECT key, jti FROM link_statements
             WHERE expires_at < now() - interval '10 minutes' ORDER BY expires_at LIMIT $1)",
    ),
    (
        "retention.enrolment_tokens",
        "DELETE FROM enrolment_tokens WHERE id IN (
             SELECT id FROM enrolment_tokens
             WHERE expires_at < now() - interval '30 days' ORDER BY expires_at LIMIT $1)",
    ),
    (
        "retention.replica_tokens",
        "DELETE FROM replica_tokens WHERE id IN (
             SELECT id FROM replica_tokens
             WHERE expires_at < now() - interval '10 minutes' ORDER BY expires_at LIMIT $1)",
    ),
    (
        "retention.replicas",
        "DELETE FROM replicas WHERE id IN (
             SELECT id FROM replicas WHERE seen_at < now() - interval '1 day' ORDER BY seen_at LIMIT $1)",
    ),
    // Those that nobody came back to are younger than that for a few days more at most.
    (
        "retention.page_sessions",
        "DELETE FROM page_sessions WHERE id IN (
             SELECT id FROM page_sessions WHERE expires_at < now() - interval '1 day' ORDER BY expires_at LIMIT $1)",
    ),
    (
        "retention.announcements",
        "DELETE FROM announcements WHERE id IN (
             SELECT id FROM announcements
             WHERE created_at < now() - interval '30 days' AND coalesce(withdrawn_at, until) < now() - interval '30 days'
             ORDER BY created_at LIMIT $1)",
    ),
];

/// The same with a time `$2` before which rows are old.
const AGED_JOBS: &str = "DELETE FROM jobs WHERE id IN (
    SELECT id FROM jobs WHERE ended_at < $2 ORDER BY ended_at LIMIT $1)";
const AGED_AUDIT: &str = "DELETE FROM audit WHERE id IN (
    SELECT id FROM audit WHERE at < $2 ORDER BY at LIMIT $1)";

impl Store {
    /// Deletes what is older than `keep` says, and returns how many rows went.
    /// While another program does so, this one does nothing.
    pub async fn tend(&self, keep: &Retention) -> Result<u64, Error> {
        let mut client = self.client().await?;
        let mut total = 0;
        let now = OffsetDateTime::now_utc();
        let before = |age: Duration| {
            let age = time::Duration::try_from(age).ok()?;
            now.checked_sub(age)
        };
        let aged = [
            ("retention.jobs", AGED_JOBS, before(keep.jobs)),
            ("retention.audit", AGED_AUDIT, before(keep.audit)),
        ];
        let mut statements: Vec<(&'static str, &str, Option<OffsetDateTime>)> = Vec::new();
        statements.extend(aged.into_iter().filter(|(_, _, before)| before.is_some()));
        statements.extend(OTHERS.iter().map(|(name, sql)| (*name, *sql, None)));
        for (name, sql, before) in statements {
            for _ in 0..ROUNDS {
                let tx = client.transaction().await?;
                // For this transaction only: nothing to release, whatever happens.
                let mine: bool = tx
                    .named("retention.lock")
                    .query_one("SELECT pg_try_advisory_xact_lock($1)", &[&LOCK])
                    .await?
                    .try_get(0)
                    .map_err(forebay_postgres::Error::in_query("retention.lock"))?;
                if !mine {
                    return Ok(total);
                }
                let gone = match &before {
                    Some(before) => tx.named(name).execute(sql, &[&BATCH, before]).await?,
                    None => tx.named(name).execute(sql, &[&BATCH]).await?,
                };
                tx.commit().await?;
                total += gone;
                if gone < BATCH.unsigned_abs() {
                    break;
                }
            }
        }
        drop(client);
        if let Some(before) = before(keep.feed) {
            total += self.feed.prune(before).await?;
        }
        Ok(total)
    }
}
