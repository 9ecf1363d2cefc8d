//! Asking every owner's user-agent for its jobs, so that none waits for another's.
//!
//! An owner who is slow once is waited for a moment, and then not again: the question stays open,
//! and its answer is taken with a later look.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt,
    sync::Arc,
    time::Duration,
};

use forebay_wire::{JobId, ipc::LocalJob};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    accounts::Account,
    user_agents::{CallError, UserAgents},
};

/// How long a look waits for owners who answered last time.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a question stays open: longer than the call's own limit, with the start of a user-agent.
const OPEN_MAX: Duration = Duration::from_secs(60);
/// Owners that are asked at once: those who answered last time, and the others.
const AT_ONCE: usize = 16;

/// What one owner said.
#[derive(Debug)]
pub(super) struct Said {
    /// The jobs that were asked about; of others the answer may be too old.
    pub(super) about: HashSet<JobId>,
    /// All jobs of this owner.
    pub(super) jobs: Vec<LocalJob>,
}

type Reply = (u32, Result<Vec<LocalJob>, String>);

/// Questions that have not been answered.
pub(super) struct Questions {
    open: HashMap<u32, HashSet<JobId>>,
    replies: FuturesUnordered<BoxFuture<'static, Reply>>,
    /// Owners who did not answer last time.
    slow: HashSet<u32>,
    /// Turns of those who do, and of those who do not.
    turns: [Arc<Semaphore>; 2],
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions")
            .field("open", &self.open)
            .field("slow", &self.slow)
            .finish_non_exhaustive()
    }
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            replies: FuturesUnordered::new(),
            slow: HashSet::new(),
            turns: [(); 2].map(|()| Arc::new(Semaphore::new(AT_ONCE))),
        }
    }
}

impl Questions {
    /// Asks each owner who has not been asked yet, and gives what has been answered by uid.
    pub(super) async fn ask(
        &mut self,
        user_agents: &UserAgents,
        owners: Vec<(Account, HashSet<JobId>)>,
    ) -> HashMap<u32, Said> {
        let mut awaited = HashSet::new();
        for (account, about) in owners {
            let uid = account.uid;
            if !self.slow.contains(&uid) {
                awaited.insert(uid);
            }
            if let Entry::Vacant(open) = self.open.entry(uid) {
                open.insert(about);
                let turns = &self.turns[usize::from(self.slow.contains(&uid))];
                let question = question(user_agents.clone(), account, Arc::clone(turns));
                self.replies.push(question.boxed());
            }
        }
        let mut said = HashMap::new();
        let until = Instant::now() + PATIENCE;
        while !awaited.is_empty() {
            match tokio::time::timeout_at(until, self.replies.next()).await {
                Ok(Some((uid, reply))) => {
                    awaited.remove(&uid);
                    self.take(uid, reply, &mut said);
                }
                Ok(None) | Err(_) => break,
            }
        }
        while let Some(Some((uid, reply))) = self.replies.next().now_or_never() {
            awaited.remove(&uid);
            self.take(uid, reply, &mut said);
        }
        for uid in awaited {
            self.is_slow(uid, "no answer yet");
        }
        said
    }

    fn take(
        &mut self,
        uid: u32,
        reply: Result<Vec<LocalJob>, String>,
        said: &mut HashMap<u32, Said>,
    ) {
        let about = self.open.remove(&uid).unwrap_or_default();
        match reply {
            Ok(jobs) => {
                if self.slow.remove(&uid) {
                    tracing::info!(uid, "a user-agent answers again");
                }
                said.insert(uid, Said { about, jobs });
            }
            Err(error) => self.is_slow(uid, &error),
        }
    }

    fn is_slow(&mut self, uid: u32, error: &str) {
        if self.slow.insert(uid) {
            tracing::warn!(uid, error, "a user-agent does not say how its jobs are");
        }
    }
}

async fn question(user_agents: UserAgents, account: Account, turns: Arc<Semaphore>) -> Reply {
    // Never closed.
    let _turn = turns.acquire().await;
    let asked = tokio::time::timeout(OPEN_MAX, user_agents.local_jobs(&account)).await;
    let reply = match asked {
        Ok(Ok(jobs)) => Ok(jobs.jobs),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("no answer in a minute".to_owned()),
    };
    (account.uid, reply)
}

fn chain(error: &CallError) -> String {
    forebay_service::logs::chain(error)
}
