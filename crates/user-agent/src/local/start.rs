//! Starting a shim, once a job.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use forebay_wire::{Code, Problem, Timestamp, ipc::LocalStart};
use rustix::fs::OFlags;
use tokio::io::AsyncReadExt as _;

use super::record::{Hold, OURS, Record, SHIM_LOG, Spec};
use super::{Inner, of_record};
use crate::problems;
use crate::shim::READY;

/// How long a shim may take until it holds the job.
const READY_DEADLINE: Duration = Duration::from_secs(15);
/// Of a path or a marker.
const TEXT_BYTES: usize = 4095;
/// The job's own id in its environment, for scripts, and by which strays are found.
pub(super) const JOB_VARIABLE: &str = "FOREBAY_JOB_ID";

/// A shim to be started.
#[derive(Debug)]
pub(super) struct Launch {
    record: Record,
    lock: File,
    log: File,
    environment: std::collections::BTreeMap<String, String>,
}

/// Writes the record; `None` if there is nothing to start.
pub(super) fn begin(inner: &Inner, asked: LocalStart) -> Result<Option<Launch>, Problem> {
    let failed = |error| of_record(&error);
    let spec = spec(inner, asked)?;
    let local = inner.open()?;
    let name = spec.job.to_string();
    // The count is asked for before there is a record, so that a refusal leaves nothing.
    if local.enter(&name).is_err() && inner.alive()? >= inner.config.alive {
        return Err(Problem::new(
            Code::Busy,
            format!(
                "{} local jobs are held or running; that is the limit.",
                inner.config.alive
            ),
        ));
    }
    let record = Record {
        dir: local
            .make_private(&name)
            .map_err(|error| problems::of_dir(&error))?,
    };
    let hold = record.hold().map_err(failed)?;
    if let Some(there) = record.spec().map_err(failed)? {
        if !there.is_same(&spec) {
            return Err(Problem::new(
                Code::Conflict,
                "This job was started before with other values.",
            ));
        }
        let past = record.started().map_err(failed)?.is_some()
            || record.status().map_err(failed)?.is_some();
        if past || matches!(hold, Hold::Others) {
            return Ok(None);
        }
        // The user-agent or the shim died before the script began.
        record.remove_gone().map_err(failed)?;
    }
    let Hold::Taken(lock) = hold else {
        return Err(Problem::new(
            Code::Busy,
            "This job is being started by another call.",
        ));
    };
    check_directory(&spec.directory)?;
    record.write_spec(&spec).map_err(failed)?;
    record.make_doorbell();
    let log = record.dir.open(
        SHIM_LOG,
        OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
        OURS,
    );
    let log = log.map_err(|error| problems::of_dir(&error))?;
    let log =
        log.ok_or_else(|| Problem::new(Code::Unavailable, "The shim's log cannot be opened."))?;
    Ok(Some(Launch {
        record,
        lock,
        log,
        environment: inner.environment.clone(),
    }))
}

/// Starts the shim and waits until it holds the job.
pub(super) async fn launch(launch: Launch) -> Result<(), Problem> {
    let Launch {
        record,
        lock,
        log,
        environment,
    } = launch;
    // This very program, also after an update has put another in its place.
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command
        .arg0("forebay-user-agent")
        .arg("shim")
        .arg("--dir")
        .arg(record.dir.path())
        .env_clear()
        .envs(environment)
        .stdin(Stdio::from(lock))
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log))
        // It outlives us; the runtime collects it if we live longer.
        .kill_on_drop(false);
    let failed = |error: std::io::Error| {
        Problem::new(
            Code::Unavailable,
            format!("The job's process cannot be started: {error}."),
        )
    };
    let mut child = command.spawn().map_err(failed)?;
    // Our copy of the lock goes with it.
    drop(command);
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout
            .take(4096)
            .read_to_string(&mut said)
            .await_within(READY_DEADLINE)
            .await;
        match read {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(failed(error)),
            None => {
                return Err(Problem::new(
                    Code::Deadline,
                    "The job's process does not come up; ask again for what became of it.",
                ));
            }
        }
    }
    if said.trim_end() == READY {
        return Ok(());
    }
    let _ = child.wait().await_within(READY_DEADLINE).await;
    // It never held the job: as if it had not been asked for.
    let cleared = tokio::task::spawn_blocking(move || record.clear()).await;
    if let Ok(Err(error)) = cleared {
        tracing::warn!(
            error = forebay_service::logs::chain(&error),
            "a record cannot be removed"
        );
    }
    let said = said.trim_end();
    if said.is_empty() {
        return Err(Problem::new(
            Code::Unavailable,
            "The job's process ended before it held the job.",
        ));
    }
    Err(Problem::new(
        Code::Invalid,
        format!("The job cannot be held: {said}."),
    ))
}

trait AwaitWithin: Future + Sized {
    /// Its output, if it comes in time.
    async fn await_within(self, deadline: Duration) -> Option<Self::Output> {
        tokio::time::timeout(deadline, self).await.ok()
    }
}

impl<F: Future> AwaitWithin for F {}

fn spec(inner: &Inner, asked: LocalStart) -> Result<Spec, Problem> {
    let LocalStart {
        job,
        marker,
        script,
        directory,
        stdout,
        stderr,
        environment: given,
        time_limit_s,
    } = asked;
    if marker.len() > TEXT_BYTES || marker.contains('\0') {
        return Err(Problem::invalid(
            "marker",
            "A marker is a text of at most 4095 bytes.",
        ));
    }
    for (field, path) in [
        ("script", &script),
        ("directory", &directory),
        ("stdout", &stdout),
        ("stderr", &stderr),
    ] {
        check_path(field, path)?;
    }
    crate::environment::check(&given)?;
    let mut environment = inner.environment.clone();
    environment.extend(given);
    environment.insert(JOB_VARIABLE.to_owned(), job.to_string());
    let submitted_at = Timestamp::now();
    Ok(Spec {
        job,
        marker,
        submitted_at,
        script,
        directory,
        stdout,
        stderr,
        environment,
        time_limit_s,
    })
}

/// An absolute path that the system could take.
pub(crate) fn check_path(field: &str, path: &str) -> Result<PathBuf, Problem> {
    if !path.starts_with('/') || path.len() > TEXT_BYTES || path.contains('\0') {
        return Err(Problem::invalid(
            field,
            "This is an absolute path of at most 4095 bytes, without NUL.",
        ));
    }
    Ok(PathBuf::from(path))
}

/// The working directory must be there now; later is the job's risk.
fn check_directory(directory: &str) -> Result<(), Problem> {
    match std::fs::metadata(Path::new(directory)) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Problem::invalid(
            "directory",
            "The working directory is not a directory.",
        )),
        Err(error) => Err(Problem::invalid(
            "directory",
            format!("The working directory cannot be used: {error}."),
        )),
    }
}
