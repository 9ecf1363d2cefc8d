//! A job as its site knows it: the mark it carries in the scheduler, and how
//! far its submission has come.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use forebay_wire::{
    ClusterName, Freshness, JobId, JobState, Timestamp,
    link::{Owner, Work},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::asked::Asked;

/// The mark that every job of ours carries in the scheduler's comment:
/// `forebay:<installation>:<job>`, then a space, then the user's own comment.
///
/// By it a job is found again after a crash, and told from other installations' jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marker {
    /// The installation whose job it is.
    pub installation: Uuid,
    /// The job.
    pub job: JobId,
}

impl Marker {
    /// The mark at the beginning of a comment, if it is one.
    pub fn of_comment(comment: &str) -> Option<Self> {
        comment.split(' ').next()?.parse().ok()
    }

    /// The whole comment: the mark and what the user wrote.
    pub fn comment(&self, users_own: Option<&str>) -> String {
        match users_own {
            Some(text) => format!("{self} {text}"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "forebay:{}:{}", self.installation, self.job)
    }
}

/// A text that is no mark of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAMarker;

impl FromStr for Marker {
    type Err = NotAMarker;

    fn from_str(text: &str) -> Result<Self, NotAMarker> {
        let rest = text.strip_prefix("forebay:").ok_or(NotAMarker)?;
        let (installation, job) = rest.split_once(':').ok_or(NotAMarker)?;
        Ok(Self {
            installation: installation.parse().map_err(|_| NotAMarker)?,
            job: job.parse().map_err(|_| NotAMarker)?,
        })
    }
}

/// How far a submission has come. Each phase is committed before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Taken from the queue; nothing was sent to the scheduler yet.
    Claimed,
    /// About to be sent, or sent without an answer: a copy may exist.
    Intent,
    /// The scheduler has a held copy, whose id is known.
    Held,
    /// About to be released, or released without an answer.
    Releasing,
    /// May start.
    Released,
    /// Ended, as far as this site is concerned.
    Closed,
}

impl Phase {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Intent => "intent",
            Self::Held => "held",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::Closed => "closed",
        }
    }
}

impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "claimed" => Self::Claimed,
            "intent" => Self::Intent,
            "held" => Self::Held,
            "releasing" => Self::Releasing,
            "released" => Self::Released,
            "closed" => Self::Closed,
            other => return Err(format!("no phase is called `{other}`")),
        })
    }
}

/// The copy of a job that the scheduler has. All three together name it: a
/// scheduler gives an id out again after it lost its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The scheduler's id.
    pub scheduler_id: String,
    /// When the scheduler took it.
    pub submitted_at: Timestamp,
}

/// What was last reported of a job, so that only changes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The state that the reports so far amount to.
    #[serde(default)]
    pub state: Option<JobState>,
    /// The scheduler's reason for its waiting.
    #[serde(default)]
    pub reason: Option<String>,
    /// How often the scheduler put it back.
    #[serde(default)]
    pub run: u32,
    /// How fresh our knowledge is; live if absent.
    #[serde(default)]
    pub freshness: Option<Freshness>,
    /// Since when controller and accounting both deny it.
    #[serde(default)]
    pub absent_since: Option<Timestamp>,
    /// The states of an array's tasks, by index.
    #[serde(default)]
    pub tasks: BTreeMap<u32, JobState>,
    /// Since when controller and accounting both deny tasks that have not ended, by index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks_absent: BTreeMap<u32, Timestamp>,
    /// The file of standard output on the cluster.
    #[serde(default)]
    pub stdout_path: Option<String>,
    /// The file of standard error on the cluster.
    #[serde(default)]
    pub stderr_path: Option<String>,
}

/// A job that this site sees through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The job.
    pub job: JobId,
    /// The cluster it runs on.
    pub cluster: ClusterName,
    /// Whose it is.
    pub owner: Owner,
    /// What to run.
    pub spec: Arc<Asked>,
    /// How far its submission has come.
    pub phase: Phase,
    /// Which try this is, from 1; 0 before the first.
    pub attempt: u32,
    /// The scheduler's copy, once known.
    pub copy: Option<Copy>,
    /// Whether its owner wants it cancelled.
    pub cancel_wanted: bool,
    /// What was last reported.
    pub told: Told,
}

impl Tracked {
    /// A job just claimed. What is no spec at all is an error.
    pub fn claimed(work: Work<Value>) -> Result<Self, serde_json::Error> {
        let spec = Asked::read(work.spec)?;
        Ok(Self {
            job: work.job,
            cluster: spec.cluster.clone(),
            owner: work.owner,
            spec: Arc::new(spec),
            phase: Phase::Claimed,
            attempt: 0,
            copy: None,
            cancel_wanted: work.cancel_wanted,
            told: Told::default(),
        })
    }

    /// A job that the central side says is ours, and that we do not know: our
    /// claim's answer was lost, or our database. An earlier try may exist.
    pub fn recovered(work: Work<Value>) -> Result<Self, serde_json::Error> {
        Ok(Self {
            phase: Phase::Intent,
            ..Self::claimed(work)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_at_the_front_of_a_comment_only() {
        let marker = Marker {
            installation: Uuid::from_u128(7),
            job: JobId::from_uuid(Uuid::from_u128(9)),
        };
        let comment = marker.comment(Some("for the paper"));
        assert_eq!(Marker::of_comment(&comment), Some(marker));
        assert_eq!(Marker::of_comment(&marker.comment(None)), Some(marker));
        assert_eq!(Marker::of_comment(&format!("x {marker}")), None);
        assert_eq!(Marker::of_comment("forebay:x:y"), None);
        assert_eq!(Marker::of_comment(""), None);
    }
}
