//! A submission: what goes to `sbatch`, and what its answer means.

mod options;
mod refusal;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use options::{InvalidOption, NodeCount, OpenMode, Options};
pub use refusal::RefusalReason;
pub(crate) use refusal::clean;

use crate::id::JobId;
use crate::runner::{Command, Exit, Output, Program, RunnerError};
use crate::script::option_of_variable;
use refusal::{Meaning, meaning, sentence};

/// A job to submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The batch script; `sbatch` reads it from its input, so no file is needed.
    pub script: Vec<u8>,
    /// What it asks for, beside its `#SBATCH` lines; this wins over them.
    pub options: Options,
    /// `sbatch`'s environment, beside the runner's own; the job gets both, unless `export` says
    /// otherwise. Names beginning with `SBATCH_` or `SLURM_` are refused: they steer `sbatch`.
    pub env: Vec<(String, String)>,
    /// Where `sbatch` runs, and with it the job, unless `chdir` says otherwise.
    pub dir: Option<PathBuf>,
}

impl Submission {
    /// A submission of this script, everything else left open.
    pub fn new(script: impl Into<Vec<u8>>) -> Self {
        Self {
            script: script.into(),
            options: Options::default(),
            env: Vec::new(),
            dir: None,
        }
    }

    /// The command that submits it. Its deadline is the caller's to set.
    pub fn to_command(&self) -> Result<Command, InvalidSubmission> {
        let mut arguments = vec!["--parsable".to_owned()];
        arguments.extend(self.options.to_arguments()?);
        for (name, value) in &self.env {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if name.is_empty() || name.as_bytes()[0].is_ascii_digit() || !name.bytes().all(letters)
            {
                return Err(InvalidSubmission::VariableName {
                    name: name.chars().take(100).collect(),
                });
            }
            if name.starts_with("SBATCH_") || name.starts_with("SLURM_") {
                return Err(InvalidSubmission::Variable {
                    name: name.clone(),
                    option: option_of_variable(name),
                });
            }
            if value.contains('\0') {
                return Err(InvalidSubmission::Nul { what: "a variable" });
            }
        }
        if self.script.is_empty() {
            return Err(InvalidSubmission::NoScript);
        }
        Ok(Command {
            stdin: Some(self.script.clone()),
            env: self.env.clone(),
            dir: self.dir.clone(),
            ..Command::new(Program::Sbatch, arguments)
        })
    }
}

/// A submission that is not sent, because it cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubmission {
    /// There is no script.
    #[error("there is no script")]
    NoScript,
    /// One of the options.
    #[error("an option cannot be right")]
    Option(#[source] InvalidOption),
    /// A variable steers `sbatch`.
    #[error("the variable {name} would steer sbatch{}; leave it out", .option.map(|option| format!(" like --{option}")).unwrap_or_default())]
    Variable {
        /// Its name.
        name: String,
        /// The option it sets.
        option: Option<&'static str>,
    },
    /// A variable's name is not one.
    #[error("`{name}` is no name for a variable; use letters, digits and underscores")]
    VariableName {
        /// The name.
        name: String,
    },
    /// A text holds NUL.
    #[error("{what} holds a NUL byte")]
    Nul {
        /// Which.
        what: &'static str,
    },
}

impl From<InvalidOption> for InvalidSubmission {
    fn from(error: InvalidOption) -> Self {
        Self::Option(error)
    }
}

/// A job that Slurm accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its id; of an array the array's.
    pub id: JobId,
    /// The cluster, when `sbatch` named one.
    pub cluster: Option<String>,
    /// What `sbatch` or a site's plugin had to say.
    pub warnings: Option<String>,
}

/// Why there is no accepted job, or why that is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Nothing was sent: the submission cannot be right.
    #[error("the submission was not sent")]
    Invalid(#[source] InvalidSubmission),
    /// Slurm refused the job. No job was made.
    #[error("{message}")]
    Refused {
        /// Why.
        reason: RefusalReason,
        /// A sentence for the user that says what to change.
        message: String,
        /// Slurm's own words.
        raw: String,
    },
    /// Slurm has no room at the moment. No job was made; the same submission may pass later.
    #[error("Slurm takes no more jobs at the moment: {raw}")]
    Busy {
        /// Slurm's own words.
        raw: String,
    },
    /// There is no answer.
    #[error("Slurm gave no answer to the submission: {message}")]
    Unavailable {
        /// Whether a job may have been made all the same. Then look for it before submitting
        /// again.
        maybe_submitted: bool,
        /// What is known.
        message: String,
        /// Why the program gave no answer, when it was that.
        #[source]
        source: Option<RunnerError>,
    },
}

impl SubmitError {
    /// Whether a job may exist in spite of the error.
    pub fn maybe_submitted(&self) -> bool {
        matches!(
            self,
            Self::Unavailable {
                maybe_submitted: true,
                ..
            }
        )
    }
}

/// Reads `sbatch`'s answer. `options` are those of the submission, for the sentence.
pub fn read_answer(
    result: Result<Output, RunnerError>,
    options: &Options,
) -> Result<Submitted, SubmitError> {
    let output = match result {
        Ok(output) => output,
        Err(RunnerError::Dir { dir, source }) => {
            return Err(SubmitError::Refused {
                reason: RefusalReason::InvalidDirectory,
                message: format!(
                    "The working directory `{dir}` cannot be used; change it or create it."
                ),
                raw: source.to_string(),
            });
        }
        Err(error) => {
            return Err(SubmitError::Unavailable {
                maybe_submitted: !error.never_ran(),
                message: "sbatch did not finish".to_owned(),
                source: Some(error),
            });
        }
    };
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let raw = clean(&stderr);
    // An id was printed: the job exists, whatever came after.
    if let Some((id, cluster)) = stdout.lines().rev().find_map(read_id) {
        let warnings = if raw.is_empty() { None } else { Some(raw) };
        return Ok(Submitted {
            id,
            cluster,
            warnings,
        });
    }
    if output.exit.success() {
        return Err(SubmitError::Unavailable {
            maybe_submitted: true,
            message: format!("sbatch succeeded without printing an id ({raw})"),
            source: None,
        });
    }
    if let Exit::Signal(signal) = output.exit {
        return Err(SubmitError::Unavailable {
            maybe_submitted: true,
            message: format!("sbatch was ended by signal {signal}"),
            source: None,
        });
    }
    Err(match meaning(&stderr) {
        Meaning::Refused(reason) => SubmitError::Refused {
            reason,
            message: sentence(reason, options, &raw),
            raw,
        },
        Meaning::Busy => SubmitError::Busy { raw },
        Meaning::Unavailable { sent } => SubmitError::Unavailable {
            maybe_submitted: sent,
            message: raw,
            source: None,
        },
        Meaning::Unrecognised if raw.is_empty() => SubmitError::Unavailable {
            maybe_submitted: true,
            message: format!("sbatch failed with {} and said nothing", output.exit),
            source: None,
        },
        Meaning::Unrecognised => {
            let reason = RefusalReason::Other;
            SubmitError::Refused {
                reason,
                message: sentence(reason, options, &raw),
                raw,
            }
        }
    })
}

/// `123`, `123;cluster` or `Submitted batch job 123 on cluster x`.
fn read_id(line: &str) -> Option<(JobId, Option<String>)> {
    let line = line.trim();
    let (id, cluster) = match line.strip_prefix("Submitted batch job ") {
        Some(rest) => match rest.split_once(" on cluster ") {
            Some((id, cluster)) => (id, Some(cluster)),
            None => (rest, None),
        },
        None => match line.split_once(';') {
            Some((id, cluster)) => (id, Some(cluster)),
            None => (line, None),
        },
    };
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((
        JobId::new(id.parse().ok()?),
        cluster.filter(|name| !name.is_empty()).map(str::to_owned),
    ))
}

#[cfg(test)]
mod tests;
