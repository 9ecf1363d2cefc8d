#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cli;
mod duration;
mod exit;
mod id;
mod memory;
pub mod options;
mod paths;
pub mod runner;
pub mod script;
mod state;
pub mod submit;
mod table;

pub use cli::{
    AcctJob, AcctQuery, CancelOptions, Cli, ControlError, Error, JobDetail, QueueJob, QueueQuery,
};
pub use duration::{ParseTimeLimitError, TimeLimit};
pub use exit::{ExitStatus, ParseExitError};
pub use id::{JobId, ParseIdError, Part, Step, TaskRange, TaskSet};
pub use memory::{MemoryPer, MemorySize, ParseMemoryError};
#[cfg(feature = "cli")]
pub use runner::LocalRunner;
pub use runner::{Command, Exit, Output, Program, Runner, RunnerError};
pub use script::BatchScript;
pub use state::{BaseState, JobState, StateFlag};
pub use submit::{RefusalReason, Submission, SubmitError, Submitted};
pub use table::{Listing, Skipped};
