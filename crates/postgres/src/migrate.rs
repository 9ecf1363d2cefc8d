//! Migrations: one ordered set per database, applied under a lock, so that replicas may start together.
//!
//! A program states its set as names and SQL texts; the feed table's text comes from this crate:
//!
//! ```
//! use forebay_postgres::{feed, migrate};
//!
//! let runner = migrate::runner(&[
//!     ("V1__feed", feed::SCHEMA_SQL),
//!     ("V2__jobs", "CREATE TABLE jobs (id uuid PRIMARY KEY)"), // usually include_str!("…/V2__jobs.sql")
//! ])?;
//! # Ok::<(), migrate::Error>(())
//! ```
//!
//! A text that has been applied once never changes again: its checksum is in the database, and a text that differs is
//! refused. That holds for [`feed::SCHEMA_SQL`](crate::feed::SCHEMA_SQL) too; a later change of the feed table comes
//! as a further constant.

use std::pin::Pin;
use std::time::Duration;

use refinery::{Migration, Runner};

use crate::client::Client;
use crate::pool::Pool;

/// The advisory lock's key within a database: "forebay" and a number, in bytes.
const LOCK: i64 = i64::from_be_bytes(*b"forebay\x01");
/// How long a replica waits for another one's migrations.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
/// How long one statement of a migration may take.
pub const STATEMENT_MAX: Duration = Duration::from_secs(600);

/// Why the database was not migrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is not `V<number>__<words>`, or a number that occurs twice.
    #[error("migration {name} is not valid")]
    Invalid {
        /// The name.
        name: String,
        /// What is wrong with it; `None` for a number that occurs twice.
        #[source]
        source: Option<refinery::Error>,
    },
    /// The database was migrated by a later program. An older program must not write to it.
    #[error(
        "the database is at schema version {database} ({name}) but this program knows only up to {program}: \
         it was migrated by a newer program; install that version"
    )]
    Newer {
        /// The database's version.
        database: i64,
        /// That version's name.
        name: String,
        /// The highest version that the program knows; 0 for none.
        program: i64,
    },
    /// A migration failed or does not fit what was applied. The ones before it are kept, it itself is not.
    #[error("the database could not be migrated")]
    Failed(#[source] refinery::Error),
    /// Another program held the lock for all of [`WAIT_MAX`].
    #[error("another program has been migrating this database for over {WAIT_MAX:?}")]
    Locked,
    /// The database could not be used.
    #[error("the database could not be used for its migration")]
    Database(#[source] crate::Error),
}

/// Makes the set from names (`V<number>__<words>`) and SQL texts. Order in the slice does not matter, numbers do.
pub fn runner(migrations: &[(&str, &str)]) -> Result<Runner, Error> {
    let mut set: Vec<Migration> = Vec::with_capacity(migrations.len());
    for (name, sql) in migrations {
        let migration = Migration::unapplied(name, sql).map_err(|source| Error::Invalid {
            name: (*name).to_owned(),
            source: Some(source),
        })?;
        if set
            .iter()
            .any(|other| other.version() == migration.version())
        {
            return Err(Error::Invalid {
                name: (*name).to_owned(),
                source: None,
            });
        }
        set.push(migration);
    }
    Ok(Runner::new(&set))
}

/// Applies what is missing, each migration in a transaction of its own, and returns the names of those applied now.
///
/// Any number of programs may call this at once on one database: they take turns by an advisory lock, and the later
/// ones find nothing left to do. A database that a later program has migrated is refused, unchanged.
pub async fn run(pool: &Pool, runner: &Runner) -> Result<Vec<String>, Error> {
    let mut client = pool.get().await.map_err(Error::Database)?;
    // Its limits are lifted below and it holds the lock: closing it restores both.
    client.do_not_reuse();
    let work: Pin<Box<dyn Future<Output = Result<Vec<String>, Error>> + Send + '_>> =
        Box::pin(locked(&mut client, runner));
    let result = work.await;
    if let Ok(applied) = &result
        && !applied.is_empty()
    {
        tracing::info!(?applied, "database migrated");
    }
    result
}

async fn locked(client: &mut Client, runner: &Runner) -> Result<Vec<String>, Error> {
    let database = |source| Error::Database(crate::Error::in_query("migrate.lock")(source));
    let limits = format!(
        "SET statement_timeout = {}; SET lock_timeout = {}",
        STATEMENT_MAX.as_millis(),
        WAIT_MAX.as_millis()
    );
    client.batch_execute(&limits).await.map_err(database)?;
    // Not through `named`: its time limit is meant for everyday queries.
    client
        .query("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await
        .map_err(|source| {
            if source.code() == Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE) {
                Error::Locked
            } else {
                database(source)
            }
        })?;
    let result = apply(client, runner).await;
    if let Err(error) = client
        .query("SELECT pg_advisory_unlock($1)", &[&LOCK])
        .await
    {
        // Closing the connection, which follows, releases it as well.
        tracing::debug!(%error, "the migration lock was not released by name");
    }
    result
}

async fn apply(client: &mut Client, runner: &Runner) -> Result<Vec<String>, Error> {
    let database = |source| Error::Database(crate::Error::in_query("migrate.version")(source));
    let history = client
        .query_one(
            "SELECT to_regclass('refinery_schema_history') IS NOT NULL",
            &[],
        )
        .await
        .and_then(|row| row.try_get::<_, bool>(0))
        .map_err(database)?;
    if history {
        let last = runner
            .get_last_applied_migration_async(&mut **client)
            .await
            .map_err(Error::Failed)?;
        let program = runner
            .get_migrations()
            .iter()
            .map(|m| i64::from(m.version()))
            .max()
            .unwrap_or(0);
        if let Some(last) = last.filter(|last| i64::from(last.version()) > program) {
            return Err(Error::Newer {
                database: i64::from(last.version()),
                name: last.name().to_owned(),
                program,
            });
        }
    }
    let report = runner
        .run_async(&mut **client)
        .await
        .map_err(Error::Failed)?;
    Ok(report
        .applied_migrations()
        .iter()
        .map(ToString::to_string)
        .collect())
}
