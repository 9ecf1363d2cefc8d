//! The server's answers as they are read: only what is shown, and tolerant of
//! fields that a newer server adds. `--json` passes the answers on as they came.

use std::collections::BTreeMap;

use forebay_wire::{
    Freshness, JobId, JobState, Timestamp,
    api::{JobStatus, Page},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::table::Tint;

/// A job. `forebay_wire::api::Job` refuses a spec with unknown fields, which is
/// right for who accepts jobs and wrong for who lists them.
#[derive(Clone, Debug, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// When it was handed in.
    pub created_at: Timestamp,
    /// Whose it is.
    pub owner: String,
    /// Who runs it.
    pub site: String,
    /// What was asked for.
    pub spec: SpecView,
    /// What became of it.
    pub status: JobStatus,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SpecView {
    /// The cluster.
    pub cluster: String,
    /// What the job is called.
    pub name: Option<String>,
    /// The script.
    pub script: Option<String>,
    /// Or the program and its arguments.
    pub command: Option<Vec<String>>,
    /// What it needs, as the API names it.
    pub resources: Map<String, Value>,
    /// The longest it may run, in seconds.
    pub time_limit_s: Option<u64>,
    /// Where it runs.
    pub directory: Option<String>,
    /// Its variables.
    pub environment: BTreeMap<String, String>,
    /// Where its output goes, as the API names it.
    pub output: Map<String, Value>,
    /// Slurm's options, as the API names them.
    pub slurm: Map<String, Value>,
}

impl JobView {
    /// Its name, or what stands in for one.
    pub fn title(&self) -> &str {
        let program = || {
            self.spec
                .command
                .as_deref()
                .and_then(<[String]>::first)
                .map(String::as_str)
        };
        self.spec
            .name
            .as_deref()
            .or_else(program)
            .unwrap_or("(script)")
    }

    /// Its state, and what must be known beside it: `running (stale)`.
    pub fn state(&self) -> String {
        let status = &self.status;
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

    /// How its program ended: `exit 3`, `signal 9`; nothing for plain success.
    pub fn ending(&self) -> Option<String> {
        ending(self.status.exit)
    }
}

/// How a program ended, in words.
pub fn ending(exit: Option<forebay_wire::api::Exit>) -> Option<String> {
    match exit? {
        forebay_wire::api::Exit {
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
        let (jobs, unread) = read_items::<JobView>(&page);
        assert_eq!(unread, 1);
        let states: Vec<String> = jobs.iter().map(JobView::state).collect();
        assert_eq!(states, ["running (stale)", "succeeded"]);
        assert_eq!(jobs[0].title(), "/bin/true");
    }
}
