//! The cluster itself: its controllers, its configuration, its partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::fields::{self, number, text};
use super::{Cli, Error};
use crate::duration::TimeLimit;
use crate::options::Release;
use crate::runner::{Command, Program};
use crate::table::{Listing, Separators};

/// A controller and whether it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Controller {
    /// `primary`, `backup`, `backup1`, …
    pub role: String,
    /// Its host.
    pub host: String,
    /// Whether it answers.
    pub up: bool,
}

/// The settings that an adapter needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterConfig {
    /// The cluster's name.
    pub cluster: String,
    /// The controller's version, such as `22.05.8`.
    pub version: String,
    /// When the controller was started last.
    #[serde(with = "time::serde::rfc3339::option")]
    pub booted_at: Option<OffsetDateTime>,
    /// Whether accounting is kept in a database.
    pub accounting: bool,
    /// Whether accounting stores jobs' comments.
    pub stores_comments: bool,
    /// How long the controller knows a job after its end, at least.
    pub min_job_age: Duration,
    /// Array task numbers are below this.
    pub max_array_size: u64,
    /// How many jobs the controller holds at most.
    pub max_job_count: u64,
    /// A script's largest size, in bytes.
    pub script_bytes_max: u64,
    /// What users cannot see of each other (`jobs`, `accounts`, …), in lower case.
    pub private_data: Vec<String>,
    /// Everything that `scontrol show config` printed as `key = value`.
    pub all: BTreeMap<String, String>,
}

impl ClusterConfig {
    /// The controller's release, such as 22.05.
    pub fn release(&self) -> Option<Release> {
        Release::parse(&self.version)
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// Whether jobs go there that name none.
    pub default: bool,
    /// Whether it takes and starts jobs.
    pub state: PartitionState,
    /// The longest time limit.
    pub time_limit: TimeLimit,
    /// Nodes that run something.
    pub nodes_allocated: u64,
    /// Nodes that are free.
    pub nodes_idle: u64,
    /// Nodes that are down, drained or reserved.
    pub nodes_other: u64,
    /// All nodes.
    pub nodes_total: u64,
    /// Processors in use.
    pub cpus_allocated: u64,
    /// Processors that are free.
    pub cpus_idle: u64,
    /// Processors of nodes that are down, drained or reserved.
    pub cpus_other: u64,
    /// All processors.
    pub cpus_total: u64,
    /// The memory of its smallest node, in MiB.
    pub memory_mib: u64,
    /// Generic resources, as Slurm prints them; empty for none.
    pub gres: String,
}

/// Whether a partition takes and starts jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionState {
    /// It takes and starts them.
    Up,
    /// It takes them and starts none.
    Down,
    /// It takes none and starts those it has.
    Drain,
    /// It takes none and starts none.
    Inactive,
    /// A word that this crate does not know.
    Unknown(String),
}

const PARTITION_FIELDS: [&str; 8] = ["%P", "%a", "%l", "%F", "%C", "%m", "%G", "%R"];

fn read_partition(fields: &[&str; 8]) -> Result<Partition, String> {
    let [marked, state, limit, nodes, cpus, memory, gres, name] = *fields;
    let [nodes_allocated, nodes_idle, nodes_other, nodes_total] = four(nodes)?;
    let [cpus_allocated, cpus_idle, cpus_other, cpus_total] = four(cpus)?;
    Ok(Partition {
        name: name.to_owned(),
        default: marked.strip_suffix('*') == Some(name),
        state: match state {
            "up" => PartitionState::Up,
            "down" => PartitionState::Down,
            "drain" => PartitionState::Drain,
            "inact" | "inactive" => PartitionState::Inactive,
            other => PartitionState::Unknown(other.to_owned()),
        },
        time_limit: limit.parse().unwrap_or(TimeLimit::Unknown),
        nodes_allocated,
        nodes_idle,
        nodes_other,
        nodes_total,
        cpus_allocated,
        cpus_idle,
        cpus_other,
        cpus_total,
        memory_mib: number(memory.trim_end_matches('+'), "memory")?,
        gres: text(gres),
    })
}

/// `allocated/idle/other/total`, each perhaps as `1.5K`.
fn four(field: &str) -> Result<[u64; 4], String> {
    let numbers: Vec<u64> = field
        .split('/')
        .map(scaled)
        .collect::<Option<_>>()
        .ok_or_else(|| bad_counts(field))?;
    numbers.try_into().map_err(|_| bad_counts(field))
}

fn bad_counts(field: &str) -> String {
    format!("bad counts `{field}`")
}

/// A count, which Slurm may print as `2K` (2,048).
fn scaled(text: &str) -> Option<u64> {
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => text
            .parse::<crate::MemorySize>()
            .ok()
            .map(|size| size.kib.saturating_mul(1024)),
    }
}

/// `Slurmctld(primary) at host is UP`.
fn read_controller(line: &str) -> Option<Controller> {
    let rest = line.trim().strip_prefix("Slurmctld(")?;
    let (role, rest) = rest.split_once(") at ")?;
    let (host, state) = rest.rsplit_once(" is ")?;
    Some(Controller {
        role: role.to_owned(),
        host: host.to_owned(),
        up: state.trim() == "UP",
    })
}

fn read_config(output: &str) -> Option<ClusterConfig> {
    let all: BTreeMap<String, String> = output
        .lines()
        .filter_map(|line| line.split_once(" = ").or_else(|| line.split_once("= ")))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let get = |key: &str| all.get(key).map_or("", String::as_str);
    let has = |key: &str, word: &str| {
        get(key)
            .split(',')
            .any(|flag| flag.trim().eq_ignore_ascii_case(word))
    };
    let first_number = |text: &str| {
        text.split_whitespace()
            .next()
            .and_then(|number| number.parse::<u64>().ok())
    };
    let script_bytes_max = get("SchedulerParameters")
        .split(',')
        .find_map(|parameter| parameter.trim().strip_prefix("max_script_size="))
        .and_then(first_number)
        .unwrap_or(crate::script::SCRIPT_BYTES_MAX as u64);
    let config = ClusterConfig {
        cluster: get("ClusterName").to_owned(),
        version: get("SLURM_VERSION").to_owned(),
        booted_at: fields::time(get("BOOT_TIME")).ok().flatten(),
        accounting: get("AccountingStorageType").ends_with("slurmdbd"),
        stores_comments: has("AccountingStoreFlags", "job_comment"),
        min_job_age: Duration::from_secs(first_number(get("MinJobAge")).unwrap_or(0)),
        max_array_size: first_number(get("MaxArraySize")).unwrap_or(0),
        max_job_count: first_number(get("MaxJobCount")).unwrap_or(0),
        script_bytes_max,
        private_data: get("PrivateData")
            .split(',')
            .map(|word| word.trim().to_ascii_lowercase())
            .filter(|word| !word.is_empty() && word != "none")
            .collect(),
        all,
    };
    if config.version.is_empty() || config.cluster.is_empty() {
        None
    } else {
        Some(config)
    }
}

impl Cli {
    /// The controllers, and which of them answer. That none does is an answer, not an error.
    pub async fn ping(&self) -> Result<Vec<Controller>, Error> {
        let output = self.ask(Command::new(Program::Scontrol, ["ping"])).await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let controllers: Vec<Controller> = text.lines().filter_map(read_controller).collect();
        if controllers.is_empty() {
            Err(Error::of(Program::Scontrol, &output))
        } else {
            Ok(controllers)
        }
    }

    /// The settings that an adapter needs.
    pub async fn config(&self) -> Result<ClusterConfig, Error> {
        let command = Command {
            env: super::queue::environment(),
            ..Command::new(Program::Scontrol, ["show", "config"])
        };
        let output = self.ask(command).await?;
        if !output.exit.success() {
            return Err(Error::of(Program::Scontrol, &output));
        }
        read_config(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| Error::Malformed {
            program: Program::Scontrol,
            message: "neither a version nor a cluster's name is shown".to_owned(),
        })
    }

    /// The partitions that the caller can see, hidden ones too.
    pub async fn partitions(&self) -> Result<Listing<Partition>, Error> {
        let by = Separators::new();
        let format = format!("{}{}", PARTITION_FIELDS.join(&by.field), by.row);
        let args = [
            "--noheader".to_owned(),
            "--all".to_owned(),
            "--summarize".to_owned(),
            format!("--format={format}"),
        ];
        let output = self.ask(Command::new(Program::Sinfo, args)).await?;
        if !output.exit.success() {
            return Err(Error::of(Program::Sinfo, &output));
        }
        Ok(by.rows(&String::from_utf8_lossy(&output.stdout), read_partition))
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
