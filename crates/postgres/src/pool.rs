//! The pool: a bounded number of connections, each with its time limits set, replaced when the server goes away.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, PoolError, QueueMode, Runtime, Timeouts};
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{NoTls, Socket};

use crate::client::{Boxed, Client, Shared};
use crate::error::{Error, is_worth_reconnecting};
use crate::stats::QueryStats;

/// The other half of a dedicated connection: the future that moves its bytes, and the source of its notifications.
pub type Connection = tokio_postgres::Connection<Socket, NoTlsStream>;

/// Boxed for the same reason as the queries are; see `client`.
type Attempt<'a> =
    Pin<Box<dyn Future<Output = Result<deadpool_postgres::Object, PoolError>> + Send + 'a>>;

/// A connection that was lent longer ago than this is asked for a sign of life before it is lent again: a round trip,
/// which a busy pool seldom pays.
const IDLE_CHECK: Duration = Duration::from_millis(100);
/// How long that sign may take.
const IDLE_CHECK_MAX: Duration = Duration::from_secs(2);

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server of the site's own; see [`Target::url`]. The driver's type keeps the password out of `Debug`.
    Url(Box<tokio_postgres::Config>),
    /// A private instance (see [`crate::private`]), reached by its unix socket with peer authentication.
    Private {
        /// The directory of the socket.
        socket_dir: PathBuf,
        /// The database's name.
        database: String,
        /// The role to be; the instance must allow it to this process's account.
        role: String,
    },
}

impl Target {
    /// Parses `postgresql://user@host/database?…` or `host=… user=…`.
    ///
    /// TLS is not built in: `sslmode=require` is refused rather than ignored. Use a unix socket, a loopback address,
    /// or a TLS-terminating proxy on this host.
    pub fn url(url: &str) -> Result<Target, Error> {
        let config: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| {
                let cause = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                Error::Config {
                    reason: format!("not a database URL: {cause}"),
                }
            })?;
        let refuse = |reason: &str| {
            Err(Error::Config {
                reason: reason.to_owned(),
            })
        };
        if config.get_dbname().is_none() {
            return refuse("the URL names no database");
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return refuse("the URL names no host; for a unix socket write host=/directory");
        }
        if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) {
            return refuse("sslmode=require needs TLS, which this build does not have");
        }
        Ok(Target::Url(Box::new(config)))
    }

    fn driver_config(&self) -> tokio_postgres::Config {
        match self {
            Target::Url(config) => (**config).clone(),
            Target::Private {
                socket_dir,
                database,
                role,
            } => {
                let mut config = tokio_postgres::Config::new();
                config
                    .host_path(socket_dir)
                    .port(crate::private::PORT)
                    .dbname(database)
                    .user(role);
                config
            }
        }
    }
}

/// How to reach the database and how patient to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the database is.
    pub target: Target,
    /// Connections that the pool opens at most.
    pub connections_max: usize,
    /// How long [`Pool::get`] may take: waiting for a free connection, making one, and waiting out a restart.
    pub wait_max: Duration,
    /// `statement_timeout`: the server stops a statement at this age.
    pub statement_timeout: Duration,
    /// `idle_in_transaction_session_timeout`: the server ends a session that sits in a transaction this long. Open
    /// transactions hold back every reader of the feed, which is why it is short.
    pub idle_in_transaction_timeout: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

impl Config {
    /// The defaults: 16 connections, 5 s to get one, statements of at most 10 s, 5 s idle in a transaction.
    pub fn new(target: Target, application_name: impl Into<String>) -> Config {
        Config {
            target,
            connections_max: 16,
            wait_max: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            idle_in_transaction_timeout: Duration::from_secs(5),
            application_name: application_name.into(),
        }
    }

    fn driver_config(&self) -> tokio_postgres::Config {
        let mut driver = self.target.driver_config();
        let own = format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout={}",
            self.statement_timeout.as_millis(),
            self.idle_in_transaction_timeout.as_millis(),
        );
        let options = driver
            .get_options()
            .map_or(own.clone(), |theirs| format!("{theirs} {own}"));
        driver
            .options(options)
            .application_name(&self.application_name)
            .connect_timeout(self.wait_max)
            .tcp_user_timeout(Duration::from_secs(15))
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        driver
    }
}

/// How the pool is used at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The limit.
    pub connections_max: usize,
    /// Open connections.
    pub open: usize,
    /// Open connections that nobody uses.
    pub idle: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

/// A pool of connections; clones share it. Making one connects to nothing.
#[derive(Clone)]
pub struct Pool {
    inner: deadpool_postgres::Pool,
    shared: Arc<Shared>,
    config: Arc<Config>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("config", &self.config)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Makes the pool. Fails only on a configuration that cannot work.
    pub fn new(config: Config) -> Result<Pool, Error> {
        let refuse = |reason: &str| {
            Err(Error::Config {
                reason: reason.to_owned(),
            })
        };
        if config.connections_max == 0 {
            return refuse("at least one connection is needed");
        }
        if config.wait_max.is_zero() || config.statement_timeout.is_zero() {
            return refuse(
                "a wait of zero never succeeds, and a statement limit of zero means none",
            );
        }
        let manager = Manager::new(config.driver_config(), NoTls);
        let inner = deadpool_postgres::Pool::builder(manager)
            .max_size(config.connections_max)
            // The one used last has its statements prepared and its caches warm; those that a busy moment opened rest.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::async_fn(|client, metrics| {
                Box::pin(async move {
                    if metrics.last_used() < IDLE_CHECK || client.is_closed() {
                        return Ok(()); // A closed one is thrown away by the recycling itself.
                    }
                    match tokio::time::timeout(IDLE_CHECK_MAX, client.simple_query("")).await {
                        Ok(Ok(_)) => Ok(()),
                        Ok(Err(error)) => Err(HookError::Backend(error)),
                        Err(_) => Err(HookError::message(
                            "an idle connection gave no sign of life",
                        )),
                    }
                })
            }))
            .build()
            .map_err(|error| Error::Config {
                reason: error.to_string(),
            })?;
        let shared = Arc::new(Shared::new(config.statement_timeout));
        Ok(Pool {
            inner,
            shared,
            config: Arc::new(config),
        })
    }

    /// Lends a connection, within [`Config::wait_max`]. While the server is away or coming up it keeps trying, so
    /// that a restart costs only the queries that were in flight.
    pub async fn get(&self) -> Result<Client, Error> {
        let deadline = Instant::now() + self.config.wait_max;
        let mut pause = Duration::from_millis(10);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limits = Timeouts {
                wait: Some(left),
                create: Some(left),
                recycle: Some(IDLE_CHECK_MAX),
            };
            let attempt: Attempt<'_> = Box::pin(self.inner.timeout_get(&limits));
            let error = match tokio::time::timeout(left, attempt).await {
                Ok(Ok(object)) => return Ok(Client::new(object, Arc::clone(&self.shared))),
                Ok(Err(error)) => error,
                // Both limits are the same; which of them fires first is chance.
                Err(_) => return Err(self.why_not()),
            };
            let source = match error {
                PoolError::Backend(source) => source,
                PoolError::Timeout(_) => return Err(self.why_not()),
                other => {
                    return Err(Error::Config {
                        reason: other.to_string(),
                    });
                }
            };
            if !is_worth_reconnecting(&source) || Instant::now() + pause >= deadline {
                return Err(Error::Unavailable {
                    source: Some(source),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }

    /// After a wait in vain: were all connections in use, or did the server not answer?
    fn why_not(&self) -> Error {
        let status = self.status();
        if status.open >= status.connections_max && status.idle == 0 {
            Error::Busy {
                waited: self.config.wait_max,
            }
        } else {
            Error::Unavailable { source: None }
        }
    }

    /// A connection of its own outside the pool, for `LISTEN` or a lock held for long. The caller drives the second
    /// half; nothing moves otherwise.
    pub async fn dedicated(&self) -> Result<(tokio_postgres::Client, Connection), Error> {
        let driver = self.config.driver_config();
        let connect: Boxed<'_, (tokio_postgres::Client, Connection)> =
            Box::pin(driver.connect(NoTls));
        match tokio::time::timeout(self.config.wait_max, connect).await {
            Ok(Ok(pair)) => Ok(pair),
            Ok(Err(source)) => Err(Error::Unavailable {
                source: Some(source),
            }),
            Err(_) => Err(Error::Unavailable { source: None }),
        }
    }

    /// How the pool is used at this moment.
    pub fn status(&self) -> Status {
        let status = self.inner.status();
        Status {
            connections_max: status.max_size,
            open: status.size,
            idle: status.available,
            waiting: status.waiting,
        }
    }

    /// What each named query has cost since the pool was made, by name.
    pub fn query_stats(&self) -> Vec<(&'static str, QueryStats)> {
        self.shared.stats.snapshot()
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
