//! The states of a job, and how fresh our knowledge of them is.
//!
//! Which state may follow which is not decided here but in the central store.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of a job's life.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in JSON and in the database.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownState;

            fn from_str(text: &str) -> Result<Self, UnknownState> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownState) }
            }
        }
    };
}

/// A text that names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownState;

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such state")
    }
}

impl std::error::Error for UnknownState {}

states! {
    /// Where a job is in its life. The last nine are ends.
    JobState {
        /// Being written; not yet handed in.
        Draft = "draft",
        /// Waiting for its site to take it.
        Queued = "queued",
        /// Taken by its site; being handed to the scheduler.
        Submitting = "submitting",
        /// In the scheduler's queue.
        Pending = "pending",
        /// Running.
        Running = "running",
        /// Its program has ended; the scheduler is cleaning up.
        Ending = "ending",
        /// Ended with exit code 0.
        Succeeded = "succeeded",
        /// Ended with another exit code or by a signal of its own.
        Failed = "failed",
        /// Cancelled by its owner or an operator.
        Cancelled = "cancelled",
        /// Ended by the scheduler at its time limit.
        TimedOut = "timed_out",
        /// Ended for want of memory.
        OutOfMemory = "out_of_memory",
        /// Its node failed.
        NodeFailed = "node_failed",
        /// Ended in favour of a more important job.
        Preempted = "preempted",
        /// The scheduler would not take it.
        Rejected = "rejected",
        /// The scheduler lost it.
        Lost = "lost",
    }
}

states! {
    /// How well a job's state is known. Not knowing never changes the state.
    Freshness {
        /// The scheduler answered within two polls.
        Live = "live",
        /// The scheduler, or the site, does not answer at present.
        Stale = "stale",
        /// The scheduler answers, and does not list the job.
        Missing = "missing",
    }
}

impl JobState {
    /// Whether this is an end. Only `lost` can still change, should a record turn up.
    pub const fn is_end(self) -> bool {
        matches!(
            self,
            Self::Succeeded
                | Self::Failed
                | Self::Cancelled
                | Self::TimedOut
                | Self::OutOfMemory
                | Self::NodeFailed
                | Self::Preempted
                | Self::Rejected
                | Self::Lost
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_agree_with_json() {
        for state in JobState::ALL {
            let json = serde_json::to_string(state).expect("a unit variant");
            assert_eq!(json, format!("\"{state}\""));
            assert_eq!(state.as_str().parse(), Ok(*state));
        }
        assert_eq!(JobState::ALL.iter().filter(|s| s.is_end()).count(), 9);
    }
}
