//! The server's answers in words. What a newer server adds to them is ignored here; `--json` passes
//! them on as they came.

use forebay_wire::{
    Freshness, JobState,
    api::{Exit, Job, Page},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::table::Tint;

/// A job's name, or what stands in for one.
pub fn title(job: &Job) -> &str {
    let command = job.spec.command.as_deref();
    let program = command.and_then(<[String]>::first).map(String::as_str);
    job.spec.name.as_deref().or(program).unwrap_or("(script)")
}

/// A job's state, and what must be known beside it: `running (stale)`.
pub fn state(job: &Job) -> String {
    let status = &job.status;
    let mut marks = Vec::new();
    if !status.state.is_end() {
        if status.cancel_wanted_at.is_some() {
            marks.push("cancelling");
        }
        match status.freshness {
            Freshness::Live => {}
            other => marks.push(other.as_str()),
        }
    }
    match marks.as_slice() {
        [] => status.state.to_string(),
        marks => format!("{} ({})", status.state, marks.join(", ")),
    }
}

/// How a program ended, in words: `exit 3`, `signal 9`.
pub fn ending(exit: Option<Exit>) -> Option<String> {
    match exit? {
        Exit {
            signal: Some(signal),
            ..
        } if signal > 0 => Some(format!("signal {signal}")),
        exit => Some(format!("exit {}", exit.code)),
    }
}

/// How a state looks on a terminal.
pub fn tint(state: JobState) -> Tint {
    match state {
        JobState::Succeeded => Tint::Good,
        JobState::Running | JobState::Ending => Tint::Active,
        JobState::Draft | JobState::Queued | JobState::Submitting | JobState::Pending => {
            Tint::Waiting
        }
        JobState::Cancelled => Tint::Faint,
        JobState::Failed
        | JobState::TimedOut
        | JobState::OutOfMemory
        | JobState::NodeFailed
        | JobState::Preempted
        | JobState::Rejected
        | JobState::Lost => Tint::Bad,
    }
}

/// Reads each object of a page by itself: one that cannot be read, perhaps
/// because it is in a state that is newer than this program, does not hide the
/// others. Answers what was read and how many were not.
pub fn read_items<T: DeserializeOwned>(page: &Page<Value>) -> (Vec<T>, usize) {
    let read: Vec<T> = page
        .items
        .iter()
        .filter_map(|item| T::deserialize(item).ok())
        .collect();
    let unread = page.items.len() - read.len();
    (read, unread)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(state: &str) -> Value {
        json!({
            "id": "j01jdzz2v8nf3tbw0q5c7m9xk4e", "rev": 3, "created_at": "2026-03-01T12:00:00Z",
            "owner": "ada", "site": "home", "new": {"a": 1},
            "spec": {"cluster": "hpc", "command": ["/bin/true"], "novelty": true, "resources": {"qpus": 1}},
            "status": {"state": state, "freshness": "stale", "run": 0, "mood": "fine"},
        })
    }

    #[test]
    fn newer_servers_are_understood_as_far_as_possible() {
        let page = Page {
            items: vec![job("running"), job("entangled"), job("succeeded")],
            next: None,
        };
        let (jobs, unread) = read_items::<Job>(&page);
        assert_eq!(unread, 1);
        let states: Vec<String> = jobs.iter().map(state).collect();
        assert_eq!(states, ["running (stale)", "succeeded"]);
        assert_eq!(title(&jobs[0]), "/bin/true");
    }
}
