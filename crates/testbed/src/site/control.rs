//! Stopping, breaking and mending an installation that runs.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Error, REALTIME, Site, VIEW_SERVERS, failed};
use crate::process::{Daemon, Exit};
use crate::procfs;

/// How long a service has to end by itself: beyond its own limit for draining.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

impl Site {
    /// Stops everything in order: the agent, which ends its user-agents, then realtime, the
    /// view-server and Postgres; then whatever jobs it left running on this host, and removes the directory.
    /// Jobs in a Slurm are the Slurm's.
    pub async fn stop(self) -> Result<(), Error> {
        let mut result = Ok(());
        let order = ["agent-2", "agent"]
            .into_iter()
            .chain(REALTIME)
            .chain(VIEW_SERVERS);
        let running = |name: &&str| self.lock().contains_key(name);
        let order: Vec<_> = order
            .chain(["postgres-2", "postgres"])
            .filter(running)
            .collect();
        for name in order {
            let stopped = self.stop_service(name).await.map(drop);
            result = result.and(stopped);
        }
        self.guard.end().await;
        result
    }

    /// Stops a service in order: `postgres`, `view-server`, `agent` or one of [`super::REALTIME`].
    pub async fn stop_service(&self, name: &'static str) -> Result<Exit, Error> {
        let stopped = self.named(name)?.stop(STOP_DEADLINE).await;
        stopped.map_err(failed(format!("{name} does not stop")))
    }

    /// Kills a service as a crash would; what it started goes on.
    pub async fn kill9(&self, name: &'static str) -> Result<Exit, Error> {
        let killed = self.named(name)?.kill9().await;
        killed.map_err(failed(format!("{name} cannot be killed")))
    }

    /// A service by name.
    pub fn named(&self, name: &str) -> Result<Arc<Daemon>, Error> {
        let found = self.lock().get(name).cloned();
        found.ok_or_else(|| Error::NotRunning(name.to_owned()))
    }

    /// Kills Postgres' server as a crash would; its supervisor starts it again.
    pub fn kill9_postgres_server(&self) -> Result<(), Error> {
        let pid = self.postgres_server()?;
        kill_process(pid, Signal::KILL).map_err(|error| Error::Place(error.into()))
    }

    /// The pid of Postgres' server (postmaster), as it wrote it down.
    pub fn postgres_server(&self) -> Result<Pid, Error> {
        let path = self.dir().join("db/cluster/data/postmaster.pid");
        let text = fs::read_to_string(path).map_err(Error::Place)?;
        let pid = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        let pid = pid.and_then(Pid::from_raw);
        pid.ok_or_else(|| Error::NotRunning("Postgres' server".to_owned()))
    }

    /// The pids of this installation's user-agents with the uids they run as.
    pub fn user_agents(&self) -> Vec<(i32, u32)> {
        let environment = self.environment();
        let is_ours = |pid: i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let is_user_agent = words
                .first()
                .is_some_and(|word| word.ends_with(b"/forebay-user-agent"));
            let names_us = words
                .windows(2)
                .any(|pair| pair == [b"--environment".as_slice(), environment.as_bytes()]);
            is_user_agent && words.get(1) == Some(&b"serve".as_slice()) && names_us
        };
        let alive = procfs::all().into_iter().filter(|stat| stat.state != 'Z');
        let ours = alive.map(|stat| stat.pid).filter(|pid| is_ours(*pid));
        ours.filter_map(|pid| Some((pid, uid_of(pid)?))).collect()
    }

    /// Kills a user's user-agent as a crash would; its jobs go on. Says how many there were.
    pub fn kill9_user_agent(&self, user: &str) -> Result<usize, Error> {
        let uid = self.account(user)?.uid;
        let pids = self
            .user_agents()
            .into_iter()
            .filter(|(_, owner)| *owner == uid);
        let killed = pids.filter_map(|(pid, _)| Pid::from_raw(pid));
        Ok(killed
            .filter(|pid| kill_process(*pid, Signal::KILL).is_ok())
            .count())
    }
}

/// The effective uid; the owner of a process's files may be root though it is not.
fn uid_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
