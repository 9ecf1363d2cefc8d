//! Options of the commands that look at jobs and clusters.

use std::time::Duration;

use clap::{Args, ValueEnum, builder::PossibleValue};
use forebay_wire::{ClusterName, JobState};

use super::{submit::span, values::JobRef};

/// Options of `jobs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay jobs --state open                 what waits or runs
  forebay jobs --state failed,timed_out     what went wrong
  forebay jobs --name bench --all-pages     all with `bench` in their name
  forebay jobs --json | jq -r '.items[].id'

A state is marked (stale) while its cluster does not answer, and (missing) while the scheduler
does not list the job: the state shown is then the last that was known.")]
pub struct JobsArgs {
    /// Only jobs in these states; `open` and `ended` stand for several.
    #[arg(short, long, value_delimiter = ',')]
    pub state: Vec<StateFilter>,
    /// Only jobs of this cluster.
    #[arg(short = 'M', long, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
    /// Only jobs with this in their name.
    #[arg(short, long, value_name = "TEXT")]
    pub name: Option<String>,
    /// At most this many.
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// All of them, however many.
    #[arg(long, conflicts_with = "limit")]
    pub all_pages: bool,
    /// In which order.
    #[arg(long, value_enum, default_value_t = Sort::Newest)]
    pub sort: Sort,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The order of a list of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// The last submitted first.
    #[value(alias = "-created_at")]
    Newest,
    /// The first submitted first.
    #[value(alias = "created_at")]
    Oldest,
    /// By name.
    Name,
    /// By name, backwards.
    #[value(alias = "-name")]
    NameDown,
}

impl Sort {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "-created_at",
            Self::Oldest => "created_at",
            Self::Name => "name",
            Self::NameDown => "-name",
        }
    }
}

/// A state, or a word for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFilter {
    /// Every state that is no end.
    Open,
    /// Every end.
    Ended,
    /// One state.
    One(JobState),
}

impl StateFilter {
    const ALL: [Self; 17] = {
        let mut all = [Self::Open; 17];
        all[1] = Self::Ended;
        let mut index = 0;
        while index < JobState::ALL.len() {
            all[index + 2] = Self::One(JobState::ALL[index]);
            index += 1;
        }
        all
    };

    /// The states meant.
    pub fn states(self) -> Vec<JobState> {
        let all = JobState::ALL.iter().copied();
        match self {
            Self::Open => all.filter(|state| !state.is_end()).collect(),
            Self::Ended => all.filter(|state| state.is_end()).collect(),
            Self::One(state) => vec![state],
        }
    }
}

impl ValueEnum for StateFilter {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Open => PossibleValue::new("open").help("Every state that is no end"),
            Self::Ended => PossibleValue::new("ended").help("Every end"),
            Self::One(state) => PossibleValue::new(state.as_str()),
        })
    }
}

/// Options of `show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The job's id, or `last`.
    pub job: JobRef,
    /// Of an array, list every task, not only those that failed.
    #[arg(long)]
    pub tasks: bool,
    /// Print JSON: the job, its events and tasks.
    #[arg(long)]
    pub json: bool,
}

/// Options of `logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay logs last                  all that your newest job printed
  forebay logs -f last               and what it goes on to print, until it ends
  forebay logs --both -f JOB         its standard error too, on standard error
  forebay logs --tail 2000 JOB       the last 2000 bytes
  forebay logs --task 7 JOB          of the array's task 7

The bytes are those the job printed, unchanged. A broken connection is taken up again where
it broke.")]
pub struct LogsArgs {
    /// The job's id, or `last`.
    pub job: JobRef,
    /// Go on until the job ends.
    #[arg(short, long)]
    pub follow: bool,
    /// Its standard error instead.
    #[arg(long, conflicts_with = "both")]
    pub stderr: bool,
    /// Standard output and standard error, each to ours.
    #[arg(long)]
    pub both: bool,
    /// The task of an array.
    #[arg(long, value_name = "INDEX")]
    pub task: Option<u32>,
    /// Only the end: this many bytes.
    #[arg(long, value_name = "BYTES", conflicts_with = "json", value_parser = clap::value_parser!(u64).range(1..))]
    pub tail: Option<u64>,
    /// Print JSON, a document a line.
    #[arg(long, requires = "follow")]
    pub json: bool,
    /// How long to go on when the server does not answer [default: 10m with -f, else 10s].
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub retry_for: Option<Duration>,
}

/// Options of `cancel`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay cancel last
  forebay jobs --state open --json | jq -r '.items[].id' | xargs forebay cancel")]
pub struct CancelArgs {
    /// The jobs' ids, or `last`.
    #[arg(required = true)]
    pub jobs: Vec<JobRef>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `clusters`.
#[derive(Debug, Args)]
pub struct ClustersArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `whoami`.
#[derive(Debug, Args)]
pub struct WhoamiArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
