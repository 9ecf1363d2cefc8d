//! Which state may follow which.

use forebay_wire::JobState::{
    self, Cancelled, Draft, Ending, Failed, Lost, NodeFailed, OutOfMemory, Pending, Preempted,
    Queued, Rejected, Running, Submitting, Succeeded, TimedOut,
};

/// The ends of which a scheduler keeps a record.
pub(super) const RECORDED: [JobState; 7] = [
    Succeeded,
    Failed,
    Cancelled,
    TimedOut,
    OutOfMemory,
    NodeFailed,
    Preempted,
];

/// Steps other than those to an end that a scheduler records.
const OTHERS: [(JobState, JobState); 15] = [
    // The API's.
    (Draft, Queued),
    (Draft, Cancelled),
    (Queued, Cancelled),
    // The claim's.
    (Queued, Submitting),
    // The site's.
    (Submitting, Pending),
    (Submitting, Rejected),
    (Submitting, Lost),
    (Pending, Running),
    (Pending, Ending),
    (Pending, Lost),
    (Running, Ending),
    (Running, Pending),
    (Running, Lost),
    (Ending, Pending),
    (Ending, Lost),
];

/// From here a terminal record leads to its end.
const BEFORE_RECORDED: [JobState; 5] = [Submitting, Pending, Running, Ending, Lost];

const COUNT: usize = OTHERS.len() + BEFORE_RECORDED.len() * RECORDED.len();

/// Every legal step `(from, to)`.
pub const STEPS: [(JobState, JobState); COUNT] = {
    let mut steps = [(Draft, Draft); COUNT];
    let mut at = 0;
    while at < OTHERS.len() {
        steps[at] = OTHERS[at];
        at += 1;
    }
    while at < COUNT {
        let rest = at - OTHERS.len();
        steps[at] = (
            BEFORE_RECORDED[rest / RECORDED.len()],
            RECORDED[rest % RECORDED.len()],
        );
        at += 1;
    }
    steps
};

/// Whether a job may go from one state to the other in one step.
pub fn step_is_legal(from: JobState, to: JobState) -> bool {
    STEPS.contains(&(from, to))
}

/// Every `(from, to)`, `from` ≠ `to`, that one batch of a site's reports may
/// bring about in one row: one or more of the site's steps, and each single
/// step of the API and the claim. The table `job_transitions` holds exactly these.
pub fn reachable() -> Vec<(JobState, JobState)> {
    let mut pairs = STEPS.to_vec();
    // A site's steps begin where it has claimed the job.
    let site = |state: &JobState| !matches!(state, Draft | Queued);
    loop {
        let mut more = Vec::new();
        for &(from, middle) in pairs.iter().filter(|(from, _)| site(from)) {
            for &(_, to) in STEPS.iter().filter(|(next, _)| *next == middle) {
                let pair = (from, to);
                if from != to && !pairs.contains(&pair) && !more.contains(&pair) {
                    more.push(pair);
                }
            }
        }
        if more.is_empty() {
            break;
        }
        pairs.extend(more);
    }
    pairs.sort_unstable();
    pairs
}
