//! Bringing a cluster up: files, then daemons in the order in which they need each other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::config::{self, Settings};
use super::layout::{FIRST_NODE_PORT, Layout, REST_PORT, make_dir, secret, write_file};
use super::{DEADLINE, Error, Options, Slurm};
use crate::accounts::{self, Account};
use crate::guard::Guard;
use crate::packages::{self, Server};
use crate::ports::PortBlock;
use crate::process::{self, Command, Daemon, User};

const NODES_MAX: u16 = 256;

pub(super) async fn start(mut options: Options) -> Result<Slurm, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    options.nodes = options.nodes.clamp(1, NODES_MAX);
    let mut servers = vec![Server::Slurm];
    servers.extend(options.accounting.then_some(Server::SlurmAccounting));
    servers.extend(options.rest.then_some(Server::SlurmRest));
    let missing = packages::missing(&servers);
    if !missing.is_empty() {
        return Err(Error::Missing(format!(
            "Slurm's {}",
            packages::sentence(&missing)
        )));
    }
    let rest_account = options
        .rest
        .then(accounts::ensure_rest)
        .transpose()
        .map_err(Error::Account)?;
    let ports = PortBlock::take(FIRST_NODE_PORT + options.nodes).map_err(Error::Ports)?;
    let guard = Guard::with_dir("slurm").map_err(Error::Guard)?;
    let cluster_name = format!("fb{}", ports.first());
    let layout = Layout::new(guard.dir());
    let mut slurm = Slurm {
        daemons: Mutex::new(BTreeMap::new()),
        options,
        layout,
        ports,
        cluster_name,
        version: (0, 0),
        rest_account,
        guard,
    };
    slurm.version = slurm.ask_version().await?;
    slurm.write_files()?;
    if slurm.options.accounting {
        let (munge, mariadb) = tokio::join!(slurm.start_munged(), slurm.start_mariadb());
        munge?;
        mariadb?;
        slurm.start_dbd().await?;
        slurm.add_users(&slurm.options.users).await?;
    } else {
        slurm.start_munged().await?;
    }
    slurm.start_controller().await?;
    for number in 1..=slurm.options.nodes {
        slurm.start_node(number).await?;
    }
    if slurm.options.rest {
        slurm.start_rest().await?;
    }
    slurm.wait_nodes(DEADLINE).await?;
    Ok(slurm)
}

impl Slurm {
    async fn ask_version(&self) -> Result<(u16, u16), Error> {
        // `slurm-wlm 22.05.8` on Debian, `slurm 22.05.8` elsewhere.
        let text = self.text("slurmctld", &["-V"], None).await?;
        let mut parts = text
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .split('.')
            .map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
            _ => Err(Error::Missing(format!(
                "slurmctld gives no version that can be read: {text:?}"
            ))),
        }
    }

    fn write_files(&self) -> Result<(), Error> {
        let slurm = system_account("slurm")?;
        let munge = system_account("munge")?;
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let settings = self.settings(host.split('.').next().unwrap_or("localhost"));
        let make = || -> std::io::Result<()> {
            let layout = &self.layout;
            for path in [
                layout.conf.parent(),
                layout.munge_run.parent(),
                Some(&layout.log),
                Some(&layout.spool),
            ] {
                make_dir(path.unwrap_or(&layout.dir), 0o755, None)?;
            }
            make_dir(&layout.slurm_run, 0o755, Some(&slurm))?;
            make_dir(&layout.slurm_log, 0o755, Some(&slurm))?;
            make_dir(&layout.state, 0o700, Some(&slurm))?;
            make_dir(&layout.munge_run, 0o755, Some(&munge))?;
            make_dir(&layout.munge, 0o700, Some(&munge))?;
            write_file(&layout.munge_key, &secret::<128>()?, 0o600, Some(&munge))?;
            write_file(&layout.jwt_key, &secret::<32>()?, 0o600, Some(&slurm))?;
            write_file(
                &layout.conf,
                config::slurm_conf(&settings).as_bytes(),
                0o644,
                None,
            )?;
            if let Some(text) = config::cgroup_conf(self.version) {
                write_file(&layout.cgroup_conf, text.as_bytes(), 0o644, None)?;
            }
            if let Some(account) = &self.rest_account {
                make_dir(&layout.rest_run, 0o755, Some(account))?;
            }
            if self.options.accounting {
                let password = format!("{:032x}", u128::from_ne_bytes(secret::<16>()?));
                let text = config::slurmdbd_conf(&settings, &password);
                write_file(&layout.dbd_conf, text.as_bytes(), 0o600, Some(&slurm))?;
            }
            Ok(())
        };
        make().map_err(Error::Place)
    }

    fn settings<'a>(&'a self, host: &'a str) -> Settings<'a> {
        Settings {
            options: &self.options,
            layout: &self.layout,
            cluster_name: &self.cluster_name,
            host,
            first_port: self.ports.first(),
            version: self.version,
        }
    }

    /// A daemon's command: its log, this cluster's environment.
    pub(super) fn daemon_command(
        &self,
        name: &str,
        program: &str,
        user: Option<&Account>,
    ) -> Result<Command, Error> {
        let path = packages::program(program);
        let path = path.ok_or_else(|| Error::Missing(format!("there is no program {program}")))?;
        let command = Command::new(path, self.layout.log_of(name)).envs(self.env());
        match user {
            Some(user) => Ok(command.user(User::of(user).map_err(Error::Place)?)),
            None => Ok(command),
        }
    }

    /// Starts a daemon under a name, replacing an ended one.
    pub(super) async fn start_daemon(
        &self,
        name: &str,
        command: Command,
    ) -> Result<Arc<Daemon>, Error> {
        let started = Daemon::start(&self.guard, command).await;
        let daemon = Arc::new(started.map_err(failed(format!("{name} does not start")))?);
        self.lock().insert(name.to_owned(), Arc::clone(&daemon));
        Ok(daemon)
    }

    async fn start_munged(&self) -> Result<(), Error> {
        let layout = &self.layout;
        let munge = system_account("munge")?;
        let command = self
            .daemon_command("munged", "munged", Some(&munge))?
            .arg("--foreground")
            .args([
                format!("--key-file={}", layout.munge_key.display()),
                format!("--socket={}", layout.munge_socket.display()),
                format!("--pid-file={}/munged.pid", layout.munge_run.display()),
                format!("--log-file={}/munged.log", layout.munge.display()),
                format!("--seed-file={}/munged.seed", layout.munge.display()),
            ]);
        let daemon = self.start_daemon("munged", command).await?;
        let socket = layout.munge_socket.display().to_string();
        let ask = ["-n", "-S", &socket];
        let is_ready = || self.succeeds("munge", &ask);
        daemon
            .wait_ready(DEADLINE, is_ready)
            .await
            .map_err(failed("munged does not come up"))
    }

    async fn start_rest(&self) -> Result<(), Error> {
        let Some(account) = &self.rest_account else {
            return Ok(());
        };
        let port = self.ports.get(REST_PORT).unwrap_or_default();
        // SLURM_JWT=daemon makes it speak JWT to slurmctld instead of munge; the umask lets every
        // user reach its socket.
        let command = self.daemon_command("slurmrestd", "slurmrestd", Some(account))?;
        let command = command
            .env("SLURM_JWT", "daemon")
            .umask(0)
            .args(["-a", "rest_auth/jwt"]);
        let command = command.args(config::rest_plugins(&self.settings("")).iter().copied());
        let command = command.arg(format!("127.0.0.1:{port}"));
        let command = command.arg(format!("unix:{}", self.layout.rest_socket.display()));
        let daemon = self.start_daemon("slurmrestd", command).await?;
        let is_ready = || async { is_open(port).await && self.layout.rest_socket.exists() };
        daemon
            .wait_ready(DEADLINE, is_ready)
            .await
            .map_err(failed("slurmrestd does not come up"))
    }

    /// Waits until every node takes jobs.
    async fn wait_nodes(&self, deadline: Duration) -> Result<(), Error> {
        let end = Instant::now() + deadline;
        loop {
            let text = self
                .text("sinfo", &["-hN", "-p", "debug", "-o", "%T"], None)
                .await
                .unwrap_or_default();
            let up = text
                .lines()
                .filter(|state| matches!(*state, "idle" | "mixed" | "allocated"))
                .count();
            if up >= usize::from(self.options.nodes) {
                return Ok(());
            }
            if Instant::now() > end {
                let log = self.layout.log.join("slurmd.n1.log");
                let what = format!("nodes coming up ({text:?}; n1's log ends: {})", tail(&log));
                return Err(Error::TooSlow { what, deadline });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether a command of root's exits with 0.
    pub(super) async fn succeeds(&self, program: &str, args: &[&str]) -> bool {
        self.text(program, args, None).await.is_ok()
    }
}

/// An account that a package brings.
pub(super) fn system_account(name: &str) -> Result<Account, Error> {
    let found = accounts::lookup(name).map_err(Error::Account)?;
    found.ok_or_else(|| Error::Missing(format!("there is no account {name}: its package makes it")))
}

pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(process::Error) -> Error {
    let what = what.into();
    move |source| Error::Process { what, source }
}

/// Whether somebody accepts connections on a port of loopback.
pub(super) async fn is_open(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

fn tail(path: &Path) -> String {
    process::tail(path)
}
