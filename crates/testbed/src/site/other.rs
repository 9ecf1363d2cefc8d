//! A second agent that claims to be the same site.

use std::fs;
use std::sync::Arc;

use super::start::START_DEADLINE;
use super::{Error, Site, config, failed, probe};
use crate::process::{Command, Daemon, Output};
use crate::programs;

impl Site {
    /// Runs another agent with the same configuration, and so the same database, to its end.
    pub async fn run_twin_agent(&self) -> Result<Output, Error> {
        let program = programs::path("forebay-agent").map_err(Error::Program)?;
        let config = self.dir().join("etc/agent.toml").display().to_string();
        let command = Command::new(program, "/dev/null");
        self.run(command.args(["--config", &config, "serve"]), b"")
            .await
    }

    /// Starts another agent with the same enrolment and a database of its own, and waits until
    /// its link is up. Its log is `agent-2`'s.
    pub async fn start_other_agent(&self) -> Result<Arc<Daemon>, Error> {
        let dir = self.dir().join("other");
        fs::create_dir_all(&dir).map_err(Error::Place)?;
        let socket_dir = self.dir().join("s2");
        self.start_postgres_at("postgres-2", &dir.join("db"), &socket_dir)
            .await?;
        let address = format!("127.0.0.1:{}", self.ports.get(2).unwrap_or_default());
        let user_agent = programs::path("forebay-user-agent").map_err(Error::Program)?;
        let environment = format!("{}-2", self.environment());
        for account in self.users.values() {
            let state = account.home.join(".local/state/forebay").join(&environment);
            self.guard.remove_too(&state).map_err(Error::Guard)?;
        }
        let text = config::agent(&config::Settings {
            options: &self.options,
            environment: &environment,
            dir: self.dir(),
            run_dir: &dir.join("run"),
            socket_dir: &socket_dir,
            realtime: None,
            view_server: "",
            agent: &address,
            user_agent: &user_agent,
            agents_reach: "",
        });
        fs::write(self.dir().join("etc/agent-2.toml"), text).map_err(Error::Place)?;
        let command = self.service_command("forebay-agent", "agent-2", &["serve"])?;
        let daemon = self.start_service("agent-2", command).await?;
        let waited = daemon
            .wait_ready(START_DEADLINE, || probe::is_ready(&address, None))
            .await;
        waited.map_err(failed("the other agent does not come up"))?;
        Ok(daemon)
    }
}
