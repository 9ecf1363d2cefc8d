//! A process that is meant to stay.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Command, Exit};
use crate::guard::{self, Guard};
use crate::procfs;

/// How often readiness is asked for.
const POLL: Duration = Duration::from_millis(20);
/// How much of a log an error shows.
const TAIL_BYTES: u64 = 4096;

/// What can go wrong with a process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started, or its guard is gone.
    #[error("cannot start or reach {program}")]
    Guard {
        /// The program's name.
        program: String,
        /// What the guard said.
        #[source]
        source: guard::Error,
    },
    /// It ended before it was ready.
    #[error("{program} ended with {exit} before it was ready; its log ends:\n{tail}")]
    Ended {
        /// The program's name.
        program: String,
        /// How.
        exit: Exit,
        /// The end of its log.
        tail: String,
    },
    /// It was not ready, or did not end, in time.
    #[error("{program} took longer than {seconds} s; its log ends:\n{tail}")]
    TooSlow {
        /// The program's name.
        program: String,
        /// How long it was given.
        seconds: u64,
        /// The end of its log.
        tail: String,
    },
    /// A file of the process could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Memory of one process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Resident, with pages shared by `n` processes counted as `1/n`.
    pub pss: u64,
}

/// A started process. When dropped it gets the signal of [`Command::end_signal`]; without one it
/// is killed with its session.
#[derive(Debug)]
pub struct Daemon {
    guard: Arc<Guard>,
    id: u64,
    pid: i32,
    exit: watch::Receiver<Option<Exit>>,
    name: String,
    log: PathBuf,
    end_signal: Option<Signal>,
}

impl Daemon {
    /// Starts it below the guard.
    pub async fn start(guard: &Arc<Guard>, command: Command) -> Result<Self, Error> {
        let name = command
            .program
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into());
        let log = command.stdout.clone();
        let end_signal = command.end_signal.and_then(Signal::from_named_raw);
        let started = guard.start(command).await;
        let started = started.map_err(|source| Error::Guard {
            program: name.clone(),
            source,
        })?;
        Ok(Self {
            guard: Arc::clone(guard),
            id: started.id,
            pid: started.pid,
            exit: started.exit,
            name,
            log,
            end_signal,
        })
    }

    /// The pid, also the process group's and the session's id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The program's file name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last few kilobytes of its output.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.exit().is_none() && self.exit.has_changed().is_ok()
    }

    /// Waits until it ends by itself.
    pub async fn wait(&self) -> Result<Exit, Error> {
        let mut exit = self.exit.clone();
        let ended = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|exit| *exit);
        ended.ok_or_else(|| self.failed(guard::Error::Gone))
    }

    /// Asks `check` until it says true. The error holds the end of the log.
    pub async fn wait_ready<F, A>(&self, deadline: Duration, mut check: F) -> Result<(), Error>
    where
        F: FnMut() -> A,
        A: Future<Output = bool>,
    {
        let end = Instant::now() + deadline;
        loop {
            if let Some(exit) = self.exit() {
                return Err(Error::Ended {
                    program: self.name.clone(),
                    exit,
                    tail: self.log_tail(),
                });
            }
            match timeout(end.saturating_duration_since(Instant::now()), check()).await {
                Ok(true) => return Ok(()),
                Ok(false) if Instant::now() < end => sleep(POLL).await,
                Ok(false) | Err(_) => return Err(self.too_slow(deadline)),
            }
        }
    }

    /// TERM, and after the deadline KILL to its whole session.
    pub async fn stop(&self, deadline: Duration) -> Result<Exit, Error> {
        self.stop_with(Signal::TERM, deadline).await
    }

    /// The same with another first signal.
    pub async fn stop_with(&self, signal: Signal, deadline: Duration) -> Result<Exit, Error> {
        if self.exit().is_none() {
            self.signal(signal).await?;
            if let Ok(exit) = timeout(deadline, self.wait()).await {
                return exit;
            }
            tracing::warn!(
                program = self.name,
                pid = self.pid,
                "killed: it did not stop when asked"
            );
            self.send(Signal::KILL, true).await?;
        }
        self.wait().await
    }

    /// KILL to this process alone, as a crash would; waits until it is gone. What it started goes
    /// on, until the guard ends.
    pub async fn kill9(&self) -> Result<Exit, Error> {
        self.signal(Signal::KILL).await?;
        self.wait().await
    }

    /// Stops it from running (SIGSTOP), as a machine that hangs would.
    pub async fn pause(&self) -> Result<(), Error> {
        self.signal(Signal::STOP).await
    }

    /// Lets it run again.
    pub async fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT).await
    }

    /// Sends any signal to this process; nothing if it has ended.
    pub async fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.send(signal, false).await
    }

    /// What it holds now; `None` when it has ended.
    pub fn memory(&self) -> Option<Memory> {
        procfs::memory(self.pid).map(|(rss, pss)| Memory { rss, pss })
    }

    async fn send(&self, signal: Signal, session: bool) -> Result<(), Error> {
        let sent = self.guard.signal(self.id, signal, session).await;
        sent.map(drop).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: guard::Error) -> Error {
        Error::Guard {
            program: self.name.clone(),
            source,
        }
    }

    fn too_slow(&self, deadline: Duration) -> Error {
        Error::TooSlow {
            program: self.name.clone(),
            seconds: deadline.as_secs(),
            tail: self.log_tail(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        match self.end_signal {
            Some(signal) => self.guard.signal_now(self.id, signal, false),
            None => self.guard.signal_now(self.id, Signal::KILL, true),
        }
    }
}

/// The end of a file, as text.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_or_else(
        |error| format!("({error})"),
        |bytes| String::from_utf8_lossy(&bytes).trim_end().to_owned(),
    )
}
