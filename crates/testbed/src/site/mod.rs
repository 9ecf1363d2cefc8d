//! A whole installation of Forebay on this machine: Postgres, view-server, realtime, agent.
//!
//! The programs are the built ones, started as an operator would start them, with configuration
//! files and the operator's commands; nothing is linked in. As root each job runs as its owner,
//! and view-server and realtime as an account that may nothing else; as an ordinary user the installation
//! runs that user's own jobs. Everything listens on loopback
//! or on unix sockets, in a directory and an environment of its own, so that several
//! installations run side by side, also over one Slurm.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use forebay_testbed::{accounts, site::{Options, Scheduler, Site}};
//!
//! let user = accounts::test_account(1)?;
//! let site = Site::start(Options {
//!     scheduler: Scheduler::Local { slots: 2 },
//!     users: vec![user.name.clone()],
//!     ..Options::default()
//! })
//! .await?;
//! let done = site.run_cli(&user.name, ["submit", "--follow", "--", "id", "-un"]).await?;
//! assert_eq!(done.stdout(), user.name);
//! site.stop().await?;
//! # Ok(()) }
//! ```

mod config;
mod control;
mod error;
mod front;
mod other;
mod probe;
mod start;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::accounts::Account;
use crate::guard::Guard;
use crate::ports::PortBlock;
use crate::process::{self, Command, Daemon, Output, User};
use crate::programs;
use crate::slurm::Slurm;
pub use error::Error;
use error::failed;
pub use forebay_wire::Pin;
use front::Front;

/// The name of an installation's only cluster.
pub const CLUSTER: &str = "hpc";
/// The name of its site.
pub const SITE: &str = "here";
/// The replicas of realtime by name, the first as many as are wanted.
pub const REALTIME: [&str; 3] = ["realtime", "realtime-2", "realtime-3"];
/// How long one run of the command may take.
const CLI_DEADLINE: Duration = Duration::from_secs(120);

/// What runs the jobs.
#[derive(Debug, Clone)]
pub enum Scheduler {
    /// A Slurm that runs already; see [`Scheduler::slurm`].
    Slurm {
        /// Its `slurm.conf`.
        conf: PathBuf,
    },
    /// Processes on this host.
    Local {
        /// How many at once.
        slots: u32,
    },
}

impl Scheduler {
    /// A Slurm of the testbed's, which must outlive the installation.
    pub fn slurm(slurm: &Slurm) -> Self {
        Self::Slurm {
            conf: slurm.conf_path().to_owned(),
        }
    }
}

/// What an installation is to be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// What runs the jobs.
    pub scheduler: Scheduler,
    /// Names of Unix accounts that get a user and a token.
    pub users: Vec<String>,
    /// How often the agent looks at the scheduler, in milliseconds; its own default if absent.
    pub poll_ms: Option<u64>,
    /// How many replicas of realtime, at most as many as [`REALTIME`] names.
    pub realtime: usize,
    /// Lines more of realtime's configuration, before its tables: `limits.clients = 5`.
    pub realtime_lines: String,
    /// What the services log: a level, or `target=level,…`.
    pub log_filter: String,
    /// View-servers over the one database, at most three. With several the agent reaches them in
    /// turn, through a front of this process.
    pub replicas: u16,
    /// Whether the agent reaches the view-server through that front also if there is one only.
    pub front: bool,
    /// Whether the view-servers speak TLS, with a certificate that they made themselves.
    pub tls: bool,
    /// More variables of the agent's environment.
    pub agent_env: BTreeMap<String, String>,
    /// The built page, to be served; see [`programs::page`].
    pub ui_dir: Option<PathBuf>,
}

/// The names of the view-servers, which share a database.
const VIEW_SERVERS: [&str; 3] = ["view-server", "view-server-2", "view-server-3"];

impl Default for Options {
    /// Two slots on this host, no users, a look each 100 ms, one realtime.
    fn default() -> Self {
        Self {
            scheduler: Scheduler::Local { slots: 2 },
            users: Vec::new(),
            poll_ms: Some(100),
            realtime: 1,
            realtime_lines: String::new(),
            log_filter: "info".to_owned(),
            replicas: 1,
            front: false,
            tls: false,
            agent_env: BTreeMap::new(),
            ui_dir: None,
        }
    }
}

/// A running installation; all of it ends when it is dropped or stopped, or when this process
/// ends.
#[derive(Debug)]
pub struct Site {
    // First: dropped daemons are ended by the guard while it is there.
    daemons: Mutex<BTreeMap<&'static str, Arc<Daemon>>>,
    options: Options,
    users: BTreeMap<String, Account>,
    /// Whom view-server and realtime run as, where we are root.
    view: Option<Account>,
    ports: PortBlock,
    guard: Arc<Guard>,
    front: Option<Front>,
    /// Of the view-servers' certificate.
    pin: OnceLock<Pin>,
}

/// The command, running, with its output in files that grow.
#[derive(Debug)]
pub struct Running {
    daemon: Daemon,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// What it has printed so far.
    pub fn stdout(&self) -> Vec<u8> {
        std::fs::read(&self.stdout).unwrap_or_default()
    }

    /// What it has said on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// The process.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

impl Site {
    /// Starts an installation and waits until it can take jobs.
    pub async fn start(options: Options) -> Result<Self, Error> {
        start::start(options, &mut |_| ()).await
    }

    /// The same, telling each step to `progress` before it is done.
    pub async fn start_telling(
        options: Options,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, Error> {
        start::start(options, progress).await
    }

    /// The address of the API, without a path.
    pub fn api_url(&self) -> String {
        self.api_url_of(0)
    }

    /// The same of one of several view-servers, counted from 0.
    pub fn api_url_of(&self, replica: u16) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.replica_address(replica))
    }

    /// Where one of several view-servers listens, counted from 0.
    fn replica_address(&self, replica: u16) -> String {
        let port = match replica {
            0 => self.ports.first(),
            other => self.ports.get(2 + other).unwrap_or_default(),
        };
        format!("127.0.0.1:{port}")
    }

    /// What the view-servers' certificate is known by.
    pub fn pin(&self) -> Option<Pin> {
        self.pin.get().copied()
    }

    /// Cuts the way from the agent to the view-servers, or mends it; needs [`Options::front`].
    pub fn cut_link(&self, cut: bool) -> Result<(), Error> {
        let none = || Error::NotRunning("the front of the view-servers".to_owned());
        self.front.as_ref().ok_or_else(none)?.set_cut(cut);
        Ok(())
    }

    /// The sum of a counter of the agent's, over all of its labels.
    pub async fn agent_counter(&self, name: &str) -> Option<f64> {
        let text = probe::get(&self.agent_address(), None, "/metrics", None).await?;
        let is_it = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        Some(text.lines().filter(is_it).filter_map(value).sum())
    }

    /// Where the view-server listens: `127.0.0.1:port`.
    pub fn view_server_address(&self) -> String {
        self.replica_address(0)
    }

    /// Where the agent shows its health and metrics: `127.0.0.1:port`.
    pub fn agent_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.get(1).unwrap_or_default())
    }

    /// Where a replica of realtime listens, the first being 0: `127.0.0.1:port`.
    pub fn realtime_address(&self, replica: usize) -> String {
        let port = u16::try_from(replica).ok();
        let port = port.and_then(|replica| {
            self.ports
                .get((2 + self.options.replicas).checked_add(replica)?)
        });
        format!("127.0.0.1:{}", port.unwrap_or_default())
    }

    /// The replicas of realtime by name.
    pub fn realtimes(&self) -> &'static [&'static str] {
        &REALTIME[..self.options.realtime.min(REALTIME.len())]
    }

    /// The name of the installation's environment, one of its own for each. Users' files are
    /// below `~/.local/state/forebay/<environment>`.
    pub fn environment(&self) -> String {
        format!("testbed-{}", self.ports.first())
    }

    /// Where it lives.
    pub fn dir(&self) -> &Path {
        self.guard.dir()
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A user's account.
    pub fn account(&self, user: &str) -> Result<&Account, Error> {
        let found = self.users.get(user);
        found.ok_or_else(|| Error::NoUser(user.to_owned()))
    }

    /// The file that holds a user's token, of mode 0600 and the user's own.
    pub fn token_file(&self, user: &str) -> PathBuf {
        self.dir().join("tokens").join(user)
    }

    /// A user's token.
    pub fn token(&self, user: &str) -> Result<String, Error> {
        let text = std::fs::read_to_string(self.token_file(user)).map_err(Error::Place)?;
        Ok(text.trim_end().to_owned())
    }

    /// The directory of a job's files in its owner's home.
    pub fn job_dir(&self, user: &str, job: &str) -> Result<PathBuf, Error> {
        let home = &self.account(user)?.home;
        Ok(self.state_of(home).join("jobs").join(job))
    }

    fn state_of(&self, home: &Path) -> PathBuf {
        home.join(".local/state/forebay").join(self.environment())
    }

    /// The directory of Postgres' socket: what `psql -h` takes.
    pub fn socket_dir(&self) -> PathBuf {
        self.dir().join("s")
    }

    /// The file a service logs to: `postgres`, `view-server`, `agent` or one of [`REALTIME`].
    pub fn log_file(&self, service: &str) -> PathBuf {
        self.dir().join("log").join(format!("{service}.log"))
    }

    /// The services by name with their pids, those that have ended left out.
    pub fn processes(&self) -> Vec<(&'static str, i32)> {
        let daemons = self.lock();
        let running = daemons.iter().filter(|(_, daemon)| daemon.is_running());
        running
            .map(|(name, daemon)| (*name, daemon.pid()))
            .collect()
    }

    /// The `forebay` command as this user, signed in by environment variables.
    pub fn cli(&self, user: &str) -> Result<Command, Error> {
        let account = self.account(user)?;
        let program = programs::path("forebay").map_err(Error::Program)?;
        let command = Command::new(program, "/dev/null")
            .env("HOME", account.home.display().to_string())
            .env("USER", &account.name)
            .env("FOREBAY_URL", self.api_url())
            .env(
                "FOREBAY_TOKEN_FILE",
                self.token_file(user).display().to_string(),
            )
            .cwd(&account.home);
        let command = match self.pin() {
            Some(pin) => command.env("FOREBAY_PIN", pin.to_string()),
            None => command,
        };
        if rustix::process::geteuid().is_root() {
            Ok(command.user(User::of(account).map_err(Error::Place)?))
        } else {
            Ok(command)
        }
    }

    /// Runs the `forebay` command as this user to its end, whatever its exit code.
    pub async fn run_cli<A: Into<String>>(
        &self,
        user: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Output, Error> {
        self.run(self.cli(user)?.args(args), b"").await
    }

    /// Runs any command below this installation's guard, with `input` as its standard input.
    pub async fn run(&self, command: Command, input: &[u8]) -> Result<Output, Error> {
        let what = format!("cannot run {}", command.program.display());
        let output = process::run(&self.guard, command, input, CLI_DEADLINE).await;
        output.map_err(failed(what))
    }

    /// Starts the `forebay` command as this user; killed when dropped.
    pub async fn start_cli<A: Into<String>>(
        &self,
        user: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Running, Error> {
        let dir = tempfile::Builder::new()
            .prefix("cli.")
            .tempdir_in(self.dir())
            .map_err(Error::Place)?
            .keep();
        let (stdout, stderr) = (dir.join("stdout"), dir.join("stderr"));
        let mut command = self.cli(user)?.args(args).stderr(&stderr);
        command.stdout.clone_from(&stdout);
        let daemon = Daemon::start(&self.guard, command).await;
        Ok(Running {
            daemon: daemon.map_err(failed("cannot start forebay"))?,
            stdout,
            stderr,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Arc<Daemon>>> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
