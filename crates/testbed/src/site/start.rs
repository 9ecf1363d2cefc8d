//! Bringing an installation up, in the order of an operator's guide.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::config::{self, Settings};
use super::{Error, Options, SITE, Site, failed, probe};
use crate::accounts::{self, Account};
use crate::guard::Guard;
use crate::ports::PortBlock;
use crate::process::{Command, Daemon, User};
use crate::programs;

/// `initdb` on a busy machine takes some seconds; everything else is quick.
const START_DEADLINE: Duration = Duration::from_secs(60);

type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

pub(super) async fn start(options: Options, progress: Progress<'_>) -> Result<Site, Error> {
    let users = users(&options.users)?;
    let is_root = rustix::process::geteuid().is_root();
    let view = is_root.then(accounts::ensure_view).transpose();
    let view = view.map_err(Error::Account)?;
    let ports = PortBlock::take(2).map_err(Error::Ports)?;
    let guard = Guard::with_dir("site").map_err(Error::Guard)?;
    let site = Site {
        daemons: Mutex::new(BTreeMap::new()),
        options,
        users,
        view,
        ports,
        guard,
    };
    site.write_files()?;
    progress("starting Postgres (forebay db run)");
    site.start_postgres().await?;
    progress("migrating the central database; adding the site and its users");
    site.admin(&["migrate"]).await?;
    let token = site.dir().join("tokens/.site");
    site.admin(&[
        "site",
        "add",
        SITE,
        "--token-file",
        &token.display().to_string(),
    ])
    .await?;
    if is_root {
        chown(&token, Some(0), Some(0)).map_err(Error::Place)?;
    }
    for account in site.users.values() {
        site.add_user(account).await?;
    }
    progress("starting forebay-view-server");
    site.start_view_server().await?;
    progress("starting forebay-agent");
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
    fn write_files(&self) -> Result<(), Error> {
        let user_agent = programs::path("forebay-user-agent").map_err(Error::Program)?;
        let (view_server, agent) = (self.view_server_address(), self.agent_address());
        let environment = self.environment();
        let settings = Settings {
            options: &self.options,
            environment: &environment,
            dir: self.dir(),
            view_server: &view_server,
            agent: &agent,
            user_agent: &user_agent,
        };
        let make = || -> std::io::Result<()> {
            for name in ["etc", "log", "run", "tokens"] {
                make_dir(&self.dir().join(name))?;
            }
            if let Some(view) = &self.view {
                // Its commands write new tokens there.
                chown(self.dir().join("tokens"), Some(view.uid), Some(view.gid))?;
            }
            let etc = self.dir().join("etc");
            fs::write(etc.join("view-server.toml"), config::view_server(&settings))?;
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
    pub(super) async fn admin(&self, args: &[&str]) -> Result<(), Error> {
        let program = programs::path("forebay-view-server").map_err(Error::Program)?;
        let config = self
            .dir()
            .join("etc/view-server.toml")
            .display()
            .to_string();
        let command = Command::new(program, "/dev/null").args(["--config", &config]);
        let command = self.as_view(command)?;
        let output = self.run(command.args(args.iter().copied()), b"").await?;
        if output.exit.success() {
            return Ok(());
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

    /// As the account of the view-server, where it has one of its own.
    fn as_view(&self, command: Command) -> Result<Command, Error> {
        match &self.view {
            Some(view) => Ok(command.user(User::of(view).map_err(Error::Place)?)),
            None => Ok(command),
        }
    }

    async fn start_service(
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
        let program = programs::path("forebay").map_err(Error::Program)?;
        let log = self.log_file("postgres");
        let ready = self.dir().join("postgres.ready");
        let _ = fs::remove_file(&ready);
        let mut command = Command::new(program, &ready)
            .stderr(&log)
            .args([
                "db",
                "run",
                "--state-dir",
                &self.dir().join("db").display().to_string(),
            ])
            .args(["--socket-dir", &self.socket_dir().display().to_string()])
            .args(
                self.view
                    .iter()
                    .flat_map(|view| ["--allow", view.name.as_str()]),
            )
            .env("HOME", "/")
            // Not killed: the server would leave a shared memory segment behind.
            .end_signal(rustix::process::Signal::TERM);
        command.stdout.clone_from(&ready);
        let daemon = self.start_service("postgres", command).await?;
        // It says so on standard output, and nothing else.
        let is_ready =
            || async { fs::read_to_string(&ready).is_ok_and(|text| text.starts_with("ready: ")) };
        let waited = daemon.wait_ready(START_DEADLINE, is_ready).await;
        waited.map_err(failed(
            self.with_tail("Postgres does not come up", "postgres"),
        ))
    }

    /// Starts the view-server, also again, and waits until it is ready.
    pub async fn start_view_server(&self) -> Result<(), Error> {
        let command = self.service_command("forebay-view-server", "view-server", &["serve"])?;
        let command = self.as_view(command)?;
        let daemon = self.start_service("view-server", command).await?;
        let address = self.view_server_address();
        let waited = daemon
            .wait_ready(START_DEADLINE, || probe::is_ready(&address))
            .await;
        waited.map_err(failed("the view-server does not come up"))
    }

    /// Starts the agent, also again, and waits until its link is up.
    pub async fn start_agent(&self) -> Result<(), Error> {
        let command = self.service_command("forebay-agent", "agent", &["serve"])?;
        let daemon = self.start_service("agent", command).await?;
        let address = self.agent_address();
        let waited = daemon
            .wait_ready(START_DEADLINE, || probe::is_ready(&address))
            .await;
        waited.map_err(failed("the agent does not come up"))
    }

    fn service_command(&self, program: &str, name: &str, args: &[&str]) -> Result<Command, Error> {
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
            let (ok, answer) = probe::get(&address, "/api/v1/clusters", Some(&token)).await;
            ok && answer.contains(r#""freshness":"live""#)
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

/// Makes a directory that every account can enter, whatever the umask.
fn make_dir(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
