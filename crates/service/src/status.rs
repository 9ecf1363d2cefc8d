//! What background tasks are doing, for health pages, `doctor` and metrics.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};
use time::OffsetDateTime;

/// How a task is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Runs until the service stops; restarted when it ends early.
    Supervised,
    /// Runs again and again, at an interval and when nudged.
    Periodic,
}

/// The state of one supervised or periodic task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskStatus {
    /// As given when it was started; several tasks may share a name.
    pub name: String,
    /// How it is run.
    pub kind: TaskKind,
    /// Times it was started (supervised) or ran (periodic).
    pub runs: u64,
    /// Times it ended unexpectedly: an error, a panic, a deadline, or `Ok` without being stopped.
    pub restarts: u64,
    /// Unexpected ends in a row; 0 when it works.
    pub failing: u32,
    /// The last unexpected end in words, kept after recovery.
    pub last_error: Option<String>,
    /// When that was.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_error_at: Option<OffsetDateTime>,
    /// At work now; false while it waits to be restarted, or for its next turn.
    pub running: bool,
    /// Since when `running` has the value it has.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// All background tasks of a service, in the order in which they were started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    next: u64,
    rows: BTreeMap<u64, TaskStatus>,
}

impl Board {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        // Nothing below panics while holding it; if it ever did, the rows would still be whole.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn list(&self) -> Vec<TaskStatus> {
        self.rows().rows.values().cloned().collect()
    }

    /// A row that lives as long as the task it is about.
    pub(crate) fn add(&self, name: &str, kind: TaskKind) -> Row {
        let mut rows = self.rows();
        let id = rows.next;
        rows.next += 1;
        rows.rows.insert(
            id,
            TaskStatus {
                name: name.to_owned(),
                kind,
                runs: 0,
                restarts: 0,
                failing: 0,
                last_error: None,
                last_error_at: None,
                running: false,
                since: OffsetDateTime::now_utc(),
            },
        );
        Row {
            id,
            board: self.clone(),
        }
    }
}

/// One task's line on the [`Board`]; removed when dropped.
#[derive(Debug)]
pub(crate) struct Row {
    id: u64,
    board: Board,
}

impl Row {
    fn change(&self, change: impl FnOnce(&mut TaskStatus)) {
        if let Some(row) = self.board.rows().rows.get_mut(&self.id) {
            change(row);
        }
    }

    pub(crate) fn started(&self) {
        self.change(|row| {
            row.runs += 1;
            row.running = true;
            row.since = OffsetDateTime::now_utc();
        });
    }

    pub(crate) fn finished(&self) {
        self.change(|row| {
            row.failing = 0;
            row.running = false;
            row.since = OffsetDateTime::now_utc();
        });
    }

    /// Returns how often in a row it has now failed.
    pub(crate) fn failed(&self, error: String) -> u32 {
        let mut failing = 0;
        self.change(|row| {
            let now = OffsetDateTime::now_utc();
            row.restarts += 1;
            row.failing = row.failing.saturating_add(1);
            row.last_error = Some(error);
            row.last_error_at = Some(now);
            row.running = false;
            row.since = now;
            failing = row.failing;
        });
        failing
    }

    /// It has worked for long enough to count as recovered.
    pub(crate) fn recovered(&self) {
        self.change(|row| row.failing = 0);
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.board.rows().rows.remove(&self.id);
    }
}
