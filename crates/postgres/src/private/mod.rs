//! A private Postgres: found, made, started, watched and stopped by the program that needs it.
//!
//! It listens on a unix socket only and lets in accounts of this system by what the kernel says they are (`peer`); no
//! password exists and nothing is trusted. [`Private::run`] is its supervisor, meant as the whole life of a process
//! of its own, so that the services which use the database may be restarted without it.
//!
//! # What happens when it is killed
//!
//! * **The server** (`kill -9`, out of memory): the supervisor starts it again, with backoff. Its orphaned backends
//!   are ended first. Committed transactions are kept, those in flight are rolled back.
//! * **The supervisor**: the kernel tells the server, which then stops in order by itself. The next start takes the
//!   lock, which died with the supervisor, waits for the server to end (ends it, if need be), removes stale lock files
//!   and starts. Nothing is lost.
//! * **An upgrade** to another major version ([`Private::upgrade`]): the next start finds the old data as it was, or
//!   the new one whole.
//! * **Both, or the machine**: the next start removes the stale lock files, even when their process ids belong to
//!   others by now, and the server replays its log.
//!
//! Only processes proven to belong to this data directory are ever signalled.

mod account;
mod binaries;
mod config;
mod data;
mod databases;
mod error;
mod process;
mod takeover;
mod upgrade;

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::account::Account;
use self::binaries::Binaries;
pub(crate) use self::config::is_plain_name;
pub use self::config::{Config, Database, socket_path};
use self::data::{Layout, Lock};
pub use self::error::Error;
use self::process::Running;
pub use self::upgrade::{Step, Upgrade, Upgraded};
use crate::pool;

/// The number in the socket's name. Each instance has a socket directory of its own, so it never changes.
pub const PORT: u16 = 5432;
/// The administrator's role, and the database that it connects to.
pub const ADMIN: &str = "postgres";
/// The oldest major version that has what this crate uses (64-bit transaction ids).
pub const MAJOR_MIN: u32 = 13;
/// What a unix socket address holds, less its final zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// After an orderly stop was asked for in vain, how long the disorderly one may take.
const QUIT_MAX: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A server that has lived this long counts as good: the next failure starts the backoff anew.
const SETTLED: Duration = Duration::from_secs(60);

/// A private instance. The value starts nothing and holds nothing; [`run`](Private::run) does.
#[derive(Clone, Debug)]
pub struct Private {
    config: Config,
    account: Account,
    layout: Layout,
}

/// How one life of the server ended.
enum Ended {
    /// It was asked to.
    Stopped,
    /// By itself.
    Exited(ExitStatus),
}

impl Private {
    /// Checks the configuration and finds the account. Touches nothing.
    pub fn new(config: Config) -> Result<Private, Error> {
        config.check()?;
        let account = Account::choose(config.run_as.as_deref())?;
        let layout = Layout::new(&config);
        Ok(Private {
            config,
            account,
            layout,
        })
    }

    /// The account that the server runs as.
    pub fn account(&self) -> &str {
        &self.account.name
    }

    /// What a client of one of the databases needs; `None` for a database that is not configured. A client in another
    /// process needs no `Private`: [`pool::Target::Private`] with the same socket directory says the same.
    pub fn pool_config(&self, database: &str, application_name: &str) -> Option<pool::Config> {
        let database = self
            .config
            .databases
            .iter()
            .find(|known| known.name == database)?;
        Some(pool::Config::new(
            self.target(&database.name, &database.role),
            application_name,
        ))
    }

    /// The administrator, for the account it runs as and the supervisor's: makes databases, sees everything.
    pub fn admin_config(&self, application_name: &str) -> pool::Config {
        pool::Config::new(self.target(ADMIN, ADMIN), application_name)
    }

    /// A URL that `psql` and [`pool::Target::url`] take; `None` for a database that is not configured.
    pub fn url(&self, database: &str) -> Option<String> {
        let known = self
            .config
            .databases
            .iter()
            .find(|known| known.name == database)?;
        let dir = percent_encoded(&self.config.socket_dir);
        Some(format!(
            "postgresql://{}@/{}?host={dir}&port={PORT}",
            known.role, known.name
        ))
    }

    fn target(&self, database: &str, role: &str) -> pool::Target {
        pool::Target::Private {
            socket_dir: self.config.socket_dir.clone(),
            database: database.to_owned(),
            role: role.to_owned(),
        }
    }

    /// Runs the instance until `stop`: makes what is missing, starts the server, calls `on_ready` once it accepts
    /// connections and has its databases, starts it again when it ends by itself, and stops it in order at the end.
    ///
    /// Fails only before it was ready for the first time. Dropping the future also stops the server, without waiting;
    /// the lock is held until it has ended.
    pub async fn run(&self, stop: CancellationToken, on_ready: impl FnOnce()) -> Result<(), Error> {
        let lock = Arc::new(self.layout.lock(&self.account)?);
        let mut on_ready = Some(on_ready);
        let mut backoff = BACKOFF_MIN;
        loop {
            let began = Instant::now();
            match self.live(&lock, &stop, &mut on_ready).await {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Exited(status)) => {
                    tracing::error!(%status, ?backoff, "the private database ended by itself; starting it again");
                }
                Err(error) if on_ready.is_some() => return Err(error),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(
                        error,
                        ?backoff,
                        "the private database could not be started again; trying on"
                    );
                }
            }
            if began.elapsed() >= SETTLED {
                backoff = BACKOFF_MIN;
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(backoff))
                .await
                .is_none()
            {
                return Ok(());
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// One life of the server.
    async fn live(
        &self,
        lock: &Arc<Lock>,
        stop: &CancellationToken,
        on_ready: &mut Option<impl FnOnce()>,
    ) -> Result<Ended, Error> {
        let Some(server) = self.start(lock, stop).await? else {
            return Ok(Ended::Stopped);
        };
        let ready = async {
            tokio::select! {
                ready = databases::ensure(&self.config, self.admin_config("private instance")) => ready,
                status = server.exited() => {
                    let said = format!("{status}: {}", server.said().await);
                    Err(Error::Start { said })
                }
            }
        };
        match stop.run_until_cancelled(ready).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.end(&server).await?;
                return Err(error);
            }
            None => return self.end(&server).await.map(|()| Ended::Stopped),
        }
        tracing::info!(socket_dir = %self.config.socket_dir.display(), "the private database is ready");
        if let Some(on_ready) = on_ready.take() {
            on_ready();
        }
        match stop.run_until_cancelled(server.exited()).await {
            Some(status) => Ok(Ended::Exited(status)),
            None => self.end(&server).await.map(|()| Ended::Stopped),
        }
    }

    /// Clears away what an earlier life left, makes the data if there is none, and starts the server. `None` if it was
    /// to stop before that.
    async fn start(
        &self,
        lock: &Arc<Lock>,
        stop: &CancellationToken,
    ) -> Result<Option<Running>, Error> {
        let Private {
            config,
            account,
            layout,
        } = self;
        layout.prepare(config, account)?;
        layout.reach(account).await?;
        upgrade::recover(layout, account).await?;
        let version = layout.version()?;
        let data = version
            .as_deref()
            .map(|version| (layout.data.as_path(), version));
        let binaries = Binaries::find(config.bin_dir.as_deref(), data)?;
        self.clear().await?;
        layout.make_data(config, account, &binaries, stop).await?;
        if stop.is_cancelled() {
            return Ok(None);
        }
        let mut command = Command::new(binaries.postgres());
        command.arg("-D").arg(&layout.data);
        for (setting, value) in self.settings(binaries.major) {
            command.arg("-c").arg(format!("{setting}={value}"));
        }
        account.apply(&mut command);
        Running::start(command, Signal::INT, Arc::clone(lock))
            .await
            .map(Some)
    }

    async fn clear(&self) -> Result<(), Error> {
        let (data, socket_dir) = (self.layout.data.clone(), self.layout.socket_dir.clone());
        let stop_max = self.config.stop_max;
        self.account
            .run(move || takeover::clear(&data, &socket_dir, stop_max))
            .await
    }

    /// What is decided here and not in the data directory's own `postgresql.conf`, which may add more.
    fn settings(&self, major: u32) -> Vec<(&'static str, String)> {
        let path = |path: &Path| path.display().to_string();
        let fsync = if self.config.fsync { "on" } else { "off" };
        let mut settings = vec![
            ("listen_addresses", String::new()),
            (
                "unix_socket_directories",
                format!("\"{}\"", path(&self.layout.socket_dir)),
            ),
            ("unix_socket_permissions", "0777".to_owned()), // Who may enter is decided by account, not by file mode.
            ("port", PORT.to_string()),
            ("hba_file", path(&self.layout.hba)),
            ("ident_file", path(&self.layout.ident)),
            ("max_connections", self.config.connections_max.to_string()),
            ("fsync", fsync.to_owned()),
            ("full_page_writes", fsync.to_owned()),
            // Cursors of the feed rely on it: what was read has been written to disk.
            ("synchronous_commit", "on".to_owned()),
            ("jit", "off".to_owned()), // The queries are short.
            ("timezone", "UTC".to_owned()),
            ("log_timezone", "UTC".to_owned()),
            ("log_destination", "stderr".to_owned()),
            ("logging_collector", "off".to_owned()),
            ("log_line_prefix", "[%p] ".to_owned()),
            // Statements may hold users' data, which has no place in a log.
            ("log_min_error_statement", "panic".to_owned()),
        ];
        if major >= 14 {
            // Notices within seconds that a client is gone, also in the middle of a statement.
            settings.push(("client_connection_check_interval", "5s".to_owned()));
        }
        settings
    }

    /// Stops the server: in order, else at once, else by force.
    async fn end(&self, server: &Running) -> Result<(), Error> {
        for (signal, limit) in [
            (Signal::INT, self.config.stop_max),
            (Signal::QUIT, QUIT_MAX),
        ] {
            server.signal(signal);
            if let Ok(status) = tokio::time::timeout(limit, server.exited()).await {
                tracing::info!(%status, "the private database has stopped");
                return Ok(());
            }
            tracing::warn!(?signal, ?limit, "the private database does not stop");
        }
        server.signal(Signal::KILL);
        server.exited().await;
        self.clear().await // Its backends are orphans now.
    }
}

/// For the `host=` of a URL.
fn percent_encoded(path: &Path) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}"); // Writing to a String cannot fail.
        }
    }
    text
}
