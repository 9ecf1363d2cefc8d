//! Clusters as the API shows them.

use serde::{Deserialize, Serialize};

use crate::{ClusterName, Freshness, SiteName, Timestamp};

/// A cluster: one scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Cluster {
    /// Its name, for `spec.cluster`.
    pub name: ClusterName,
    /// The site it belongs to.
    pub site: SiteName,
    /// The integration that runs its jobs: `slurm`, `local`.
    pub integration: String,
    /// Rises with every change.
    pub rev: i64,
    /// How it is.
    pub status: ClusterStatus,
}

/// How a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ClusterStatus {
    /// `live` while its scheduler and its site answer.
    pub freshness: Freshness,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The scheduler's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the scheduler last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
    /// Where jobs can be sent within it.
    #[serde(default)]
    pub partitions: Vec<Partition>,
}

/// A partition of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Partition {
    /// Its name, for `spec.slurm.partition`.
    pub name: String,
    /// Whether jobs that name none go here.
    #[serde(default)]
    pub default: bool,
    /// `up`, `down`, `drain`, `inactive`.
    pub state: String,
    /// The longest a job may run, in seconds; absent for unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_s: Option<u64>,
    /// Nodes.
    pub nodes: u32,
    /// Cores.
    pub cpus: u32,
    /// Cores that are free now.
    pub cpus_idle: u32,
    /// Memory of the smallest node, MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
}
