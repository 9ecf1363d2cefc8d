//! Jobs as the API shows them.

use serde::{Deserialize, Serialize};

use super::JobSpec;
use crate::{Freshness, JobId, JobState, SiteName, Timestamp};

/// The body of `POST /api/v1/jobs`. Fields that the server does not know are refused.
// By the server and not by this type: its spec is also part of answers, which a client must be able
// to read when the server is newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CreateJob {
    /// What to run.
    pub spec: JobSpec,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Job {
    /// Forebay's own id.
    pub id: JobId,
    /// Rises with every change.
    pub rev: i64,
    /// When it was handed in.
    pub created_at: Timestamp,
    /// The name of the user whose job it is.
    pub owner: String,
    /// The site that runs it.
    pub site: SiteName,
    /// What was asked for.
    pub spec: JobSpec,
    /// What became of it.
    pub status: JobStatus,
}

/// What became of a job so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobStatus {
    /// Where it is in its life.
    pub state: JobState,
    /// How well that is known.
    pub freshness: Freshness,
    /// How often it was started anew by the scheduler.
    pub run: u32,
    /// Why it waits, was refused or ended, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When somebody asked to cancel it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_wanted_at: Option<Timestamp>,
    /// The scheduler's id, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_id: Option<String>,
    /// When the scheduler took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// When it began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How its program ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The nodes it was given, as the scheduler writes them: `n[1-3]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// The file that holds its standard output, on the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_path: Option<String>,
    /// The file that holds its standard error, on the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_path: Option<String>,
    /// Of an array: how many tasks it has. Their states are at `/jobs/{id}/tasks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Exit {
    /// The exit code, 0 to 255.
    pub code: i32,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

/// One task of an array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobTask {
    /// Its index in the array.
    pub index: u32,
    /// Where it is in its life.
    pub state: JobState,
    /// The scheduler's id of this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_id: Option<String>,
    /// When it began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How its program ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// The nodes it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
}
