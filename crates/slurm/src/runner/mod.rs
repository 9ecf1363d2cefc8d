//! The one door through which this crate starts a process.
//!
//! A [`Runner`] runs one of Slurm's programs and returns what it printed. [`LocalRunner`]
//! (feature `cli`) starts it on this host; another may go through SSH or answer from a table.

#[cfg(feature = "cli")]
mod local;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

#[cfg(feature = "cli")]
pub use local::{Config, LocalRunner};

/// Slurm's programs that this crate uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// Submits.
    Sbatch,
    /// Lists the controller's jobs.
    Squeue,
    /// Lists accounting's jobs.
    Sacct,
    /// Cancels and signals.
    Scancel,
    /// Holds, releases, shows.
    Scontrol,
    /// Lists partitions.
    Sinfo,
}

impl Program {
    /// The program's file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sbatch => "sbatch",
            Self::Squeue => "squeue",
            Self::Sacct => "sacct",
            Self::Scancel => "scancel",
            Self::Scontrol => "scontrol",
            Self::Sinfo => "sinfo",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One program to run. No shell is involved: arguments arrive as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which program.
    pub program: Program,
    /// Its arguments, without its own name; none holds NUL.
    pub args: Vec<String>,
    /// What it reads; `None` is an empty input.
    pub stdin: Option<Vec<u8>>,
    /// Variables added to the runner's own; a later one of the same name wins.
    pub env: Vec<(String, String)>,
    /// Where it runs; `None` is the runner's choice.
    pub dir: Option<PathBuf>,
    /// How long it may take in all. Then it and what it started are killed.
    pub deadline: Duration,
}

impl Command {
    /// A command without input or variables, with a deadline of 30 seconds.
    pub fn new<S: Into<String>>(program: Program, args: impl IntoIterator<Item = S>) -> Self {
        Self {
            program,
            args: args.into_iter().map(Into::into).collect(),
            stdin: None,
            env: Vec::new(),
            dir: None,
            deadline: Duration::from_secs(30),
        }
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it ended with exit code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a program printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its output, whole: a longer one than the runner allows is an error.
    pub stdout: Vec<u8>,
    /// Its error output; a runner may cut it.
    pub stderr: Vec<u8>,
}

/// Why a program gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The program is not where it was looked for.
    #[error("{program} was not found in {looked_in}")]
    NotFound {
        /// The program.
        program: Program,
        /// The directories.
        looked_in: String,
    },
    /// The directory to run in cannot be used.
    #[error("the directory {dir} cannot be used")]
    Dir {
        /// The directory.
        dir: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The process could not be started. Nothing ran.
    #[error("{program} could not be started")]
    Start {
        /// The program.
        program: Program,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It did not end in time and was killed. What it had asked for may have happened.
    #[error("{program} did not end within {deadline:?} and was killed")]
    Deadline {
        /// The program.
        program: Program,
        /// How long it had.
        deadline: Duration,
    },
    /// It printed more than allowed and was killed.
    #[error("{program} printed more than {bytes_max} bytes and was killed")]
    TooLarge {
        /// The program.
        program: Program,
        /// How much it might print.
        bytes_max: usize,
    },
    /// Talking to the process failed. What it had asked for may have happened.
    #[error("talking to {program} failed")]
    Io {
        /// The program.
        program: Program,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that a runner of another kind meets, such as a lost connection. What the
    /// program had asked for may have happened.
    #[error("{program} could not be run: {what}")]
    Other {
        /// The program.
        program: Program,
        /// What went wrong.
        what: String,
    },
}

impl RunnerError {
    /// Whether the program certainly never ran.
    pub fn never_ran(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::Dir { .. } | Self::Start { .. }
        )
    }
}

/// Runs Slurm's programs somewhere.
///
/// An implementation ends the program, and what it started, at the command's deadline, and bounds
/// what it keeps of the output. Dropping the future may end the program too.
#[async_trait]
pub trait Runner: Send + Sync + fmt::Debug {
    /// Runs one program to its end. A program that ran and failed is an [`Output`]; an error
    /// means that there is no answer.
    async fn run(&self, command: Command) -> Result<Output, RunnerError>;
}

#[async_trait]
impl<R: Runner + ?Sized> Runner for std::sync::Arc<R> {
    async fn run(&self, command: Command) -> Result<Output, RunnerError> {
        (**self).run(command).await
    }
}
