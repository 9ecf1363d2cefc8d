//! Slurm's rows in neutral words. Pure.

use std::collections::BTreeMap;

use forebay_slurm::{
    AcctJob, BaseState, ExitStatus, JobState as SlurmState, Part as IdPart, QueueJob,
};
use forebay_wire::{JobState, Timestamp, api::Exit};
use time::OffsetDateTime;

use crate::{
    integration::{Part, PartPhase, Record},
    job::{Copy, Marker},
};

/// Tasks of a waiting array that are told apart; Slurm's own limit is far below.
const TASKS_MAX: usize = 1_000_000;

/// What one row says.
struct Row<'a> {
    id: &'a forebay_slurm::JobId,
    job_id: u64,
    uid: u32,
    comment: &'a str,
    submitted_at: OffsetDateTime,
    run: u32,
    phase: Option<PartPhase>,
    reason: Option<String>,
    started_at: Option<Timestamp>,
    nodes: Option<String>,
}

/// One record for each job; an array's rows are parts of one.
pub(super) fn of_queue(jobs: &[QueueJob]) -> Vec<Record> {
    group(jobs.iter().filter_map(|job| {
        // A start time proves nothing: a job that was cancelled while it waited has one too.
        let started = job.has_started();
        Some(Row {
            id: &job.id,
            job_id: job.job_id,
            uid: job.uid,
            comment: &job.comment,
            submitted_at: job.submit_time?,
            run: job.restarts,
            phase: phase(&job.state, job.is_held(), job.exit, job.end_time),
            reason: reason(&job.reason),
            started_at: job.start_time.filter(|_| started).map(Into::into),
            nodes: Some(job.nodes.clone()).filter(|_| started),
        })
    }))
}

/// The same of accounting, which keeps a row for each run of a job: the last one counts.
pub(super) fn of_accounting(jobs: &[AcctJob]) -> Vec<Record> {
    group(
        jobs.iter()
            .filter(|job| job.id.step().is_none())
            .filter_map(|job| {
                Some(Row {
                    id: &job.id,
                    job_id: job.job_id,
                    uid: job.uid?,
                    comment: &job.comment,
                    submitted_at: job.submit_time?,
                    run: 0,
                    phase: phase(&job.state, false, job.exit, job.end_time),
                    reason: reason(&job.reason),
                    started_at: job.start_time.filter(|_| job.has_started()).map(Into::into),
                    nodes: Some(job.nodes.clone()).filter(|nodes| !nodes.is_empty()),
                })
            }),
    )
}

fn group<'a>(rows: impl Iterator<Item = Row<'a>>) -> Vec<Record> {
    let mut records: BTreeMap<u64, Record> = BTreeMap::new();
    for row in rows {
        // Of a heterogeneous job the leader stands for all of it.
        if matches!(row.id.part(), IdPart::Component(component) if *component != 0) {
            continue;
        }
        let record = records.entry(row.id.job()).or_insert_with(|| Record {
            copy: Copy {
                scheduler_id: row.id.job().to_string(),
                submitted_at: row.submitted_at.into(),
            },
            uid: row.uid,
            marker: Marker::of_comment(row.comment),
            run: row.run,
            parts: Vec::new(),
        });
        record.run = record.run.max(row.run);
        record.copy.submitted_at = record.copy.submitted_at.min(row.submitted_at.into());
        // A state that nobody knows says nothing.
        let Some(phase) = row.phase else { continue };
        let part = |task: Option<u32>, scheduler_id: Option<String>| Part {
            task,
            scheduler_id,
            phase,
            reason: row.reason.clone(),
            started_at: row.started_at,
            nodes: row.nodes.clone(),
        };
        match row.id.part() {
            IdPart::Tasks(tasks) => {
                let tasks = tasks
                    .iter()
                    .take(TASKS_MAX)
                    .filter_map(|task| u32::try_from(task).ok());
                record
                    .parts
                    .extend(tasks.map(|task| part(Some(task), None)));
            }
            IdPart::Task(task) => {
                let task = u32::try_from(*task).ok();
                put(&mut record.parts, part(task, Some(row.job_id.to_string())));
            }
            _ => put(&mut record.parts, part(None, None)),
        }
    }
    let mut records: Vec<Record> = records.into_values().collect();
    for record in &mut records {
        record.parts.sort_by_key(|part| part.task);
    }
    records
}

/// Adds a part; of two rows of the same one the later start counts.
fn put(parts: &mut Vec<Part>, part: Part) {
    match parts.iter_mut().find(|known| known.task == part.task) {
        Some(known) if known.started_at <= part.started_at => *known = part,
        Some(_) => {}
        None => parts.push(part),
    }
}

fn reason(text: &str) -> Option<String> {
    let text = text.trim_matches(['(', ')']);
    (!text.is_empty() && text != "None").then(|| text.to_owned())
}

/// Where a job in this state is; `None` if the state is not known.
fn phase(
    state: &SlurmState,
    held: bool,
    exit: Option<ExitStatus>,
    ended_at: Option<OffsetDateTime>,
) -> Option<PartPhase> {
    if state.is_terminal() {
        return Some(PartPhase::Ended {
            end: end(&state.base)?,
            exit: exit.map(|exit| Exit {
                code: i32::try_from(exit.code).unwrap_or(i32::MAX),
                signal: i32::try_from(exit.signal)
                    .ok()
                    .filter(|signal| *signal != 0),
            }),
            at: ended_at.map_or_else(Timestamp::now, Into::into),
        });
    }
    if state.is_completing() {
        return Some(PartPhase::Ending);
    }
    match &state.base {
        BaseState::Pending if held => Some(PartPhase::Held),
        BaseState::Running | BaseState::Suspended => Some(PartPhase::Running),
        BaseState::Hidden | BaseState::Unknown(_) => None,
        // Pending, or an end with a requeue under way.
        _ => Some(PartPhase::Waiting),
    }
}

fn end(base: &BaseState) -> Option<JobState> {
    Some(match base {
        BaseState::Completed => JobState::Succeeded,
        BaseState::Failed => JobState::Failed,
        BaseState::Cancelled => JobState::Cancelled,
        BaseState::Timeout | BaseState::Deadline => JobState::TimedOut,
        BaseState::OutOfMemory => JobState::OutOfMemory,
        BaseState::NodeFail | BaseState::BootFail => JobState::NodeFailed,
        BaseState::Preempted => JobState::Preempted,
        BaseState::Pending
        | BaseState::Running
        | BaseState::Suspended
        | BaseState::Hidden
        | BaseState::Unknown(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<PartPhase> {
        phase(
            &SlurmState::parse(text),
            false,
            None,
            Some(OffsetDateTime::UNIX_EPOCH),
        )
    }

    #[test]
    fn only_slurms_own_word_ends_a_job() {
        let ended = |text| match of(text) {
            Some(PartPhase::Ended { end, .. }) => Some(end),
            _ => None,
        };
        for (text, end) in [
            ("COMPLETED", JobState::Succeeded),
            ("FAILED", JobState::Failed),
            ("CANCELLED by 0", JobState::Cancelled),
            ("TIMEOUT", JobState::TimedOut),
            ("DEADLINE", JobState::TimedOut),
            ("OUT_OF_MEMORY", JobState::OutOfMemory),
            ("NODE_FAIL", JobState::NodeFailed),
            ("BOOT_FAIL", JobState::NodeFailed),
            ("PREEMPTED", JobState::Preempted),
        ] {
            assert_eq!(ended(text), Some(end), "{text}");
        }
        assert_eq!(of("COMPLETED,COMPLETING"), Some(PartPhase::Ending));
        assert_eq!(of("COMPLETING"), Some(PartPhase::Ending));
        assert_eq!(of("NODE_FAIL,REQUEUED"), Some(PartPhase::Waiting));
        assert_eq!(of("RUNNING,CONFIGURING"), Some(PartPhase::Running));
        assert_eq!(of("QUANTUM"), None, "what nobody knows says nothing");
    }
}
