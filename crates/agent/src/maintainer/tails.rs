//! Keeps the end of each log centrally, since files may be gone tomorrow.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use forebay_http::ClientError;
use forebay_service::CancellationToken;
use forebay_wire::{Code, api::LogStream, link::Report};
use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{Maintainer, lock};
use crate::{
    accounts::Account,
    job::Tracked,
    store::{Change, StoreError},
    user_agents::CallError,
};

/// Bytes of a log that are kept.
const TAIL_BYTES: u64 = 256 << 10;
/// What a tail may take as JSON, where a control character takes six bytes: a
/// report must fit into one body.
const TAIL_JSON_BYTES: usize = 600 << 10;
/// How long a tail waits for a quiet moment.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// Tasks of an array whose logs are kept; the files have the others'.
const TASKS_MAX: usize = 64;
/// Owners whose logs are read at once: one that hangs holds up nobody else.
const OWNERS_MAX: usize = 16;
/// Jobs of an owner that are read in one go.
const JOBS_MAX: usize = 32;
/// How often to look for ends that were put off.
const LOOK_ANYWAY: Duration = Duration::from_secs(5);
/// How long an owner whose logs cannot be read is left in peace at least, and in all.
const PUT_OFF_MIN: Duration = Duration::from_secs(10);
const PUT_OFF_MAX: Duration = Duration::from_secs(24 * 3600);
/// Before the site database is tried again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Why an owner's logs are not read on now.
enum Halt {
    /// The owner's user-agent, or account, is not to be had.
    Owner(String),
    /// The site database did not do its part.
    Store(StoreError),
}

impl Maintainer {
    /// Which ends are wanted is in the site database, written with the job's
    /// own end; a nudge only says to look.
    pub(super) async fn tails(&self, stop: CancellationToken) {
        let cluster = self.cluster();
        let mut busy: HashSet<String> = HashSet::new();
        let mut workers = FuturesUnordered::new();
        loop {
            let room = OWNERS_MAX - busy.len();
            if room > 0 {
                let store = &self.0.parts.store;
                match store.owners_of_tails(cluster, &busy, room).await {
                    Ok(owners) => {
                        for owner in owners {
                            busy.insert(owner.clone());
                            workers.push(self.tails_of(owner, &stop));
                        }
                    }
                    Err(error) => {
                        let error = forebay_service::logs::chain(&error);
                        tracing::warn!(%cluster, error, "the ends of logs wait");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Some(owner) = workers.next(), if !workers.is_empty() => {
                    busy.remove(&owner);
                }
                () = self.0.tail.nudged() => {}
                () = tokio::time::sleep(LOOK_ANYWAY) => {}
            }
        }
    }

    /// Some of an owner's; gives the owner back.
    async fn tails_of(&self, owner: String, stop: &CancellationToken) -> String {
        self.quiet(stop).await;
        let (store, cluster) = (&self.0.parts.store, self.cluster());
        let halted = match self.read_tails(&owner).await {
            Ok(()) => return owner,
            Err(Halt::Store(error)) => Err(error),
            Err(Halt::Owner(reason)) => {
                tracing::warn!(%cluster, owner, reason, "the ends of logs wait for their owner's user-agent");
                store
                    .put_off_tails(cluster, &owner, PUT_OFF_MIN, PUT_OFF_MAX)
                    .await
            }
        };
        if let Err(error) = halted {
            let error = forebay_service::logs::chain(&error);
            tracing::warn!(%cluster, owner, error, "the ends of logs wait");
            tokio::time::sleep(STORE_RETRY).await;
        }
        owner
    }

    async fn read_tails(&self, owner: &str) -> Result<(), Halt> {
        let store = &self.0.parts.store;
        let jobs = store.tails_of(self.cluster(), owner, JOBS_MAX).await;
        let jobs = jobs.map_err(Halt::Store)?;
        let account = match self.0.parts.accounts.resolve(owner).await {
            Ok(account) => Some(account),
            Err(error) if error.is_temporary() => return Err(Halt::Owner(error.to_string())),
            // There is nobody to read them.
            Err(_) => None,
        };
        for job in jobs {
            let mut last = Vec::new();
            if let Some(account) = &account {
                let tasks: Vec<Option<u32>> = if job.told.tasks.is_empty() {
                    vec![None]
                } else {
                    let tasks = job.told.tasks.keys().take(TASKS_MAX);
                    tasks.map(|task| Some(*task)).collect()
                };
                for task in tasks {
                    // One task's at a time in memory; repeated, they do no harm.
                    if !last.is_empty() {
                        let kept = Change::report(std::mem::take(&mut last));
                        store.write(vec![kept]).await.map_err(Halt::Store)?;
                    }
                    for stream in [LogStream::Stdout, LogStream::Stderr] {
                        last.extend(self.tail(&job, account, stream, task).await?);
                    }
                }
            }
            let kept = store.write(vec![Change::tail(job.job, last)]).await;
            match kept {
                // A text that the database will never take.
                Err(error) if !error.is_unavailable() => {
                    let error = forebay_service::logs::chain(&error);
                    tracing::error!(job = %job.job, error, "the end of a log is not kept");
                    let none = vec![Change::tail(job.job, Vec::new())];
                    store.write(none).await.map_err(Halt::Store)?;
                }
                kept => kept.map_err(Halt::Store)?,
            }
        }
        Ok(())
    }

    /// Waits, within reason, until no job is on its way to the scheduler: the
    /// files will still be there, and people wait for the jobs.
    async fn quiet(&self, stop: &CancellationToken) {
        let until = Instant::now() + QUIET_MAX;
        while !lock(&self.0.in_hand).is_empty() && Instant::now() < until && !stop.is_cancelled() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The end of one log; `None` where there is none that its owner may read.
    async fn tail(
        &self,
        job: &Tracked,
        account: &Account,
        stream: LogStream,
        task: Option<u32>,
    ) -> Result<Option<Report>, Halt> {
        let integration = &self.0.parts.integration;
        let Some(path) = integration.log_path(job, stream, task) else {
            return Ok(None);
        };
        // Both outputs in one file: kept once.
        if stream == LogStream::Stderr
            && integration.log_path(job, LogStream::Stdout, task).as_ref() == Some(&path)
        {
            return Ok(None);
        }
        let user_agents = &self.0.parts.user_agents;
        match user_agents.log_tail(account, &path, TAIL_BYTES).await {
            Ok(Some((offset, bytes))) if !bytes.is_empty() => {
                let (offset, text) = fitting(offset, &bytes);
                Ok(Some(Report::LogTail {
                    job: job.job,
                    stream,
                    task,
                    offset,
                    text,
                }))
            }
            Ok(_) => Ok(None),
            Err(error) if is_an_answer(&error) => {
                tracing::debug!(job = %job.job, path, %error, "no log's end to keep");
                Ok(None)
            }
            Err(error) => Err(Halt::Owner(forebay_service::logs::chain(&error))),
        }
    }
}

/// Whether asking again would be answered the same.
fn is_an_answer(error: &CallError) -> bool {
    let CallError::Call {
        source: ClientError::Problem(problem),
        ..
    } = error
    else {
        return false;
    };
    !matches!(
        problem.code,
        Code::Busy | Code::Deadline | Code::Unavailable | Code::Internal
    )
}

/// The tail as text, shortened from the front until it fits, and where it begins.
fn fitting(mut offset: u64, mut bytes: &[u8]) -> (u64, String) {
    loop {
        // NUL is valid UTF-8 that databases refuse in text.
        let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
        let size = serde_json::to_string(&text).map_or(usize::MAX, |json| json.len());
        if size <= TAIL_JSON_BYTES || bytes.is_empty() {
            return (offset, text);
        }
        let cut = bytes.len().div_ceil(2);
        offset += cut as u64;
        bytes = &bytes[cut..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_fits_into_a_report_whatever_was_printed() {
        assert_eq!(fitting(7, b"done\n"), (7, "done\n".to_owned()));
        for byte in [0x01, 0x00, 0xff, b'"'] {
            let printed = vec![byte; usize::try_from(TAIL_BYTES).expect("small")];
            let (offset, text) = fitting(100, &printed);
            let json = serde_json::to_string(&text).expect("text");
            assert!(json.len() <= TAIL_JSON_BYTES, "{byte}");
            assert!(!text.contains('\0'));
            assert_eq!(
                offset - 100 + text.chars().count() as u64,
                TAIL_BYTES,
                "{byte}"
            );
        }
    }
}
