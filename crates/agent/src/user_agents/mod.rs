//! User-agents: one process for each user, which acts as that user.
//!
//! Started when first needed; found again by its socket after the agent was
//! restarted. What a user-agent answers is a user's word, not ours.

mod calls;
mod runner;
mod start;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub use calls::{CallError, Chunk};
pub use runner::UserRunner;

use forebay_wire::{JobId, ipc::Prepared};
use futures_util::{StreamExt, stream};

use crate::accounts::Account;

/// User-agents that are told to end at once.
const ENDED_AT_ONCE: usize = 16;

/// How user-agents are started.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program `forebay-user-agent`.
    pub program: PathBuf,
    /// Below it a directory for each uid holds the socket.
    pub run_dir: PathBuf,
    /// Names the directories of this installation in users' homes.
    pub environment: String,
    /// Where the scheduler's programs are; `PATH` if absent.
    pub bin_dir: Option<PathBuf>,
    /// Slurm's configuration, where it is not in its usual place.
    pub slurm_conf: Option<PathBuf>,
    /// Files that user-agents' logs go to; nowhere if absent.
    pub log_dir: Option<PathBuf>,
    /// Whether user-agents end with the agent.
    pub end_with_agent: bool,
}

/// The way to every user's user-agent; clones share it.
#[derive(Clone, Debug)]
pub struct UserAgents(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Config,
    /// One slot a uid; its lock makes one start of many requests.
    slots: Mutex<HashMap<u32, Arc<tokio::sync::Mutex<Slot>>>>,
}

#[derive(Debug, Default)]
struct Slot {
    client: Option<forebay_http::Client>,
    child: Option<tokio::process::Child>,
}

impl UserAgents {
    /// Starts nothing yet.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Shared {
            config,
            slots: Mutex::default(),
        }))
    }

    /// Where a user-agent puts a job's files, without asking it: what `prepare` answers, as the
    /// user-agent's own `place.rs` has it.
    pub fn place(&self, account: &Account, job: JobId) -> Prepared {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let directory = Path::new(&account.home)
            .join(".local/state/forebay")
            .join(&self.0.config.environment)
            .join("jobs")
            .join(job.to_string());
        Prepared {
            home: account.home.clone(),
            script: text(directory.join("script")),
            directory: text(directory),
        }
    }

    fn slot(&self, uid: u32) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(uid).or_default())
    }

    /// The account's user-agent, started if it is not there.
    async fn client(&self, account: &Account) -> Result<forebay_http::Client, CallError> {
        let slot = self.slot(account.uid);
        let mut slot = slot.lock().await;
        if let Some(client) = &slot.client {
            return Ok(client.clone());
        }
        let (client, child) = start::adopt_or_start(&self.0.config, account).await?;
        slot.client = Some(client.clone());
        slot.child = child;
        Ok(client)
    }

    /// It does not answer: the next call looks for it anew.
    async fn forget(&self, account: &Account) {
        let slot = self.slot(account.uid);
        slot.lock().await.client = None;
    }

    /// Ends all user-agents, where they are to end with the agent: those that this process
    /// started, those that it found, and those of an earlier agent that nobody has asked since.
    pub async fn end(&self) {
        if !self.0.config.end_with_agent {
            return;
        }
        let slots: Vec<_> = {
            let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.values().map(Arc::clone).collect()
        };
        stream::iter(slots)
            .for_each_concurrent(ENDED_AT_ONCE, async |slot| {
                let mut slot = slot.lock().await;
                slot.client = None;
                if let Some(mut child) = slot.child.take() {
                    start::end(&mut child).await;
                }
            })
            .await;
        let others = start::sockets(&self.0.config).unwrap_or_else(|error| {
            tracing::warn!(%error, "user-agents of an earlier agent are not looked for");
            Vec::new()
        });
        stream::iter(others)
            .for_each_concurrent(ENDED_AT_ONCE, async |(uid, socket)| {
                start::end_by_socket(uid, &socket).await;
            })
            .await;
    }
}
