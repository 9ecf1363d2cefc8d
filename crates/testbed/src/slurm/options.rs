//! What a cluster is to be like.

/// The cluster wanted. The default: two nodes of two cores and 1 GiB, no accounting, no REST.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes, each a real slurmd; 1 to 256. A slurmd takes about 2 MB.
    pub nodes: u16,
    /// Cores of each node, as Slurm believes: not bound to real ones.
    pub cpus: u16,
    /// Memory of each node in MiB, as Slurm believes.
    pub memory_mib: u32,
    /// Names of existing accounts to put into accounting.
    pub users: Vec<String>,
    /// The account (in Slurm's sense) that the users belong to.
    pub account: String,
    /// slurmdbd with `MariaDB`.
    pub accounting: bool,
    /// slurmrestd, on TCP and a unix socket.
    pub rest: bool,
    /// `MaxJobCount`: how many jobs the controller keeps.
    pub max_jobs: u32,
    /// `MinJobAge` in seconds: how long the controller remembers ended jobs; at least 2.
    pub min_job_age: u32,
    /// `ProctrackType`. The default needs no cgroups.
    pub proctrack: String,
    /// More lines for `slurm.conf`.
    pub extra_conf: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 2,
            cpus: 2,
            memory_mib: 1024,
            users: Vec::new(),
            account: "research".to_owned(),
            accounting: false,
            rest: false,
            max_jobs: 50_000,
            min_job_age: 300,
            proctrack: "proctrack/linuxproc".to_owned(),
            extra_conf: String::new(),
        }
    }
}
