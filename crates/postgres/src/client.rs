//! A connection on loan from the pool, and transactions on it. Every query has a name, a time limit and a record.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::StatementCache;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row, Statement};

use crate::error::{Error, is_stale_statement};
use crate::stats::Registry;

/// A query slower than this is logged at `warn`.
const SLOW: Duration = Duration::from_secs(1);
/// How much longer than the server's own limit the client waits before it gives the connection up.
const GRACE: Duration = Duration::from_secs(5);
/// Statements that one connection keeps prepared. Texts are literals or built from few pieces; this bounds a mistake.
const STATEMENTS_MAX: usize = 500;

/// What all connections of a pool share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stats: Registry,
    /// The longest that a client waits for one answer; the server stops statements before that.
    pub(crate) answer_max: Duration,
}

impl Shared {
    pub(crate) fn new(statement_timeout: Duration) -> Shared {
        Shared {
            stats: Registry::default(),
            answer_max: statement_timeout + GRACE,
        }
    }
}

/// A connection on loan from a [`Pool`](crate::Pool); it goes back when dropped.
///
/// If a named query was abandoned half-way (its future dropped, or no answer came) the connection is closed instead,
/// so that the next borrower does not wait for the end of a statement that nobody wants.
///
/// It dereferences to [`tokio_postgres::Client`] for the rare call that has no name; those are neither recorded nor
/// guarded.
#[derive(Debug)]
pub struct Client {
    /// Held until drop.
    object: Option<deadpool_postgres::Object>,
    shared: Arc<Shared>,
    abandoned: AtomicBool,
}

impl Client {
    pub(crate) fn new(object: deadpool_postgres::Object, shared: Arc<Shared>) -> Client {
        Client {
            object: Some(object),
            shared,
            abandoned: AtomicBool::new(false),
        }
    }

    fn object(&self) -> &deadpool_postgres::Object {
        self.object
            .as_ref()
            .expect("the connection is held until drop")
    }

    /// Names the next query, `noun.verb` by custom: `client.named("jobs.get").query_one(sql, &[&id])`.
    pub fn named(&self, query: &'static str) -> Named<'_> {
        Named {
            query,
            client: self.object(),
            cache: &self.object().statement_cache,
            shared: &self.shared,
            abandoned: &self.abandoned,
            failed: None,
        }
    }

    /// Begins a transaction (`READ COMMITTED`, read and write). It rolls back unless committed.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.begin(IsolationLevel::ReadCommitted, false).await
    }

    /// Begins a transaction of the given isolation.
    pub async fn begin(
        &mut self,
        isolation: IsolationLevel,
        read_only: bool,
    ) -> Result<Transaction<'_>, Error> {
        let Client {
            object,
            shared,
            abandoned,
        } = self;
        let object = object.as_mut().expect("the connection is held until drop");
        let start = object
            .build_transaction()
            .isolation_level(isolation)
            .read_only(read_only)
            .start();
        let start = Box::pin(start);
        let inner = measured("begin", shared, abandoned, false, start).await?;
        Ok(Transaction {
            inner,
            shared,
            abandoned,
            failed: Mutex::new(None),
        })
    }

    /// Closes the connection when it is given back, for one whose session settings were changed.
    pub(crate) fn do_not_reuse(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Relaxed)
            && let Some(object) = self.object.take()
        {
            drop(deadpool_postgres::Object::take(object));
        }
    }
}

impl Deref for Client {
    type Target = tokio_postgres::Client;
    fn deref(&self) -> &tokio_postgres::Client {
        self.object()
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        self.object
            .as_mut()
            .expect("the connection is held until drop")
    }
}

/// A transaction. It rolls back when dropped without [`commit`](Transaction::commit).
///
/// It dereferences to [`tokio_postgres::Transaction`] for the rare call that has no name.
#[derive(Debug)]
pub struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    shared: &'a Shared,
    abandoned: &'a AtomicBool,
    /// The first named query that failed. Postgres answers a COMMIT after that with a silent rollback.
    failed: Mutex<Option<&'static str>>,
}

impl Transaction<'_> {
    /// Names the next query; see [`Client::named`].
    pub fn named(&self, query: &'static str) -> Named<'_> {
        Named {
            query,
            client: self.inner.client(),
            cache: &self.inner.statement_cache,
            shared: self.shared,
            abandoned: self.abandoned,
            failed: Some(&self.failed),
        }
    }

    /// Keeps the changes. When a named query of this transaction had failed, rolls back and returns
    /// [`Error::Aborted`]; when the answer is lost, the outcome is unknown (see [`Error::outcome_unknown`]).
    pub async fn commit(self) -> Result<(), Error> {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(query) = failed {
            self.rollback().await?;
            return Err(Error::Aborted { query });
        }
        measured(
            "commit",
            self.shared,
            self.abandoned,
            true,
            Box::pin(self.inner.commit()),
        )
        .await
    }

    /// Gives the changes up and waits until the server has done so.
    pub async fn rollback(self) -> Result<(), Error> {
        measured(
            "rollback",
            self.shared,
            self.abandoned,
            false,
            Box::pin(self.inner.rollback()),
        )
        .await
    }
}

impl<'a> Deref for Transaction<'a> {
    type Target = tokio_postgres::Transaction<'a>;
    fn deref(&self) -> &tokio_postgres::Transaction<'a> {
        &self.inner
    }
}

/// A query's name together with where it will run. Statements are prepared once per connection and text, so the text
/// must not hold values: pass them as parameters.
#[must_use = "a name alone runs nothing"]
#[derive(Clone, Copy)]
pub struct Named<'a> {
    query: &'static str,
    client: &'a tokio_postgres::Client,
    cache: &'a StatementCache,
    shared: &'a Shared,
    abandoned: &'a AtomicBool,
    /// Set inside a transaction.
    failed: Option<&'a Mutex<Option<&'static str>>>,
}

impl std::fmt::Debug for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named")
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Futures are boxed here and in the pool: the driver's own are `Send` in ways that the compiler cannot prove for the
/// tasks of callers ("not general enough"). Next to a query an allocation costs nothing.
pub(crate) type Boxed<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'a>>;

impl Named<'_> {
    /// All rows.
    pub async fn query(self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        self.run(Box::pin(async move {
            let statement = self.prepare(sql).await?;
            match self.client.query(&statement, params).await {
                Err(error) if self.forget_stale(sql, &error) => {
                    let statement = self.prepare(sql).await?;
                    self.client.query(&statement, params).await
                }
                result => result,
            }
        }))
        .await
    }

    /// Exactly one row; another number is an [`Error::RowCount`].
    pub async fn query_one(self, sql: &str, params: Params<'_>) -> Result<Row, Error> {
        let query = self.query;
        self.query_opt(sql, params)
            .await?
            .ok_or(Error::RowCount { query, found: 0 })
    }

    /// One row or none; more is an [`Error::RowCount`].
    pub async fn query_opt(self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Error> {
        let mut rows = self.query(sql, params).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            found => Err(Error::RowCount {
                query: self.query,
                found,
            }),
        }
    }

    /// The number of rows changed.
    pub async fn execute(self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        self.run(Box::pin(async move {
            let statement = self.prepare(sql).await?;
            match self.client.execute(&statement, params).await {
                Err(error) if self.forget_stale(sql, &error) => {
                    let statement = self.prepare(sql).await?;
                    self.client.execute(&statement, params).await
                }
                result => result,
            }
        }))
        .await
    }

    /// Several statements without parameters, in one go. Not prepared.
    pub async fn batch(self, sql: &str) -> Result<(), Error> {
        self.run(Box::pin(self.client.batch_execute(sql))).await
    }

    async fn prepare(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if self.cache.size() > STATEMENTS_MAX {
            tracing::warn!(
                query = self.query,
                "a connection holds too many prepared statements; dropping them"
            );
            self.cache.clear();
        }
        self.cache.prepare(self.client, sql).await
    }

    /// The error says that the prepared statement does not fit the schema any more: drops it, and says whether to try
    /// again here. Inside a transaction that is the caller's to do, from its beginning.
    fn forget_stale(&self, sql: &str, error: &tokio_postgres::Error) -> bool {
        let stale = is_stale_statement(error);
        if stale {
            self.cache.remove(sql, &[]);
        }
        stale && self.failed.is_none()
    }

    /// Measures it, and remembers a failure for the transaction's commit.
    async fn run<T>(self, run: Boxed<'_, T>) -> Result<T, Error> {
        let result = measured(
            self.query,
            self.shared,
            self.abandoned,
            self.failed.is_none(),
            run,
        )
        .await;
        if let (Err(error), Some(failed)) = (&result, self.failed)
            && error.sqlstate().is_some()
        {
            failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(self.query);
        }
        result
    }
}

/// Marks the connection as abandoned unless the query came to an end.
struct InFlight<'a> {
    abandoned: &'a AtomicBool,
    ended: bool,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.abandoned.store(true, Ordering::Relaxed);
        }
    }
}

async fn measured<T>(
    query: &'static str,
    shared: &Shared,
    abandoned: &AtomicBool,
    keeps: bool,
    run: Boxed<'_, T>,
) -> Result<T, Error> {
    let began = Instant::now();
    let mut in_flight = InFlight {
        abandoned,
        ended: false,
    };
    let result = match tokio::time::timeout(shared.answer_max, run).await {
        Ok(result) => {
            in_flight.ended = true;
            result.map_err(|error| Error::classify(query, keeps, error))
        }
        Err(_) => Err(Error::Lost {
            query,
            outcome_unknown: keeps,
            source: None,
        }),
    };
    drop(in_flight);
    let took = began.elapsed();
    shared.stats.record(query, took, result.is_err());
    if took > SLOW {
        tracing::warn!(
            query,
            took_ms = took.as_millis(),
            failed = result.is_err(),
            "slow query"
        );
    }
    result
}
