//! The state of an array, derived from its tasks.

use std::collections::BTreeMap;

use forebay_wire::{
    JobState, Timestamp,
    api::{Exit, JobTask},
};

/// The known tasks of an array by index.
pub type Tasks = BTreeMap<u32, JobTask>;

/// What an array's tasks say about the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// `pending`, `running` or an end.
    pub state: JobState,
    /// The earliest start.
    pub started_at: Option<Timestamp>,
    /// The latest end; present only if `state` is an end.
    pub ended_at: Option<Timestamp>,
    /// How the first of the worst tasks ended; present only if `state` is an end.
    pub exit: Option<Exit>,
    /// A sentence for an end other than success.
    pub message: Option<String>,
}

/// How bad an end is; the worst task names the whole.
const fn badness(state: JobState) -> u8 {
    match state {
        JobState::Failed | JobState::Rejected => 7,
        JobState::OutOfMemory => 6,
        JobState::TimedOut => 5,
        JobState::NodeFailed => 4,
        JobState::Lost => 3,
        JobState::Preempted => 2,
        JobState::Cancelled => 1,
        _ => 0,
    }
}

/// The state of an array of `total` tasks of which `tasks` are known.
///
/// It ends only when all have: tasks that nobody reported yet are waiting.
pub fn derive(total: u32, tasks: &Tasks) -> Derived {
    let started_at = tasks.values().filter_map(|task| task.started_at).min();
    let open = |state| Derived {
        state,
        started_at,
        ended_at: None,
        exit: None,
        message: None,
    };
    let under_way = |task: &JobTask| matches!(task.state, JobState::Running | JobState::Ending);
    if tasks.values().any(under_way) {
        return open(JobState::Running);
    }
    let ended = tasks.values().filter(|task| task.state.is_end()).count();
    if ended < tasks.len() || ended < total as usize || ended == 0 {
        return open(match started_at {
            Some(_) => JobState::Running,
            None => JobState::Pending,
        });
    }
    // Of equally bad tasks the first.
    let worst = tasks.values().rev().max_by_key(|task| badness(task.state));
    let state = match worst.map(|task| task.state) {
        None | Some(JobState::Succeeded) => JobState::Succeeded,
        Some(JobState::Rejected) => JobState::Failed,
        Some(state) => state,
    };
    let same = tasks
        .values()
        .filter(|task| Some(task.state) == worst.map(|worst| worst.state))
        .count();
    Derived {
        state,
        started_at,
        ended_at: tasks.values().filter_map(|task| task.ended_at).max(),
        exit: worst.and_then(|task| task.exit),
        message: (state != JobState::Succeeded)
            .then(|| format!("{same} of {ended} tasks: {state}.")),
    }
}
