//! One agent a site.
//!
//! An advisory lock keeps a second agent from starting. A lock held by a
//! connection is lost with it, so each write also checks that nobody else has
//! taken the site since: the holder's name in the database fences us off.

use std::time::{Duration, Instant};

use forebay_postgres::{Connection, Error, Pool, Transaction, tokio_postgres::Client};
use forebay_service::{Backoff, CancellationToken, Tasks, logs};
use uuid::Uuid;

use super::StoreError;

/// The lock's key: "forebay" in ASCII.
const KEY: i64 = 0x0066_6f72_6562_6179;
/// How long the database may be away before the agent gives up and ends.
const AWAY_MAX: Duration = Duration::from_secs(120);

/// How long the database may take to come up when the agent starts: after a crash of the host
/// both start at once.
const START_MAX: Duration = Duration::from_secs(30);
const START_RETRY: Duration = Duration::from_millis(250);

/// Takes the site for this process, and ends the service when somebody else has it.
pub async fn hold_site(pool: &Pool, tasks: &Tasks) -> Result<(), StoreError> {
    let began = Instant::now();
    let (client, connection) = loop {
        match acquire(pool).await {
            Ok(Some(held)) => break held,
            Ok(None) => return Err(StoreError::Held),
            Err(error) if error.is_unavailable() && began.elapsed() < START_MAX => {
                tracing::info!(error = logs::chain(&error), "waiting for the site database");
                tokio::time::sleep(START_RETRY).await;
            }
            Err(error) => return Err(error),
        }
    };
    let pool = pool.clone();
    let handle = tasks.clone();
    let stop = tasks.stopping();
    drop(tasks.spawn("site lock", async move {
        if let Err(reason) = keep(&pool, client, connection, &stop).await {
            handle.fatal(reason);
        }
    }));
    Ok(())
}

async fn acquire(pool: &Pool) -> Result<Option<(Client, Connection)>, StoreError> {
    let (client, mut connection) = pool
        .dedicated()
        .await
        .map_err(StoreError::at("connecting for the site's lock"))?;
    let locked = async {
        let row = client
            .query_one("SELECT pg_try_advisory_lock($1)", &[&KEY])
            .await?;
        row.try_get::<_, bool>(0)
    };
    let locked = tokio::select! {
        locked = locked => locked,
        ended = &mut connection => match ended {
            Ok(()) => return Err(StoreError::Closed),
            Err(error) => Err(error),
        },
    };
    let locked = locked
        .map_err(Error::in_query("site.lock"))
        .map_err(StoreError::at("taking the site's lock"))?;
    Ok(locked.then_some((client, connection)))
}

/// Holds the lock, again after the database was away, until `stop`.
async fn keep(
    pool: &Pool,
    mut client: Client,
    mut connection: Connection,
    stop: &CancellationToken,
) -> Result<(), String> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = &mut connection => {
                let error = ended.err().map(|error| logs::chain(&error));
                tracing::warn!(error, "the connection that holds the site's lock ended");
            }
        }
        drop(client);
        let away = Instant::now();
        let mut retry = Backoff::new(Duration::from_millis(100), Duration::from_secs(2)).retry();
        (client, connection) = loop {
            match acquire(pool).await {
                Ok(Some(held)) => break held,
                Ok(None) => return Err("another agent has taken this site".to_owned()),
                Err(error) if away.elapsed() > AWAY_MAX => return Err(logs::chain(&error)),
                Err(_) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(retry.next_delay()) => {}
            }
        };
    }
}

/// Names this process as the holder; from now on older holders' writes fail.
pub(super) async fn take(pool: &Pool) -> Result<Uuid, StoreError> {
    let holder = Uuid::new_v4();
    let client = pool.get().await.map_err(StoreError::at("connecting"))?;
    client
        .named("site.take")
        .execute("UPDATE site SET holder = $1", &[&holder])
        .await
        .map_err(StoreError::at("taking the site"))?;
    Ok(holder)
}

/// Fails if the site has been taken from `holder`; until the transaction ends it cannot be.
pub(super) async fn check(transaction: &Transaction<'_>, holder: Uuid) -> Result<(), StoreError> {
    let ours = transaction
        .named("site.check")
        .query_opt("SELECT 1 FROM site WHERE holder = $1 FOR SHARE", &[&holder])
        .await
        .map_err(StoreError::at("checking the site's holder"))?;
    if ours.is_some() {
        Ok(())
    } else {
        Err(StoreError::Held)
    }
}
