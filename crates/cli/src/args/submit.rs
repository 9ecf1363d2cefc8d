//! `forebay submit`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};
use forebay_wire::ClusterName;

use super::values::Variable;
use crate::units::{duration, memory};

/// Options of `submit`.
#[derive(Clone, Debug, Default, Args)]
#[command(group = ArgGroup::new("work").required(true).args(["script", "command"]))]
#[command(
    override_usage = "forebay submit [OPTIONS] SCRIPT\n       forebay submit [OPTIONS] -- COMMAND [ARG]..."
)]
#[command(after_help = "\
Examples:
  forebay submit job.sh                               a script with its #SBATCH lines
  forebay submit --follow -- python3 -c 'print(6*7)'  a command; wait, print what it prints
  forebay submit -N 2 -n 64 --time 1:30:00 job.sh     two nodes, 64 tasks, an hour and a half
  forebay submit -S --ntasks-per-node=4 -S '-x n3' job.sh
  id=$(forebay submit job.sh); forebay logs -f $id
  generate | forebay submit --name made -             a script from a pipe

Options given here win over the script's #SBATCH lines. A command runs as it stands: no
shell reads it; for one, write: -- sh -c 'a | b'. Relative paths start at your home directory
on the cluster, not here.")]
pub struct SubmitArgs {
    /// The script; - reads it from a pipe.
    #[arg(value_name = "SCRIPT")]
    pub script: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,

    /// Where to run [default: the only cluster, or the one given to forebay login].
    #[arg(short = 'M', long, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
    /// What to call it.
    #[arg(short = 'J', long, alias = "job-name")]
    pub name: Option<String>,
    /// Where to run, on the cluster [default: your home directory].
    #[arg(short = 'D', long, value_name = "PATH", alias = "chdir")]
    pub directory: Option<String>,
    /// A variable for it; without =VALUE, your own is passed on.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<Variable>,
    /// A file on the cluster for its output [default: one that Forebay keeps for you].
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<String>,
    /// A file on the cluster for its standard error.
    #[arg(short, long, value_name = "PATH")]
    pub error: Option<String>,

    /// Nodes.
    #[arg(short = 'N', long, value_name = "N", help_heading = "Resources", value_parser = at_least_one())]
    pub nodes: Option<u32>,
    /// Tasks (processes) in all.
    #[arg(short = 'n', long, value_name = "N", alias = "ntasks", help_heading = "Resources", value_parser = at_least_one())]
    pub tasks: Option<u32>,
    /// Cores for each task.
    #[arg(short, long, value_name = "N", help_heading = "Resources", value_parser = at_least_one())]
    pub cpus_per_task: Option<u32>,
    /// Memory on each node: 500M, 4G; a plain number is MiB.
    #[arg(long, value_name = "SIZE", alias = "mem", help_heading = "Resources", value_parser = memory::parse)]
    pub memory: Option<u64>,
    /// GPUs in all.
    #[arg(short = 'G', long, value_name = "N", help_heading = "Resources", value_parser = at_least_one())]
    pub gpus: Option<u32>,
    /// The longest it may run: 90 (minutes), 1:30:00, 2-12, 1h30m.
    #[arg(short, long, value_name = "SPAN", help_heading = "Resources", value_parser = duration::parse)]
    pub time: Option<u64>,

    /// One partition, or several separated by commas.
    #[arg(short, long, value_name = "NAME", help_heading = "Slurm")]
    pub partition: Option<String>,
    /// Whom to charge.
    #[arg(short = 'A', long, value_name = "NAME", help_heading = "Slurm")]
    pub account: Option<String>,
    /// The quality of service.
    #[arg(short, long, value_name = "NAME", help_heading = "Slurm")]
    pub qos: Option<String>,
    /// Make it an array: 0-9%2.
    #[arg(short, long, value_name = "INDEXES", help_heading = "Slurm")]
    pub array: Option<String>,
    /// Run after others, by their scheduler's ids: afterok:123.
    #[arg(short, long, value_name = "CONDITION", help_heading = "Slurm")]
    pub dependency: Option<String>,
    /// Any option of sbatch, as it is written there: -S --exclusive, -S '-x n3'.
    #[arg(short = 'S', long, value_name = "OPTION", help_heading = "Slurm", allow_hyphen_values = true, value_parser = option_of_sbatch)]
    pub sbatch: Vec<String>,

    /// Wait for its end, and exit as it did (see forebay --help).
    #[arg(short = 'W', long, help_heading = "Watching")]
    pub wait: bool,
    /// Wait for its end, and print what it prints meanwhile.
    #[arg(short, long, help_heading = "Watching")]
    pub follow: bool,
    /// Print the job as JSON; with --follow, a document a line.
    #[arg(long, help_heading = "Watching")]
    pub json: bool,
    /// How long to go on when the server does not answer [default: 30s, and 10m while watching].
    #[arg(long, value_name = "SPAN", help_heading = "Watching", value_parser = span)]
    pub retry_for: Option<Duration>,
    /// Repeating a submission with the same key within a day makes no second job.
    #[arg(long, value_name = "KEY", help_heading = "Watching", value_parser = idempotency_key)]
    pub idempotency_key: Option<String>,
}

impl SubmitArgs {
    /// Whether to stay until the job ends.
    pub fn waits(&self) -> bool {
        self.wait || self.follow
    }
}

fn at_least_one() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

pub(super) fn span(text: &str) -> Result<Duration, duration::DurationError> {
    duration::parse(text).map(Duration::from_secs)
}

fn option_of_sbatch(text: &str) -> Result<String, String> {
    if text.starts_with('-') && !text.trim_matches('-').is_empty() {
        return Ok(text.to_owned());
    }
    Err(
        "write it with its dashes, as for sbatch: -S --exclusive, -S --gres=gpu:1, -S '-x n3'"
            .to_owned(),
    )
}

fn idempotency_key(text: &str) -> Result<String, String> {
    if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 128 printable ASCII characters without spaces".to_owned())
}
