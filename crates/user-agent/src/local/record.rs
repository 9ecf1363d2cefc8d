//! What is on disk about one process of the `local` integration.
//!
//! | file | written by | says |
//! |---|---|---|
//! | `lock` | | held (`flock`) by whoever is responsible: the starting user-agent, then the shim |
//! | `spec.json` | user-agent | what to run; never changed |
//! | `doorbell` | either | a FIFO: a byte in it makes the shim look at the next two |
//! | `release`, `cancel` | user-agent | empty; that it is there is the message |
//! | `started.json` | shim | written before the script begins |
//! | `status.json` | shim | how it ended |
//! | `gone.json` | user-agent | when it was first seen without shim and end |
//! | `shim.log` | shim | what it complained of |
//!
//! Files are the truth, the doorbell only saves waiting, so every step can be repeated after a
//! crash of either side. Who holds no lock is dead: a status is written before the lock is let go.

use std::collections::BTreeMap;
use std::fs::File;

use forebay_wire::{
    JobId, Timestamp,
    api::Exit,
    ipc::{LocalJob, LocalPhase},
};
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::dir::{Dir, DirError};

/// Ours alone, for reading and writing.
pub(crate) const OURS: Mode = Mode::RUSR.union(Mode::WUSR);
/// A spec holds an environment of 1 MiB at most, which JSON can make six times as long.
const SPEC_BYTES: u64 = 8 * 1024 * 1024;
/// The rest are short.
const SHORT_BYTES: u64 = 4 * 1024;

pub(crate) const LOCK: &str = "lock";
pub(crate) const DOORBELL: &str = "doorbell";
pub(crate) const RELEASE: &str = "release";
pub(crate) const CANCEL: &str = "cancel";
pub(crate) const SHIM_LOG: &str = "shim.log";
const SPEC: &str = "spec.json";
const STARTED: &str = "started.json";
const STATUS: &str = "status.json";
const GONE: &str = "gone.json";

/// All of them, for removal; the spec last, without which there is no record.
const FILES: [&str; 9] = [
    RELEASE, CANCEL, STARTED, STATUS, GONE, SHIM_LOG, DOORBELL, LOCK, SPEC,
];

/// What a shim runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) job: JobId,
    pub(crate) marker: String,
    pub(crate) submitted_at: Timestamp,
    pub(crate) script: String,
    pub(crate) directory: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// All of it, not only what was added.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) time_limit_s: Option<u64>,
}

impl Spec {
    /// Whether both describe the same work; the time of the call does not matter.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Self {
            submitted_at: other.submitted_at,
            ..self.clone()
        } == *other
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) started_at: Timestamp,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Timestamp,
    pub(crate) exit: Exit,
    pub(crate) timed_out: bool,
    pub(crate) cancelled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct GoneSince {
    noticed_at: Timestamp,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the record cannot be used")]
    Dir(#[from] DirError),
    #[error("{file} in the record is damaged")]
    Damaged {
        file: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the record's lock cannot be taken")]
    Lock(#[source] Errno),
}

/// The directory of one of them.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) dir: Dir,
}

/// Whether somebody is responsible for a record.
#[derive(Debug)]
pub(crate) enum Hold {
    /// Nobody was; now it is who has this file, until it and its copies are closed.
    Taken(File),
    /// A shim, or a user-agent that is just starting one.
    Others,
}

impl Record {
    /// Takes responsibility, if nobody has it.
    pub(crate) fn hold(&self) -> Result<Hold, RecordError> {
        self.flock(FlockOperation::NonBlockingLockExclusive)
    }

    /// Whether somebody has responsibility. Unlike [`Record::hold`], several may ask at once.
    pub(crate) fn is_held(&self) -> Result<bool, RecordError> {
        Ok(matches!(
            self.flock(FlockOperation::NonBlockingLockShared)?,
            Hold::Others
        ))
    }

    fn flock(&self, operation: FlockOperation) -> Result<Hold, RecordError> {
        let file = self.dir.open(LOCK, OFlags::RDWR | OFlags::CREATE, OURS)?;
        let file = file.ok_or(RecordError::Lock(Errno::NOENT))?;
        match fs::flock(&file, operation) {
            Ok(()) => Ok(Hold::Taken(file)),
            Err(Errno::WOULDBLOCK) => Ok(Hold::Others),
            Err(errno) => Err(RecordError::Lock(errno)),
        }
    }

    /// Whether it has not been removed.
    pub(crate) fn is_there(&self) -> bool {
        self.dir.has(SPEC)
    }

    pub(crate) fn spec(&self) -> Result<Option<Spec>, RecordError> {
        self.read(SPEC, SPEC_BYTES)
    }

    pub(crate) fn write_spec(&self, spec: &Spec) -> Result<(), RecordError> {
        self.write(SPEC, spec)
    }

    pub(crate) fn started(&self) -> Result<Option<Started>, RecordError> {
        self.read(STARTED, SHORT_BYTES)
    }

    pub(crate) fn write_started(&self, started: &Started) -> Result<(), RecordError> {
        self.write(STARTED, started)
    }

    pub(crate) fn status(&self) -> Result<Option<Status>, RecordError> {
        self.read(STATUS, SHORT_BYTES)
    }

    pub(crate) fn write_status(&self, status: &Status) -> Result<(), RecordError> {
        self.write(STATUS, status)
    }

    /// When it was first seen gone, if it was.
    pub(crate) fn gone_since(&self) -> Result<Option<Timestamp>, RecordError> {
        Ok(self
            .read::<GoneSince>(GONE, SHORT_BYTES)?
            .map(|gone| gone.noticed_at))
    }

    pub(crate) fn write_gone(&self) -> Result<(), RecordError> {
        self.write(
            GONE,
            &GoneSince {
                noticed_at: Timestamp::now(),
            },
        )
    }

    /// Forgets that it was gone, because it was started anew.
    pub(crate) fn remove_gone(&self) -> Result<(), RecordError> {
        Ok(self.dir.remove(GONE)?)
    }

    /// Leaves a message and wakes the shim. `name` is [`RELEASE`] or [`CANCEL`].
    pub(crate) fn tell(&self, name: &'static str) -> Result<(), RecordError> {
        self.dir.write_once(name, OURS, b"")?;
        self.ring();
        Ok(())
    }

    /// Wakes the shim; if that fails it looks by itself before long.
    fn ring(&self) {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(fifo) = fs::openat(&self.dir, DOORBELL, flags, Mode::empty()) {
            let _ = rustix::io::write(&fifo, b"!");
        }
    }

    /// Makes the doorbell. Some file systems have none: then the shim looks more often.
    pub(crate) fn make_doorbell(&self) {
        match fs::mkfifoat(&self.dir, DOORBELL, OURS) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => tracing::debug!(%errno, "no FIFO here; the shim polls"),
        }
    }

    /// Removes every file of ours; the caller then removes the directory.
    pub(crate) fn clear(&self) -> Result<(), DirError> {
        FILES.iter().try_for_each(|name| self.dir.remove(name))
    }

    /// Where it is. The lock is asked for before the status: a shim writes its status and then
    /// ends, so who finds the lock free finds the status too, if there ever is one.
    pub(crate) fn phase(&self) -> Result<LocalPhase, RecordError> {
        let held = self.is_held()?;
        if let Some(status) = self.status()? {
            let Status {
                started_at,
                ended_at,
                exit,
                timed_out,
                cancelled,
            } = status;
            return Ok(LocalPhase::Ended {
                started_at,
                ended_at,
                exit,
                timed_out,
                cancelled,
            });
        }
        if !held {
            return Ok(LocalPhase::Gone);
        }
        Ok(match self.started()? {
            Some(Started { started_at }) => LocalPhase::Running { started_at },
            None => LocalPhase::Held,
        })
    }

    /// The whole entry of a list; `None` if there is no spec yet.
    pub(crate) fn entry(&self) -> Result<Option<LocalJob>, RecordError> {
        let Some(spec) = self.spec()? else {
            return Ok(None);
        };
        let phase = self.phase()?;
        Ok(Some(LocalJob {
            job: spec.job,
            marker: spec.marker,
            submitted_at: spec.submitted_at,
            phase,
        }))
    }

    fn read<T: DeserializeOwned>(
        &self,
        file: &'static str,
        limit: u64,
    ) -> Result<Option<T>, RecordError> {
        let Some(content) = self.dir.read(file, limit)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&content);
        value
            .map(Some)
            .map_err(|source| RecordError::Damaged { file, source })
    }

    fn write<T: Serialize>(&self, file: &'static str, value: &T) -> Result<(), RecordError> {
        let content =
            serde_json::to_vec(value).map_err(|source| RecordError::Damaged { file, source })?;
        Ok(self.dir.replace(file, OURS, &content)?)
    }
}
