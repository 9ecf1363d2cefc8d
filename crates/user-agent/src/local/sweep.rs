//! Cleaning up: old records, and what a dead shim left running.

use std::time::Duration;

use forebay_wire::{
    JobId, Timestamp,
    ipc::{LocalJob, LocalPhase},
};
use rustix::process::{Pid, Signal, kill_process};

use super::record::{Hold, Record};
use super::start::JOB_VARIABLE;
use crate::dir::Dir;

/// A record without a spec is a start that was cut short; no start takes this long.
const UNFINISHED: i64 = 24 * 3600;

/// Removes the record of a job that ended, or was seen gone, longer ago than `keep`.
/// Says whether it did. The script and the output stay; they are the user's.
pub(super) fn forget_old(local: &Dir, entry: &LocalJob, keep: Duration) -> bool {
    let record = || {
        local
            .enter(&entry.job.to_string())
            .map(|dir| Record { dir })
    };
    let since = match entry.phase {
        LocalPhase::Ended { ended_at, .. } => ended_at,
        LocalPhase::Gone => match record().map(|record| record.gone_since()) {
            Ok(Ok(Some(noticed_at))) => noticed_at,
            _ => return false,
        },
        LocalPhase::Held | LocalPhase::Running { .. } => return false,
    };
    let age = Timestamp::now().unix().saturating_sub(since.unix());
    if u64::try_from(age).is_ok_and(|age| age > keep.as_secs())
        && let Ok(record) = record()
    {
        remove(local, &record, entry.job);
        return true;
    }
    false
}

/// Removes a record that never got a spec.
pub(super) fn forget_empty(local: &Dir, record: &Record, job: JobId) {
    let age = record
        .dir
        .changed()
        .map(|changed| Timestamp::now().unix().saturating_sub(changed));
    if age.is_ok_and(|age| age > UNFINISHED) {
        remove(local, record, job);
    }
}

fn remove(local: &Dir, record: &Record, job: JobId) {
    // Held by somebody: not old after all.
    let Ok(Hold::Taken(_lock)) = record.hold() else {
        return;
    };
    let removed = record
        .clear()
        .and_then(|()| local.remove_dir(&job.to_string()));
    if let Err(error) = removed {
        tracing::warn!(%job, error = forebay_service::logs::chain(&error), "an old record cannot be removed");
    }
}

/// Kills what a dead shim left, once: the script itself died with it, but not what the script
/// had started. Nothing else could end those at the job's time limit.
pub(super) fn end_leftovers(record: &Record, job: JobId) {
    if !matches!(record.gone_since(), Ok(None)) {
        return;
    }
    // Whoever starts it anew at this moment has it.
    let Ok(Hold::Taken(_lock)) = record.hold() else {
        return;
    };
    let mark = format!("{JOB_VARIABLE}={job}");
    let found = strays(mark.as_bytes());
    if !found.is_empty() {
        tracing::warn!(%job, processes = found.len(), "ending what a dead shim left running");
    }
    for pid in found {
        let _ = kill_process(pid, Signal::KILL);
    }
    if let Err(error) = record.write_gone() {
        tracing::warn!(%job, error = forebay_service::logs::chain(&error), "a record cannot be written");
    }
}

/// Our own account's processes with that entry in their environment; others' cannot be read.
fn strays(mark: &[u8]) -> Vec<Pid> {
    let own = std::process::id().cast_signed();
    let Ok(list) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    list.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|entry| entry == mark)
            })
        })
        .filter_map(Pid::from_raw)
        .collect()
}
