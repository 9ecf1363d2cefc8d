//! Stopping, breaking and mending a cluster that runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::start::{failed, system_account};
use super::{DEADLINE, Error, Slurm};
use crate::process::{Daemon, Exit};

/// How long a daemon has to end by itself.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// How long jobs have to end once they are cancelled.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

impl Slurm {
    /// Cancels all jobs, stops the daemons in order, ends whatever is left and removes the
    /// directory.
    pub async fn stop(self) -> Result<(), Error> {
        self.drain().await;
        let daemons: Vec<(String, Arc<Daemon>)> = self
            .lock()
            .iter()
            .map(|(name, daemon)| (name.clone(), Arc::clone(daemon)))
            .collect();
        let is_first = |name: &str| name == "slurmrestd" || name.starts_with("slurmd.");
        stop_all(daemons.iter().filter(|(name, _)| is_first(name))).await;
        for wanted in ["slurmctld", "slurmdbd"] {
            stop_all(daemons.iter().filter(|(name, _)| name == wanted)).await;
        }
        // munged and MariaDB keep nothing that anybody will read.
        self.guard.end().await;
        Ok(())
    }

    /// Cancels all jobs and waits until no step runs: a step would outlive its slurmd. Without a
    /// controller that answers the guard ends what is left.
    async fn drain(&self) {
        let Some(controller) = self
            .daemon("slurmctld")
            .filter(|daemon| daemon.is_running())
        else {
            return;
        };
        // It may be paused.
        let _ = controller.resume().await;
        let drain = async {
            // One state each: of several, scancel takes the last.
            for state in ["--state=PENDING", "--state=RUNNING", "--state=SUSPENDED"] {
                self.text("scancel", &["--full", state], None).await?;
            }
            while !self
                .text("squeue", &["-h", "-t", "R,CG,S"], None)
                .await?
                .is_empty()
            {
                sleep(Duration::from_millis(50)).await;
            }
            Ok::<(), Error>(())
        };
        if !matches!(timeout(DRAIN_DEADLINE, drain).await, Ok(Ok(()))) {
            tracing::warn!(cluster = self.cluster_name, "jobs were not drained");
        }
    }

    /// Waits until no job is pending, running or ending and all nodes are idle.
    pub async fn wait_idle(&self, deadline: Duration) -> Result<(), Error> {
        let end = Instant::now() + deadline;
        loop {
            let jobs = self.text("squeue", &["-h", "-o", "%i %T"], None).await;
            let nodes = self
                .text("sinfo", &["-hN", "-p", "debug", "-o", "%T"], None)
                .await;
            let is_idle = jobs.as_ref().is_ok_and(String::is_empty)
                && nodes
                    .as_ref()
                    .is_ok_and(|text| text.lines().all(|state| state == "idle"));
            if is_idle {
                return Ok(());
            }
            if Instant::now() > end {
                let what = format!("becoming idle (jobs {jobs:?}, nodes {nodes:?})");
                return Err(Error::TooSlow { what, deadline });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the controller, also again after it was stopped or killed; it finds its saved state.
    /// Waits until it answers.
    pub async fn start_controller(&self) -> Result<(), Error> {
        let slurm = system_account("slurm")?;
        let command = self
            .daemon_command("slurmctld", "slurmctld", Some(&slurm))?
            .arg("-D");
        let daemon = self.start_daemon("slurmctld", command).await?;
        let ask = ["ping"];
        let is_ready = || self.succeeds("scontrol", &ask);
        daemon
            .wait_ready(DEADLINE, is_ready)
            .await
            .map_err(failed("slurmctld does not come up"))
    }

    /// Stops the controller, which saves its state first. Jobs go on.
    pub async fn stop_controller(&self) -> Result<Exit, Error> {
        self.named("slurmctld")?
            .stop(STOP_DEADLINE)
            .await
            .map_err(failed("slurmctld does not stop"))
    }

    /// Kills the controller as a crash would: it can lose jobs it has just acknowledged.
    pub async fn kill9_controller(&self) -> Result<Exit, Error> {
        self.named("slurmctld")?
            .kill9()
            .await
            .map_err(failed("slurmctld cannot be killed"))
    }

    /// Makes the controller hang: it accepts connections and answers none.
    pub async fn pause_controller(&self) -> Result<(), Error> {
        self.named("slurmctld")?
            .pause()
            .await
            .map_err(failed("slurmctld cannot be paused"))
    }

    /// Lets a paused controller go on.
    pub async fn resume_controller(&self) -> Result<(), Error> {
        self.named("slurmctld")?
            .resume()
            .await
            .map_err(failed("slurmctld cannot be resumed"))
    }

    /// Starts the slurmd of node `n<number>`, counted from 1.
    pub async fn start_node(&self, number: u16) -> Result<(), Error> {
        let name = format!("slurmd.n{number}");
        let spool = self.layout.spool.join(format!("n{number}"));
        super::layout::make_dir(&spool, 0o755, None).map_err(Error::Place)?;
        let command =
            self.daemon_command(&name, "slurmd", None)?
                .args(["-D", "-N", &format!("n{number}")]);
        self.start_daemon(&name, command).await.map(drop)
    }

    /// Kills the slurmd of a node as a crash would; its steps go on.
    pub async fn kill9_node(&self, number: u16) -> Result<Exit, Error> {
        let daemon = self.named(&format!("slurmd.n{number}"))?;
        daemon
            .kill9()
            .await
            .map_err(failed("slurmd cannot be killed"))
    }

    pub(super) fn named(&self, name: &str) -> Result<Arc<Daemon>, Error> {
        self.daemon(name)
            .ok_or_else(|| Error::Missing(format!("this cluster has no {name}")))
    }
}

/// Stops daemons side by side; those that do not end are killed.
async fn stop_all<'a>(daemons: impl Iterator<Item = &'a (String, Arc<Daemon>)>) {
    let mut stopping = JoinSet::new();
    for (_, daemon) in daemons {
        let daemon = Arc::clone(daemon);
        stopping.spawn(async move { daemon.stop(STOP_DEADLINE).await });
    }
    for result in stopping.join_all().await {
        if let Err(error) = result {
            tracing::warn!(%error, "a daemon did not stop");
        }
    }
}
