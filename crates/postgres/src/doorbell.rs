//! The doorbell: "there may be something new", from any process of the installation to all, by `NOTIFY`.
//!
//! It carries nothing and may get lost; whoever listens also looks every second by itself. Writers ring after their
//! commit, and each process passes on at most one ring per [`PAUSE`], however many transactions it commits.
//!
//! Neither half starts a task: [`Ringer::run`] and [`Listener::run`] are futures for the owner's supervisor, which
//! end when `stop` is cancelled and may be started again.
//!
//! ```no_run
//! # async fn doc(pool: forebay_postgres::Pool, stop: tokio_util::sync::CancellationToken) -> Result<(), forebay_postgres::Error> {
//! use forebay_postgres::doorbell::{Listener, Ringer};
//!
//! let ringer = Ringer::new(pool.clone(), "feed")?;
//! let listener = Listener::new(pool, "feed")?;
//! let mut bell = listener.subscribe();
//! let reader = async {
//!     ringer.ring(); // after a commit
//!     bell.wait(std::time::Duration::from_secs(1)).await; // then read on from the cursor
//! };
//! tokio::join!(ringer.run(stop.clone()), listener.run(stop), reader);
//! # Ok(())
//! # }
//! ```

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_postgres::AsyncMessage;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::pool::{Connection, Pool};

/// The least time between two notifications of one ringer.
pub const PAUSE: Duration = Duration::from_millis(10);
/// How often a quiet listening connection is asked for a sign of life, and how long that may take.
const CHECK_EVERY: Duration = Duration::from_secs(10);
const CHECK_MAX: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Rings; clones ring the same bell.
#[derive(Clone, Debug)]
pub struct Ringer {
    pool: Pool,
    sql: Arc<str>,
    rung: Arc<Notify>,
}

impl Ringer {
    /// A ringer of `channel`: lower-case letters, digits and underscores, at most 63.
    pub fn new(pool: Pool, channel: &str) -> Result<Ringer, Error> {
        let sql = format!("NOTIFY {}", checked(channel)?).into();
        Ok(Ringer {
            pool,
            sql,
            rung: Arc::new(Notify::new()),
        })
    }

    /// Asks for a ring. Costs nothing, never waits, and many calls become one ring.
    pub fn ring(&self) {
        self.rung.notify_one();
    }

    /// Passes rings on until `stop`. A ring that cannot be sent is dropped after a warning: listeners look anyway.
    pub async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                self.rung.notified().await;
                let sent = async {
                    self.pool
                        .get()
                        .await?
                        .named("doorbell.notify")
                        .batch(&self.sql)
                        .await
                };
                if let Err(error) = sent.await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the doorbell could not be rung"
                    );
                    tokio::time::sleep(BACKOFF_MIN).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }
}

/// Hears the rings of all processes; clones hear on the same connection.
#[derive(Clone, Debug)]
pub struct Listener {
    pool: Pool,
    sql: Arc<str>,
    heard: Arc<watch::Sender<u64>>,
}

/// One subscriber's bell.
#[derive(Clone, Debug)]
pub struct Bell(watch::Receiver<u64>);

impl Bell {
    /// Waits for a ring since the last wait, at most `poll_every`; then look whether something is new. After an
    /// outage of the listener it rings once, since rings may have been missed.
    pub async fn wait(&mut self, poll_every: Duration) {
        let rung = async {
            if self.0.changed().await.is_err() {
                // No listener is left: only the time limit remains.
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout(poll_every, rung).await;
    }
}

impl Listener {
    /// A listener on `channel`; see [`Ringer::new`].
    pub fn new(pool: Pool, channel: &str) -> Result<Listener, Error> {
        let sql = format!("LISTEN {}", checked(channel)?).into();
        Ok(Listener {
            pool,
            sql,
            heard: Arc::new(watch::Sender::new(0)),
        })
    }

    /// A bell for one more subscriber.
    pub fn subscribe(&self) -> Bell {
        Bell(self.heard.subscribe())
    }

    /// Listens on a connection of its own until `stop`, and makes a new one, with backoff, whenever it breaks.
    pub async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut backoff = BACKOFF_MIN;
            loop {
                let mut listened = false;
                let error = self.listen(&mut listened).await;
                if listened {
                    backoff = BACKOFF_MIN;
                }
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    ?backoff,
                    "the doorbell is deaf for a moment"
                );
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        })
        .await;
    }

    /// Listens until the connection breaks.
    async fn listen(&self, listened: &mut bool) -> Error {
        let (client, connection) = match self.pool.dedicated().await {
            Ok(pair) => pair,
            Err(error) => return error,
        };
        let lost = |source| Error::Lost {
            query: "doorbell.listen",
            outcome_unknown: false,
            source,
        };
        let commands = async {
            if let Err(error) = client.batch_execute(&self.sql).await {
                return lost(Some(error));
            }
            *listened = true;
            self.heard.send_modify(|count| *count += 1);
            loop {
                tokio::time::sleep(CHECK_EVERY).await;
                match tokio::time::timeout(CHECK_MAX, client.simple_query("")).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return lost(Some(error)),
                    Err(_) => return lost(None),
                }
            }
        };
        let mut commands = pin!(commands);
        let mut messages = pin!(self.pass_on(connection));
        tokio::select! {
            error = &mut commands => error,
            source = &mut messages => lost(source),
        }
    }

    /// Drives the connection and passes its notifications on, until it ends.
    async fn pass_on(&self, mut connection: Connection) -> Option<tokio_postgres::Error> {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(_))) => {
                    self.heard.send_modify(|count| *count += 1);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(error),
                None => return None,
            }
        }
    }
}

/// The channel's name stands in SQL text, so only plain names pass.
fn checked(channel: &str) -> Result<&str, Error> {
    if crate::private::is_plain_name(channel) {
        return Ok(channel);
    }
    let reason = "it must be lower-case letters, digits and underscores, at most 63, not beginning with a digit";
    Err(Error::Invalid {
        what: "the doorbell's channel",
        reason: reason.to_owned(),
    })
}
