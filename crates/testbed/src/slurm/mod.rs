//! A real Slurm on loopback, without systemd: munged, slurmctld, any number of slurmds, and if
//! asked for slurmdbd with `MariaDB` and slurmrestd.
//!
//! Each instance has its own directory, ports, secrets, cluster name and munged. It needs root,
//! because Slurm runs jobs as their owners, but no cgroups. Starting takes under a second, with
//! accounting about ten (`MariaDB`'s files); so tests share one with accounting per process
//! ([`Slurm::shared`]) and have one of their own where they break it.
//!
//! Everything binds loopback, but slurmdbd, which knows no setting for it; munge guards it.

mod accounting;
mod config;
mod control;
mod layout;
mod options;
mod start;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::accounts::{self, Account};
use crate::guard::{self, Guard};
use crate::need::{self, Thing};
use crate::packages;
use crate::ports::{self, PortBlock};
use crate::process::{self, Command, Daemon, Exit, Output, User};
use layout::Layout;
pub use options::Options;

/// Long enough for a busy machine of two cores, short enough to fail a hung test.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why Slurm does not run, or a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Slurm runs jobs as their owners: that needs root.
    #[error("a real Slurm needs root")]
    NotRoot,
    /// Programs are not installed; the text says which packages bring them.
    #[error("{0}")]
    Missing(String),
    /// A directory, a guard or accounts could not be had.
    #[error("cannot make a place for Slurm")]
    Place(#[source] std::io::Error),
    /// The guard's process failed.
    #[error("cannot guard Slurm")]
    Guard(#[source] guard::Error),
    /// No ports.
    #[error("no ports for Slurm")]
    Ports(#[source] ports::Error),
    /// An account is not there.
    #[error("no account for Slurm")]
    Account(#[source] accounts::Error),
    /// A daemon or command did not do what it should.
    #[error("{what}")]
    Process {
        /// What was tried.
        what: String,
        /// How it went wrong.
        #[source]
        source: process::Error,
    },
    /// A command said no.
    #[error("{command}: {exit}: {stderr}")]
    Command {
        /// The program.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What it printed on standard error.
        stderr: String,
    },
    /// A state was not reached in time.
    #[error("{what} took longer than {} s", .deadline.as_secs())]
    TooSlow {
        /// What was waited for.
        what: String,
        /// How long.
        deadline: Duration,
    },
}

/// A running cluster; everything of it ends when it is dropped or stopped, or when this process
/// ends.
#[derive(Debug)]
pub struct Slurm {
    // First: dropped daemons are killed by the guard while it is there.
    daemons: Mutex<BTreeMap<String, Arc<Daemon>>>,
    options: Options,
    layout: Layout,
    ports: PortBlock,
    cluster_name: String,
    version: (u16, u16),
    rest_account: Option<Account>,
    guard: Arc<Guard>,
}

impl Slurm {
    /// Starts a cluster and waits until all its nodes are idle.
    pub async fn start(options: Options) -> Result<Self, Error> {
        start::start(options).await
    }

    /// The cluster that the tests of this process share, started at the first call: two nodes of
    /// four cores, users fbtest1 to fbtest4, REST where it is installed. It ends with the process.
    pub async fn shared(accounting: bool) -> Result<&'static Self, Error> {
        static PLAIN: OnceCell<Slurm> = OnceCell::const_new();
        static ACCOUNTING: OnceCell<Slurm> = OnceCell::const_new();
        let cell = if accounting { &ACCOUNTING } else { &PLAIN };
        let start = async || {
            let users = accounts::test_accounts(4).map_err(Error::Account)?;
            let rest = need::missing(Thing::SlurmRest).is_none();
            let users = users.into_iter().map(|account| account.name).collect();
            Self::start(Options {
                cpus: 4,
                users,
                accounting,
                rest,
                ..Options::default()
            })
            .await
        };
        cell.get_or_try_init(start).await
    }

    /// The path of `slurm.conf`.
    pub fn conf_path(&self) -> &Path {
        &self.layout.conf
    }

    /// What a client needs in its environment.
    pub fn env(&self) -> Vec<(String, String)> {
        vec![(
            "SLURM_CONF".to_owned(),
            self.layout.conf.display().to_string(),
        )]
    }

    /// The cluster's name: letters and digits, one of its own for each instance.
    pub fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    /// `(22, 5)` for Slurm 22.05.
    pub fn version(&self) -> (u16, u16) {
        self.version
    }

    /// Where it lives.
    pub fn dir(&self) -> &Path {
        self.guard.dir()
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// slurmrestd's address on TCP, if it was asked for.
    pub fn rest_url(&self) -> Option<String> {
        let port = self.ports.get(layout::REST_PORT)?;
        self.options
            .rest
            .then(|| format!("http://127.0.0.1:{port}"))
    }

    /// slurmrestd's unix socket, if it was asked for.
    pub fn rest_socket(&self) -> Option<PathBuf> {
        self.options.rest.then(|| self.layout.rest_socket.clone())
    }

    /// All TCP ports it holds.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        self.ports.ports()
    }

    /// The daemons by name (`slurmctld`, `slurmd.n1`, …) with their pids, those that have ended
    /// left out.
    pub fn processes(&self) -> Vec<(String, i32)> {
        let daemons = self.lock();
        let running = daemons.iter().filter(|(_, daemon)| daemon.is_running());
        running
            .map(|(name, daemon)| (name.clone(), daemon.pid()))
            .collect()
    }

    /// A daemon by name.
    pub fn daemon(&self, name: &str) -> Option<Arc<Daemon>> {
        self.lock().get(name).cloned()
    }

    /// A command with this cluster's environment: as `user` in its home, or as root in `/`. The
    /// program is a path, or a name looked up as the system does.
    pub fn command(&self, program: &str, user: Option<&Account>) -> Result<Command, Error> {
        let path = if program.contains('/') {
            Some(PathBuf::from(program))
        } else {
            packages::program(program)
        };
        let path = path.ok_or_else(|| Error::Missing(format!("there is no program {program}")))?;
        let command = Command::new(path, "/dev/null").envs(self.env());
        let Some(user) = user else {
            return Ok(command.env("HOME", "/root").env("USER", "root"));
        };
        let home = user.home.display().to_string();
        let command = command
            .env("HOME", home)
            .env("USER", &user.name)
            .env("LOGNAME", &user.name);
        let command = command.env("SHELL", "/bin/sh").cwd(&user.home);
        Ok(command.user(User::of(user).map_err(Error::Place)?))
    }

    /// Runs a program as `user`, or as root, and returns what it printed, whatever its exit code.
    pub async fn exec<I, S>(
        &self,
        program: &str,
        args: I,
        user: Option<&Account>,
    ) -> Result<Output, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let args = args
            .into_iter()
            .map(|arg| arg.as_ref().to_string_lossy().into_owned());
        self.run(self.command(program, user)?.args(args), b"", DEADLINE)
            .await
    }

    /// Runs a command with `input` as its standard input; killed with all it started after
    /// `deadline` and when the future is dropped.
    pub async fn run(
        &self,
        command: Command,
        input: &[u8],
        deadline: Duration,
    ) -> Result<Output, Error> {
        let what = format!("cannot run {}", command.program.display());
        process::run(&self.guard, command, input, deadline)
            .await
            .map_err(|source| Error::Process { what, source })
    }

    /// The same, but an exit code other than 0 is an error. Returns standard output as text.
    pub async fn text(
        &self,
        program: &str,
        args: &[&str],
        user: Option<&Account>,
    ) -> Result<String, Error> {
        let output = self.exec(program, args, user).await?;
        if output.exit.success() {
            return Ok(output.stdout());
        }
        Err(Error::Command {
            command: program.to_owned(),
            exit: output.exit,
            stderr: output.stderr(),
        })
    }

    /// A token for slurmrestd in a user's name, valid for an hour.
    pub async fn token(&self, user: &str) -> Result<String, Error> {
        let user = format!("username={user}");
        let text = self
            .text("scontrol", &["token", &user, "lifespan=3600"], None)
            .await?;
        Ok(text.trim_start_matches("SLURM_JWT=").to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Daemon>>> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
