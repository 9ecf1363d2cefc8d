//! Writing rows, in the transaction that they tell of.

use serde_json::value::RawValue;

use crate::client::Transaction;
use crate::error::Error;

/// A body's limit, in bytes of JSON. The feed carries changes, not contents.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The limit of a topic, kind or key, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// Rows per statement.
const BATCH: usize = 1000;

/// A row to write.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who hears of it, as `<noun>:<id>`: `user:…`, `job:…`, `cluster:…`, `site:…`.
    pub topic: String,
    /// What the body is.
    pub kind: String,
    /// Which object it tells of.
    pub key: String,
    /// The object's revision, which only rises, so that a delta heard twice is harmless.
    pub rev: i64,
    /// JSON. Postgres refuses a text in it that holds the NUL character.
    pub body: Box<RawValue>,
}

/// Writes rows, in order, as part of `tx`; readers get them once it has committed. Ring the
/// [doorbell](crate::doorbell) after the commit.
pub async fn append(tx: &Transaction<'_>, rows: &[Row]) -> Result<(), Error> {
    for row in rows {
        check("the feed row's topic", &row.topic)?;
        check("the feed row's kind", &row.kind)?;
        check("the feed row's key", &row.key)?;
        if row.body.get().len() > BODY_BYTES_MAX {
            let reason = format!(
                "{} bytes of JSON, over the limit of {BODY_BYTES_MAX}",
                row.body.get().len()
            );
            return Err(Error::Invalid {
                what: "the feed row's body",
                reason,
            });
        }
    }
    for batch in rows.chunks(BATCH) {
        let topics: Vec<&str> = batch.iter().map(|row| row.topic.as_str()).collect();
        let kinds: Vec<&str> = batch.iter().map(|row| row.kind.as_str()).collect();
        let keys: Vec<&str> = batch.iter().map(|row| row.key.as_str()).collect();
        let revs: Vec<i64> = batch.iter().map(|row| row.rev).collect();
        let bodies: Vec<&str> = batch.iter().map(|row| row.body.get()).collect();
        tx.named("feed.append")
            .execute(
                "INSERT INTO feed (topic, kind, key, rev, body)
                 SELECT topic, kind, key, rev, body::jsonb
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::text[])
                      WITH ORDINALITY AS given (topic, kind, key, rev, body, place)
                 ORDER BY place",
                &[&topics, &kinds, &keys, &revs, &bodies],
            )
            .await?;
    }
    Ok(())
}

fn check(what: &'static str, text: &str) -> Result<(), Error> {
    if text.len() > NAME_BYTES_MAX {
        return Err(Error::Invalid {
            what,
            reason: format!("{} bytes, over the limit of {NAME_BYTES_MAX}", text.len()),
        });
    }
    if text.contains('\0') {
        return Err(Error::Invalid {
            what,
            reason: "it holds a NUL character".to_owned(),
        });
    }
    Ok(())
}
