//! Postgres: one private instance per test process, and a database of its own for each test.
//!
//! The instance is the one that services use ([`forebay_postgres::private`]), supervised by a
//! process of its own below a guard. Making a database by migrations takes seconds, copying one
//! takes a tenth of one: so a *template* is migrated once per process and copied for each test.
//!
//! Tests are the administrator in their databases. Snapshots are instance-wide: a test that holds
//! transactions open, or kills the server, starts an instance of its own ([`Postgres::start`]).

mod helper;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_postgres::private::{ADMIN, PORT};
use forebay_postgres::{Pool, Target, pool};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Mutex, OnceCell};

use crate::enter::Helper;
use crate::guard::{self, Guard};
use crate::process::{self, Command, Daemon};
use helper::Setup;
pub(crate) use helper::main as helper_main;

/// `initdb` on a busy machine takes some seconds.
const START_DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
/// Copying a database.
const COPY_DEADLINE: Duration = Duration::from_secs(60);

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No directory, or a file in it could not be written.
    #[error("cannot make a place for Postgres")]
    Place(#[source] io::Error),
    /// No guard.
    #[error("cannot guard Postgres")]
    Guard(#[source] guard::Error),
    /// The instance did not start or stop.
    #[error("Postgres does not do as told")]
    Process(#[source] process::Error),
    /// The instance refused something.
    #[error("cannot {what}")]
    Database {
        /// What was tried.
        what: String,
        /// What Postgres said.
        #[source]
        source: forebay_postgres::Error,
    },
    /// A template's migrations failed.
    #[error("the template {name} cannot be migrated")]
    Migrate {
        /// The template.
        name: String,
        /// What the migrations said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Not a name for a template.
    #[error(
        "{0:?} is not a template's name: lower-case letters, digits and underscores, at most 40"
    )]
    BadName(String),
}

/// A database that services with accounts of their own use, made when the instance starts.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name, also that of the role that owns it.
    pub name: String,
    /// Unix accounts that may use it, besides root or the caller.
    pub os_users: Vec<String>,
}

/// A private instance; ends with this process, or when dropped or stopped.
#[derive(Debug)]
pub struct Postgres {
    supervisor: Mutex<Option<Daemon>>,
    /// Templates that are migrated.
    templates: Mutex<HashSet<String>>,
    next: AtomicU64,
    guard: Arc<Guard>,
}

impl Postgres {
    /// The instance that the tests of this process share.
    pub async fn shared() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// An instance of one's own: to kill it, or to hold transactions open.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(Vec::new()).await
    }

    /// An instance with databases for services that run as other accounts.
    pub async fn start_with(databases: Vec<Wanted>) -> Result<Self, Error> {
        let guard = Guard::with_dir("pg").map_err(Error::Guard)?;
        let databases = databases
            .into_iter()
            .map(|wanted| (wanted.name, wanted.os_users))
            .collect();
        Setup { databases }
            .write(guard.dir())
            .map_err(Error::Place)?;
        let postgres = Self {
            supervisor: Mutex::new(None),
            templates: Mutex::new(HashSet::new()),
            next: AtomicU64::new(1),
            guard,
        };
        postgres.start_again().await?;
        Ok(postgres)
    }

    /// The directory of its socket: what `psql -h` takes.
    pub fn socket_dir(&self) -> PathBuf {
        helper::socket_dir(self.guard.dir())
    }

    /// Where it lives.
    pub fn dir(&self) -> &Path {
        self.guard.dir()
    }

    /// An empty database of its own.
    pub async fn database(&self) -> Result<Database, Error> {
        self.copy("template1").await
    }

    /// A copy of the template `name`, which `migrate` fills when it is first asked for in this
    /// process. The name stands for what `migrate` does: another content needs another name.
    pub async fn database_from_template<M, E>(
        &self,
        name: &str,
        migrate: M,
    ) -> Result<Database, Error>
    where
        M: AsyncFnOnce(Database) -> Result<(), E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > 40 || !name.bytes().all(is_plain) {
            return Err(Error::BadName(name.to_owned()));
        }
        let template = format!("testbed_template_{name}");
        // Held over the migration: others who want the template wait for it.
        let mut templates = self.templates.lock().await;
        if !templates.contains(name) {
            // One left by a failed try.
            self.admin(
                "remove a template",
                &format!("DROP DATABASE IF EXISTS {template} WITH (FORCE)"),
            )
            .await?;
            self.admin("make a template", &format!("CREATE DATABASE {template}"))
                .await?;
            let migrated = migrate(self.named(&template)).await;
            migrated.map_err(|source| Error::Migrate {
                name: name.to_owned(),
                source: source.into(),
            })?;
            // A database in use cannot be copied, and a pool's connections may take a moment to go.
            self.admin(
                "close a template",
                &format!("ALTER DATABASE {template} ALLOW_CONNECTIONS false"),
            )
            .await?;
            let end = format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{template}'"
            );
            self.admin("end a template's connections", &end).await?;
            templates.insert(name.to_owned());
        }
        drop(templates);
        self.copy(&template).await
    }

    async fn copy(&self, template: &str) -> Result<Database, Error> {
        let name = format!("testbed_{}", self.next.fetch_add(1, Ordering::Relaxed));
        self.admin(
            "copy a database",
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )
        .await?;
        Ok(self.named(&name))
    }

    /// The database of that name, existing or not.
    pub fn named(&self, name: &str) -> Database {
        Database {
            socket_dir: self.socket_dir(),
            name: name.to_owned(),
        }
    }

    /// Stops it in order. Databases stay, for [`Postgres::start_again`].
    pub async fn stop(&self) -> Result<(), Error> {
        match self.supervisor.lock().await.take() {
            Some(daemon) => daemon
                .stop(STOP_DEADLINE)
                .await
                .map(drop)
                .map_err(Error::Process),
            None => Ok(()),
        }
    }

    /// Starts it again after [`Postgres::stop`] or [`Postgres::kill9`], and waits until it is ready.
    pub async fn start_again(&self) -> Result<(), Error> {
        let dir = self.guard.dir();
        let ready = helper::ready_file(dir);
        match fs::remove_file(&ready) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::Place(error));
            }
            _ => {}
        }
        let start = Helper::Postgres.start(dir);
        let command = Command::new(start.program, dir.join("supervisor.log"))
            .args(start.args.map(|arg| arg.display().to_string()))
            .envs(start.env)
            // Not killed: the server would leave a shared memory segment behind.
            .end_signal(Signal::QUIT);
        let daemon = Daemon::start(&self.guard, command)
            .await
            .map_err(Error::Process)?;
        daemon
            .wait_ready(START_DEADLINE, || async { ready.exists() })
            .await
            .map_err(Error::Process)?;
        *self.supervisor.lock().await = Some(daemon);
        Ok(())
    }

    /// Kills the server as a crash would; its supervisor starts it again.
    pub fn kill9_server(&self) -> Result<(), Error> {
        let pid = self.server_pid().map_err(Error::Place)?;
        kill_process(pid, Signal::KILL).map_err(|error| Error::Place(error.into()))
    }

    /// Kills the supervisor as a crash would; the server notices and stops.
    pub async fn kill9(&self) -> Result<(), Error> {
        match self.supervisor.lock().await.take() {
            Some(daemon) => daemon.kill9().await.map(drop).map_err(Error::Process),
            None => Ok(()),
        }
    }

    /// The pid of the server (postmaster), as it wrote it down.
    pub fn server_pid(&self) -> io::Result<Pid> {
        pid_in(&helper::pid_file(self.guard.dir()))
    }

    /// Ends the instance and removes all of it.
    pub async fn end(&self) {
        self.guard.end().await;
    }

    async fn admin(&self, what: &str, sql: &str) -> Result<(), Error> {
        let failed = |source| Error::Database {
            what: what.to_owned(),
            source,
        };
        // A connection for each: a kept one would belong to the runtime of the first test.
        let mut config = self.named(ADMIN).pool_config("testbed");
        config.connections_max = 1;
        config.wait_max = COPY_DEADLINE;
        config.statement_timeout = COPY_DEADLINE;
        let pool = Pool::new(config).map_err(failed)?;
        let client = pool.get().await.map_err(failed)?;
        client
            .named("testbed.admin")
            .batch(sql)
            .await
            .map_err(failed)
    }
}

/// The pid in the first line of `postmaster.pid`.
fn pid_in(path: &Path) -> io::Result<Pid> {
    let text = fs::read_to_string(path)?;
    let pid = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("postmaster.pid holds no pid"))
}

/// A database of the instance; goes with it.
#[derive(Debug, Clone)]
pub struct Database {
    socket_dir: PathBuf,
    name: String,
}

impl Database {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How to reach it as the administrator.
    pub fn target(&self) -> Target {
        let socket_dir = self.socket_dir.clone();
        Target::Private {
            socket_dir,
            database: self.name.clone(),
            role: ADMIN.to_owned(),
        }
    }

    /// For [`Pool::new`], with the defaults of services.
    pub fn pool_config(&self, application_name: &str) -> pool::Config {
        pool::Config::new(self.target(), application_name)
    }

    /// For `psql`, and for a service's configuration.
    pub fn url(&self) -> String {
        let dir = self.socket_dir.display().to_string().replace('/', "%2F");
        format!("postgresql://{ADMIN}@/{}?host={dir}&port={PORT}", self.name)
    }
}
