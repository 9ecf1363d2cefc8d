//! Bringing an installation up, in the order of an operator's guide.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::config::{self, Settings};
use super::front::Front;
use super::{Error, Options, REALTIME, SITE, Site, VIEW_SERVERS, failed, probe};
use crate::accounts::{self, Account};
use crate::guard::Guard;
use crate::ports::PortBlock;
use crate::process::{Command, Daemon, User};
use crate::programs;

/// `initdb` on a busy machine takes some seconds; everything else is quick.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(60);

type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

pub(super) async fn start(options: Options, progress: Progress<'_>) -> Result<Site, Error> {
    let users = users(&options.users)?;
    let is_root = rustix::process::geteuid().is_root();
    let view = is_root.then(accounts::ensure_view).transpose();
    let view = view.map_err(Error::Account)?;
    let realtimes = options.realtime.min(REALTIME.len());
    // The view-server's, the agent's, another agent's, those of further view-servers, and realtime's.
    let ports = 3 + options.replicas + u16::try_from(realtimes).unwrap_or_default();
    let ports = PortBlock::take(ports).map_err(Error::Ports)?;
    let guard = Guard::with_dir("site").map_err(Error::Guard)?;
    let mut site = Site {
        daemons: Mutex::new(BTreeMap::new()),
        options,
        users,
        view,
        ports,
        guard,
        front: None,
        pin: OnceLock::new(),
    };
    if site.options.replicas > 1 || site.options.front {
        let backends = (0..site.options.replicas).map(|replica| site.replica_address(replica));
        let front = Front::start(backends.collect()).await;
        site.front = Some(front.map_err(Error::Place)?);
    }
    site.make_dirs()?;
    if site.options.tls {
        site.make_certificate().await?;
    }
    site.write_files()?;
    progress("starting Postgres (forebay db run)");
    site.start_postgres().await?;
    progress("migrating the central database; adding the site and its users");
    site.admin(&["migrate"]).await?;
    let ticket = site.dir().join("tokens/.site");
    let out = ticket.display().to_string();
    site.admin(&["site", "enrol", SITE, "--out", &out]).await?;
    if is_root {
        chown(&ticket, Some(0), Some(0)).map_err(Error::Place)?;
    }
    for account in site.users.values() {
        site.add_user(account).await?;
    }
    progress("starting forebay-view-server");
    for replica in 0..site.options.replicas {
        site.start_replica(replica).await?;
    }
    for replica in 0..realtimes {
        progress("starting forebay-realtime");
        site.start_realtime(replica).await?;
    }
    progress("enrolling the site; starting forebay-agent");
    let enrol = ["enrol", "--token-file", &out];
    let enrol = site.service_command("forebay-agent", "agent", &enrol)?;
    let enrolled = site.run(enrol, b"").await?;
    if !enrolled.exit.success() {
        return Err(Error::Command {
            command: "forebay-agent enrol".to_owned(),
            exit: enrolled.exit,
            stderr: enrolled.stderr(),
        });
    }
    site.start_agent().await?;
    site.wait_cluster().await?;
    Ok(site)
}

fn users(names: &[String]) -> Result<BTreeMap<String, Account>, Error> {
    let own = accounts::current().map_err(Error::Account)?;
    let mut users = BTreeMap::new();
    for name in names {
        if own.uid != 0 && own.name != *name {
            return Err(Error::OneUser {
                own: own.name,
                wanted: name.clone(),
            });
        }
        let account = accounts::lookup(name).map_err(Error::Account)?;
        let account = account.ok_or_else(|| Error::NoUser(name.clone()))?;
        users.insert(name.clone(), account);
    }
    Ok(users)
}

impl Site {
    fn make_dirs(&self) -> Result<(), Error> {
        let make = || -> std::io::Result<()> {
            for name in ["etc", "log", "run", "tokens", "tls"] {
                make_dir(&self.dir().join(name))?;
            }
            if let Some(view) = &self.view {
                // Its commands write there.
                for name in ["tokens", "tls"] {
                    chown(self.dir().join(name), Some(view.uid), Some(view.gid))?;
                }
            }
            Ok(())
        };
        make().map_err(Error::Place)
    }

    /// The view-servers' certificate, and what it is known by.
    async fn make_certificate(&self) -> Result<(), Error> {
        let file = |name: &str| self.dir().join("tls").join(name).display().to_string();
        let files = [
            "--cert".to_owned(),
            file("cert.pem"),
            "--key".to_owned(),
            file("key.pem"),
        ];
        let files = files.each_ref().map(String::as_str);
        self.view_server_command(&[&["tls", "self-signed"], &files[..]].concat())
            .await?;
        let pin = self
            .view_server_command(&[&["tls", "pin"], &files[..]].concat())
            .await?;
        if let Ok(pin) = pin.trim().parse() {
            let _ = self.pin.set(pin);
        }
        Ok(())
    }

    fn write_files(&self) -> Result<(), Error> {
        let user_agent = programs::path("forebay-user-agent").map_err(Error::Program)?;
        let (view_server, agent) = (self.view_server_address(), self.agent_address());
        let environment = self.environment();
        let scheme = if self.options.tls { "https" } else { "http" };
        let reached = self.front.as_ref().map(Front::address);
        let reached = reached.unwrap_or_else(|| view_server.clone());
        let realtime = (!self.realtimes().is_empty()).then(|| self.realtime_address(0));
        let settings = Settings {
            options: &self.options,
            environment: &environment,
            dir: self.dir(),
            run_dir: &self.dir().join("run"),
            socket_dir: &self.socket_dir(),
            view_server: &view_server,
            realtime: realtime.as_deref(),
            agent: &agent,
            user_agent: &user_agent,
            agents_reach: &format!("{scheme}://{reached}"),
        };
        let make = || -> std::io::Result<()> {
            if let Some(page) = &self.options.ui_dir {
                copy_dir(page, &self.dir().join(config::UI))?;
            }
            let etc = self.dir().join("etc");
            for (replica, name) in (0..self.options.replicas).zip(VIEW_SERVERS) {
                let text = config::view_server(&Settings {
                    view_server: &self.replica_address(replica),
                    ..settings
                });
                fs::write(etc.join(format!("{name}.toml")), text)?;
            }
            for (replica, name) in self.realtimes().iter().enumerate() {
                let config = config::realtime(&settings, &self.realtime_address(replica));
                fs::write(etc.join(format!("{name}.toml")), config)?;
            }
            fs::write(etc.join("agent.toml"), config::agent(&settings))
        };
        make().map_err(Error::Place)?;
        for account in self.users.values() {
            // What the jobs leave in their owner's home goes with the installation.
            self.guard
                .remove_too(&self.state_of(&account.home))
                .map_err(Error::Guard)?;
        }
        Ok(())
    }

    /// Runs one of the operator's commands of the view-server.
    pub async fn admin(&self, args: &[&str]) -> Result<String, Error> {
        let config = self.dir().join("etc/view-server.toml");
        let config = config.display().to_string();
        self.view_server_command(&[&["--config", &config], args].concat())
            .await
    }

    async fn view_server_command(&self, args: &[&str]) -> Result<String, Error> {
        let program = programs::path("forebay-view-server").map_err(Error::Program)?;
        let command = self.as_view(Command::new(program, "/dev/null"))?;
        let output = self.run(command.args(args.iter().copied()), b"").await?;
        if output.exit.success() {
            return Ok(output.stdout());
        }
        Err(Error::Command {
            command: format!("forebay-view-server {}", args.join(" ")),
            exit: output.exit,
            stderr: output.stderr(),
        })
    }

    async fn add_user(&self, account: &Account) -> Result<(), Error> {
        let name = account.name.as_str();
        let file = self.token_file(name);
        self.admin(&["user", "add", name]).await?;
        self.admin(&[
            "token",
            "create",
            "--user",
            name,
            "--out",
            &file.display().to_string(),
        ])
        .await?;
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(account.uid), Some(account.gid)).map_err(Error::Place)?;
        }
        Ok(())
    }

    /// As the account of view-server and realtime, where they have one of their own.
    fn as_view(&self, command: Command) -> Result<Command, Error> {
        match &self.view {
            Some(view) => Ok(command.user(User::of(view).map_err(Error::Place)?)),
            None => Ok(command),
        }
    }

    pub(super) async fn start_service(
        &self,
        name: &'static str,
        command: Command,
    ) -> Result<Arc<Daemon>, Error> {
        let started = Daemon::start(&self.guard, command).await;
        let daemon = Arc::new(started.map_err(failed(format!("{name} does not start")))?);
        self.lock().insert(name, Arc::clone(&daemon));
        Ok(daemon)
    }

    /// Starts the private Postgres, also again, and waits until it takes connections.
    pub async fn start_postgres(&self) -> Result<(), Error> {
        self.start_postgres_at("postgres", &self.dir().join("db"), &self.socket_dir())
            .await
    }

    /// Starts a private Postgres, also again.
    pub(super) async fn start_postgres_at(
        &self,
        name: &'static str,
        state_dir: &Path,
        socket_dir: &Path,
    ) -> Result<(), Error> {
        let program = programs::path("forebay").map_err(Error::Program)?;
        let log = self.log_file(name);
        let ready = self.dir().join(format!("{name}.ready"));
        let _ = fs::remove_file(&ready);
        let mut command = Command::new(program, &ready)
            .stderr(&log)
            .args(["db", "run", "--state-dir", &state_dir.display().to_string()])
            .args(["--socket-dir", &socket_dir.display().to_string()])
            .args(
                self.view
                    .iter()
                    .flat_map(|view| ["--allow", view.name.as_str()]),
            )
            .env("HOME", "/")
            // Not killed: the server would leave a shared memory segment behind.
            .end_signal(rustix::process::Signal::TERM);
        command.stdout.clone_from(&ready);
        let daemon = self.start_service(name, command).await?;
        // It says so on standard output, and nothing else.
        let is_ready =
            || async { fs::read_to_string(&ready).is_ok_and(|text| text.starts_with("ready: ")) };
        let waited = daemon.wait_ready(START_DEADLINE, is_ready).await;
        waited.map_err(failed(self.with_tail("Postgres does not come up", name)))
    }

    /// Starts the view-server, also again, and waits until it is ready.
    pub async fn start_view_server(&self) -> Result<(), Error> {
        self.start_replica(0).await
    }

    /// Starts one of several view-servers, counted from 0, also again.
    pub async fn start_replica(&self, replica: u16) -> Result<(), Error> {
        let name = VIEW_SERVERS.get(usize::from(replica)).copied();
        let name = name.ok_or_else(|| Error::NotRunning(format!("view-server {replica}")))?;
        let command = self.service_command("forebay-view-server", name, &["serve"])?;
        let command = self.as_view(command)?;
        let daemon = self.start_service(name, command).await?;
        let (address, pin) = (self.replica_address(replica), self.pin());
        let waited = daemon
            .wait_ready(START_DEADLINE, || probe::is_ready(&address, pin))
            .await;
        waited.map_err(failed("the view-server does not come up"))
    }

    /// Starts a replica of realtime, the first being 0, also again, and waits until it is ready.
    pub async fn start_realtime(&self, replica: usize) -> Result<(), Error> {
        let name = self.realtimes().get(replica).copied();
        let name = name.ok_or_else(|| Error::NotRunning("that replica of realtime".to_owned()))?;
        let command = self.service_command("forebay-realtime", name, &["serve"])?;
        let daemon = self.start_service(name, self.as_view(command)?).await?;
        let address = self.realtime_address(replica);
        let waited = daemon
            .wait_ready(START_DEADLINE, || probe::is_ready(&address, None))
            .await;
        waited.map_err(failed("realtime does not come up"))
    }

    /// Starts the agent, also again, and waits until its link is up.
    pub async fn start_agent(&self) -> Result<(), Error> {
        let command = self.service_command("forebay-agent", "agent", &["serve"])?;
        let env = &self.options.agent_env;
        let command = command.envs(
            env.iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        let daemon = self.start_service("agent", command).await?;
        let address = self.agent_address();
        let waited = daemon
            .wait_ready(START_DEADLINE, || probe::is_ready(&address, None))
            .await;
        waited.map_err(failed("the agent does not come up"))
    }

    pub(super) fn service_command(
        &self,
        program: &str,
        name: &str,
        args: &[&str],
    ) -> Result<Command, Error> {
        let path = programs::path(program).map_err(Error::Program)?;
        let config = self.dir().join("etc").join(format!("{name}.toml"));
        Ok(Command::new(path, self.log_file(name))
            .args(["--config", &config.display().to_string()])
            .args(args.iter().copied()))
    }

    /// Waits until the cluster shows as live: jobs can name it.
    pub async fn wait_cluster(&self) -> Result<(), Error> {
        let Some(user) = self.users.keys().next() else {
            return Ok(());
        };
        let token = self.token(user)?;
        let agent = self.named("agent")?;
        let address = self.view_server_address();
        let is_live = || async {
            let answer = probe::get(&address, self.pin(), "/api/v1/clusters", Some(&token)).await;
            answer.is_some_and(|answer| answer.contains(r#""freshness":"live""#))
        };
        let waited = agent.wait_ready(START_DEADLINE, is_live).await;
        waited.map_err(failed("the cluster does not become live"))
    }

    /// An error's text with the end of a service's log, where that is not the file the error
    /// itself shows.
    fn with_tail(&self, what: &str, service: &str) -> String {
        let tail = crate::process::tail(&self.log_file(service));
        format!("{what}; its log ends:\n{tail}")
    }
}

/// Files and directories, readable by everybody; nothing else.
fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_dir(&entry.path(), &to)?;
        } else if kind.is_file() {
            fs::write(&to, fs::read(entry.path())?)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

/// Makes a directory that every account can enter, whatever the umask.
fn make_dir(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
