//! The same for arrays: one job, of whose tasks each has its own end. Pure.
//!
//! A scheduler may forget a task while it keeps the array: Slurm keeps nothing
//! in its controller of a task that was cancelled before the array started. So
//! what the array was asked for decides when all of it has ended, and a task
//! that is not listed is asked for like a job that is not.

use std::collections::{BTreeMap, BTreeSet};

use forebay_wire::{Freshness, JobState, Timestamp, api::JobTask, link::Observation};

use super::{DeniedBy, Step, Steps, begin, long_absent};
use crate::{
    integration::{Part, PartPhase, Record},
    job::Tracked,
};

/// Tasks in one report, which must fit into one body.
const TASKS_PER_REPORT: usize = 500;

/// What accounting says of what the controller does not list.
#[derive(Clone, Copy, Debug)]
pub enum Accounting<'a> {
    /// It was not asked.
    NotAsked,
    /// The cluster keeps none.
    None,
    /// It does not answer.
    Silent,
    /// Its record of the array, if it has one.
    Answer(Option<&'a Record>),
}

/// Tasks that have not ended, and that the controller does not list: of those
/// that were asked for and those that were ever seen.
pub fn missing(job: &Tracked, controller: Option<&Record>, expected: &[u32]) -> Vec<u32> {
    let told = &job.told.tasks;
    let mut open: BTreeSet<u32> = expected.iter().chain(told.keys()).copied().collect();
    open.retain(|task| !told.get(task).is_some_and(|state| state.is_end()));
    for part in controller.iter().flat_map(|record| &record.parts) {
        if let Some(task) = part.task {
            open.remove(&task);
        }
    }
    open.into_iter().collect()
}

/// A look at an array: what the controller lists of it, if it does, and what
/// accounting says of the rest.
pub fn seen(
    job: &Tracked,
    controller: Option<&Record>,
    accounting: Accounting<'_>,
    expected: &[u32],
    now: Timestamp,
) -> Step {
    let mut steps = begin(job);
    let missing = missing(job, controller, expected);
    if let Some(record) = controller {
        steps.is_there(record, now);
    }
    let listed: &[Part] = controller.map_or(&[], |record| &record.parts);
    let remembered: &[Part] = match accounting {
        Accounting::Answer(Some(record)) => &record.parts,
        _ => &[],
    };
    let is_missing = |part: &&Part| {
        part.task
            .is_some_and(|task| missing.binary_search(&task).is_ok())
    };
    let has_ended = |part: &&Part| matches!(part.phase, PartPhase::Ended { .. });
    let mut changed = Vec::new();
    // Of what the controller does not list only ends count: accounting lags.
    for part in listed
        .iter()
        .chain(remembered.iter().filter(is_missing).filter(has_ended))
    {
        note(&mut steps, part, &mut changed);
    }
    let denied = match accounting {
        Accounting::NotAsked => None,
        Accounting::None => Some(DeniedBy::ControllerAlone),
        Accounting::Silent => Some(DeniedBy::ControllerSoFar),
        Accounting::Answer(_) => Some(DeniedBy::Both),
    };
    let told = &mut steps.step.told;
    // Whoever turned up, or ended, is not absent.
    told.tasks_absent
        .retain(|task, _| missing.binary_search(task).is_ok());
    for task in missing {
        let Some(denied) = denied else { break };
        if told.tasks.get(&task).is_some_and(|state| state.is_end()) {
            told.tasks_absent.remove(&task);
        } else if denied == DeniedBy::ControllerSoFar
            || remembered.iter().any(|part| part.task == Some(task))
        {
            // Whoever denied it before must deny it anew.
            told.tasks_absent.remove(&task);
        } else if long_absent(*told.tasks_absent.entry(task).or_insert(now), now) {
            told.tasks_absent.remove(&task);
            told.tasks.insert(task, JobState::Lost);
            changed.push(lost(task, now));
        }
    }
    let total = told.tasks.len()
        + expected
            .iter()
            .filter(|task| !told.tasks.contains_key(task))
            .count();
    let ended = told.tasks.values().filter(|state| state.is_end()).count();
    told.state = Some(overall(&told.tasks));
    steps.step.ended = total > 0 && ended == total;
    if controller.is_none() {
        if steps.step.ended {
            steps.fresh(now, Freshness::Live, None);
        } else if let Some(denied) = denied {
            steps.fresh(now, Freshness::Missing, Some(denied.message()));
        }
    }
    let total = u32::try_from(total).unwrap_or(u32::MAX);
    for tasks in changed.chunks(TASKS_PER_REPORT) {
        let tasks = tasks.to_vec();
        steps.saw(now, Observation::Tasks { total, tasks });
    }
    steps.step
}

fn note(steps: &mut Steps<'_>, part: &Part, changed: &mut Vec<JobTask>) {
    let Some(index) = part.task else { return };
    let state = match part.phase {
        PartPhase::Held | PartPhase::Waiting => JobState::Pending,
        PartPhase::Running => JobState::Running,
        PartPhase::Ending => JobState::Ending,
        PartPhase::Ended { end, .. } => end,
    };
    let before = steps.step.told.tasks.get(&index).copied();
    if before == Some(state) || before.is_some_and(JobState::is_end) {
        return;
    }
    steps.step.told.tasks.insert(index, state);
    changed.push(task(index, state, part));
}

fn task(index: u32, state: JobState, part: &Part) -> JobTask {
    let (exit, ended_at) = match part.phase {
        PartPhase::Ended { exit, at, .. } => (exit, Some(at)),
        _ => (None, None),
    };
    JobTask {
        index,
        state,
        scheduler_id: part.scheduler_id.clone(),
        started_at: part.started_at,
        ended_at,
        exit,
        nodes: part.nodes.clone(),
    }
}

fn lost(index: u32, now: Timestamp) -> JobTask {
    JobTask {
        index,
        state: JobState::Lost,
        scheduler_id: None,
        started_at: None,
        ended_at: Some(now),
        exit: None,
        nodes: None,
    }
}

/// Only for deciding how eagerly to watch; the central side derives the state that people see.
fn overall(tasks: &BTreeMap<u32, JobState>) -> JobState {
    if tasks
        .values()
        .any(|state| matches!(state, JobState::Running | JobState::Ending))
    {
        JobState::Running
    } else {
        JobState::Pending
    }
}

#[cfg(test)]
#[path = "array_tests.rs"]
mod tests;
