//! What a scheduler says of one job, in neutral words.

use forebay_wire::{JobState, Timestamp, api::Exit};

use crate::job::{Copy, Marker};

/// What a scheduler, or its accounting, knows of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which copy.
    pub copy: Copy,
    /// As whom it runs.
    pub uid: u32,
    /// The mark in its comment, where comments are kept.
    pub marker: Option<Marker>,
    /// How often it was put back into the queue.
    pub run: u32,
    /// One part of a plain job; of an array one for each task, by index.
    pub parts: Vec<Part>,
}

impl Record {
    /// Whether it is an array.
    pub fn is_array(&self) -> bool {
        self.parts.iter().any(|part| part.task.is_some())
    }

    /// Whether all of it has ended. A record without parts, of a state that is
    /// not known here, says nothing.
    pub fn has_ended(&self) -> bool {
        let ended = |part: &Part| matches!(part.phase, PartPhase::Ended { .. });
        !self.parts.is_empty() && self.parts.iter().all(ended)
    }

    /// Whether all of it is held and never started.
    pub fn is_held(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.phase == PartPhase::Held)
    }

    /// Whether any of it has started.
    pub fn has_started(&self) -> bool {
        self.parts.iter().any(|part| part.started_at.is_some())
    }
}

/// A plain job, or one task of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The task's index.
    pub task: Option<u32>,
    /// The scheduler's id of the task, where it has one of its own.
    pub scheduler_id: Option<String>,
    /// Where it is.
    pub phase: PartPhase,
    /// Why, in the scheduler's words.
    pub reason: Option<String>,
    /// When it started, if it did.
    pub started_at: Option<Timestamp>,
    /// The nodes it was given.
    pub nodes: Option<String>,
}

/// Where a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartPhase {
    /// Waits for its release.
    Held,
    /// Waits for its turn.
    Waiting,
    /// Runs.
    Running,
    /// Its program has ended; the scheduler is cleaning up.
    Ending,
    /// Has ended: the scheduler has a terminal record.
    Ended {
        /// Which end.
        end: JobState,
        /// How its program ended.
        exit: Option<Exit>,
        /// When.
        at: Timestamp,
    },
}
