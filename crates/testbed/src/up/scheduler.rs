//! What runs the jobs: a real Slurm, or processes on this host.

use super::Error;
use super::progress::Progress;
use crate::site;
use crate::slurm::{Options, Slurm};

/// What was asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Slurm,
    Local,
}

/// What will be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    Slurm {
        /// Whether processes on this host are not good enough.
        is_required: bool,
    },
    Local,
}

/// Processes at once without Slurm.
const SLOTS: u32 = 4;

/// What runs.
pub(super) enum Running {
    Slurm(Box<Slurm>),
    Local,
}

impl Running {
    pub(super) fn of_site(&self) -> site::Scheduler {
        match self {
            Self::Slurm(slurm) => site::Scheduler::slurm(slurm),
            Self::Local => site::Scheduler::Local { slots: SLOTS },
        }
    }

    pub(super) async fn stop(self) {
        if let Self::Slurm(slurm) = self {
            // It cannot fail: what does not stop is ended by the guard.
            let _ = slurm.stop().await;
        }
    }
}

/// Starts what was chosen. A Slurm that does not come up with accounting is tried without, and
/// then given up for plain processes, unless it is required.
pub(super) async fn start(
    choice: Choice,
    users: &[String],
    progress: &Progress,
) -> Result<Running, Error> {
    let Choice::Slurm { is_required } = choice else {
        progress.say("jobs run as plain processes on this host (integration: local)");
        return Ok(Running::Local);
    };
    let mut reason = String::new();
    for accounting in [true, false] {
        let with = if accounting { "with" } else { "without" };
        progress.say(&format!("starting Slurm on loopback, {with} accounting"));
        let options = Options {
            users: users.to_vec(),
            accounting,
            // Or each job would take a node of its own.
            extra_conf: "DefMemPerCPU=256\n".to_owned(),
            ..Options::default()
        };
        match Slurm::start(options).await {
            Ok(slurm) => {
                let (major, minor) = slurm.version();
                let nodes = slurm.options().nodes;
                progress.say(&format!(
                    "Slurm {major}.{minor:02} runs, {nodes} nodes are idle"
                ));
                return Ok(Running::Slurm(Box::new(slurm)));
            }
            Err(error) => {
                progress.failed(&error);
                reason = error.to_string();
            }
        }
    }
    if is_required {
        return Err(Error::NoSlurm(reason));
    }
    progress.say("Slurm does not run here; plain processes (integration: local) instead");
    Ok(Running::Local)
}
