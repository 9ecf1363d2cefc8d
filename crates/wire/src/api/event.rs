//! The steps of a job's life.

use serde::{Deserialize, Serialize};

use crate::{Freshness, JobState, Timestamp};

/// One step in a job's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobEvent {
    /// Counts up from 1 within the job; pass it as `after=`.
    pub seq: i64,
    /// When it happened, by the clock of whoever saw it.
    pub at: Timestamp,
    /// Which run of the job it belongs to.
    pub run: u32,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum EventKind {
    /// The job came into a state.
    State {
        /// The state it came into.
        state: JobState,
    },
    /// Somebody asked to cancel it.
    CancelWanted,
    /// Our knowledge of it became better or worse.
    Freshness {
        /// How fresh it is now.
        freshness: Freshness,
    },
}
