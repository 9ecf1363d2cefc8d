//! Hold, release, cancel: many jobs in one call, an answer for each.

use super::error::is_silence;
use super::{Cli, Error};
use crate::id::JobId;
use crate::runner::{Command, Output, Program};

/// Why one job was not held, released, cancelled or signalled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The controller does not know the job.
    #[error("the controller knows no such job")]
    NotFound,
    /// It has ended, or is ending. Not a proof that it ever was: Slurm also says so of an id that
    /// it does not know when that shares a slot of its hash table with an array.
    #[error("the job has ended")]
    Ended,
    /// It has started, and only waiting jobs can be held or released.
    #[error("the job does not wait any more")]
    NotPending,
    /// The caller may not.
    #[error("not permitted")]
    Denied,
    /// The controller did not answer for this job; it may have done it.
    #[error("the controller did not answer: {0}")]
    Unavailable(String),
    /// Anything else, in Slurm's words.
    #[error("{0}")]
    Other(String),
}

/// How to cancel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CancelOptions {
    /// A signal (`USR1`, `TERM`, `9`) to send instead of ending the job.
    pub signal: Option<String>,
    /// The signal goes to the batch script alone.
    pub batch_only: bool,
    /// The signal goes to the batch script too, not only to the steps.
    pub full: bool,
}

/// What became of each id, in the order given.
type Results = Vec<(JobId, Result<(), ControlError>)>;

impl Cli {
    /// Releases held jobs, many in one call. Releasing one that is not held is no error.
    ///
    /// An error means that the controller answered for none of a batch; a batch before it may
    /// have been released. Ask for the jobs' states.
    pub async fn release(&self, ids: &[JobId]) -> Result<Results, Error> {
        self.scontrol("release", ids).await
    }

    /// Holds waiting jobs, as the user's own hold, many in one call. Errors as with
    /// [`release`](Self::release).
    pub async fn hold(&self, ids: &[JobId]) -> Result<Results, Error> {
        // `hold` of an administrator would be a hold that the user cannot release.
        self.scontrol("uhold", ids).await
    }

    async fn scontrol(&self, verb: &str, ids: &[JobId]) -> Result<Results, Error> {
        let mut results = Vec::with_capacity(ids.len());
        for batch in ids.chunks(self.batch_max()) {
            // One word with commas: in several words, a failure could not be told from another.
            let list = batch
                .iter()
                .map(|id| id.without_step().to_string())
                .collect::<Vec<_>>()
                .join(",");
            let output = self
                .ask(Command::new(Program::Scontrol, [verb.to_owned(), list]))
                .await?;
            results.extend(read_results(
                Program::Scontrol,
                batch,
                &output,
                scontrol_line,
            )?);
        }
        Ok(results)
    }

    /// Cancels jobs, or signals them, many in one call. Errors as with
    /// [`release`](Self::release).
    pub async fn cancel(&self, ids: &[JobId], options: &CancelOptions) -> Result<Results, Error> {
        let mut args = vec!["--verbose".to_owned()];
        if let Some(signal) = &options.signal {
            if signal.is_empty() || !signal.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(Error::Invalid {
                    message: format!("`{}` is no signal", signal.escape_default()),
                });
            }
            args.push(format!("--signal={signal}"));
        }
        if options.batch_only {
            args.push("--batch".to_owned());
        }
        if options.full {
            args.push("--full".to_owned());
        }
        let mut results = Vec::with_capacity(ids.len());
        for batch in ids.chunks(self.batch_max()) {
            let args = args
                .iter()
                .cloned()
                .chain(batch.iter().map(ToString::to_string));
            let output = self.ask(Command::new(Program::Scancel, args)).await?;
            let text = String::from_utf8_lossy(&output.stderr);
            if text.contains("Unknown job signal") {
                return Err(Error::Invalid {
                    message: "there is no such signal".to_owned(),
                });
            }
            results.extend(read_results(
                Program::Scancel,
                batch,
                &output,
                scancel_line,
            )?);
        }
        Ok(results)
    }
}

/// `Invalid job id specified for job 5`, `5_2: Job is no longer pending execution`.
fn scontrol_line(line: &str) -> Option<(JobId, &str)> {
    if let Some((text, id)) = line.rsplit_once(" for job ")
        && let Ok(id) = id.parse()
    {
        return Some((id, text));
    }
    let (id, text) = line.split_once(": ")?;
    Some((id.parse().ok()?, text))
}

/// `scancel: error: Kill job error on job id 5: Invalid job id specified`.
fn scancel_line(line: &str) -> Option<(JobId, &str)> {
    let (_, rest) = line
        .split_once("Kill job error on job id ")
        .or_else(|| line.split_once("on job step id "))?;
    let (id, text) = rest.split_once(": ")?;
    Some((id.parse().ok()?, text))
}

fn read_results(
    program: Program,
    batch: &[JobId],
    output: &Output,
    read: impl Fn(&str) -> Option<(JobId, &str)>,
) -> Result<Results, Error> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let told: Vec<(JobId, &str)> = stderr
        .lines()
        .filter_map(|line| read(line.trim()))
        .collect();
    if told.is_empty() && !output.exit.success() {
        return Err(Error::of(program, output));
    }
    let results: Results = batch
        .iter()
        .map(|id| {
            let mut parts = told
                .iter()
                .filter(|(part, _)| id == part || id.covers(part) || part.covers(id))
                .map(|(_, text)| meaning(text))
                .peekable();
            // Of an array, tasks that cannot be held any more do not spoil the others; where
            // every part that is named failed, the first failure is told.
            let mut result = Ok(());
            let silent = parts.peek().is_none();
            if !silent {
                let outcomes: Vec<_> = parts.collect();
                if !outcomes.iter().any(Result::is_ok) {
                    result = outcomes.into_iter().find(Result::is_err).unwrap_or(Ok(()));
                }
            }
            (id.clone(), result)
        })
        .collect();
    // The controller went away before the first: nobody was answered for.
    if results
        .iter()
        .all(|(_, result)| matches!(result, Err(ControlError::Unavailable(_))))
        && let Some((_, Err(ControlError::Unavailable(message)))) = results.first()
    {
        return Err(Error::Unavailable {
            message: message.clone(),
            program,
        });
    }
    Ok(results)
}

fn meaning(text: &str) -> Result<(), ControlError> {
    let lower = text.to_ascii_lowercase();
    let has = |needles: &[&str]| needles.iter().any(|needle| lower.contains(needle));
    // A job that the partition as it is can never run is released all the same, and then waits
    // with this for its reason.
    let done = [
        "no error",
        "requested partition configuration not available now",
    ];
    Err(if has(&done) {
        return Ok(());
    } else if has(&["invalid job id"]) {
        ControlError::NotFound
    } else if has(&["already finished", "already completing", "has already done"]) {
        ControlError::Ended
    } else if has(&["no longer pending", "already started"]) {
        ControlError::NotPending
    } else if has(&["permission denied", "invalid user id"]) {
        ControlError::Denied
    } else if is_silence(&lower) {
        ControlError::Unavailable(text.to_owned())
    } else {
        ControlError::Other(text.chars().take(300).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::ControlError::{Denied, Ended, NotFound};
    use super::*;
    use crate::runner::Exit;

    fn ids(text: &str) -> Vec<JobId> {
        text.split(' ').map(|id| id.parse().unwrap()).collect()
    }

    fn output(exit: i32, stderr: &str) -> Output {
        Output {
            exit: Exit::Code(exit),
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_vec(),
        }
    }

    fn scontrol(
        batch: &str,
        exit: i32,
        stderr: &str,
    ) -> Result<Vec<Result<(), ControlError>>, Error> {
        read_results(
            Program::Scontrol,
            &ids(batch),
            &output(exit, stderr),
            scontrol_line,
        )
        .map(|results| results.into_iter().map(|(_, result)| result).collect())
    }

    // The texts are those of a real scontrol and scancel, 22.05 and 24.11.
    #[test]
    fn each_job_gets_its_own_answer() {
        let stderr = "Invalid job id specified for job 999\nJob has already finished for job 41\n\
                      Invalid user id for job 43\nslurm_suspend error: No error\n";
        assert_eq!(
            scontrol("1 999 41 43 2", 1, stderr).unwrap(),
            [Ok(()), Err(NotFound), Err(Ended), Err(Denied), Ok(())]
        );
        assert_eq!(scontrol("1 2", 0, "").unwrap(), [Ok(()), Ok(())]);
    }

    #[test]
    fn an_array_is_released_if_any_task_is() {
        let stderr = "5_1: Job is no longer pending execution\n5_[2-4]: No error\n";
        assert_eq!(scontrol("5 6", 1, stderr).unwrap(), [Ok(()), Ok(())]);
        let stderr =
            "5_1: Job is no longer pending execution\n5_2: Job is no longer pending execution\n";
        assert_eq!(
            scontrol("5", 1, stderr).unwrap(),
            [Err(ControlError::NotPending)]
        );
    }

    #[test]
    fn a_silent_controller_is_an_error_and_says_nothing_about_jobs() {
        let stderr = "Unexpected message received for job 5\nUnexpected message received for job 6\n\
                      slurm_suspend error: Unexpected message received\n";
        assert!(scontrol("5 6", 1, stderr).unwrap_err().is_unavailable());
        let stderr = "Unable to contact slurm controller (connect failure) for job 6\n";
        assert!(matches!(
            scontrol("5 6", 1, stderr).unwrap()[..],
            [Ok(()), Err(ControlError::Unavailable(_))]
        ));
        assert!(matches!(
            scontrol("5", 1, "scontrol: fatal: zork"),
            Err(Error::Failed { .. })
        ));
    }

    #[test]
    fn scancel_is_read_by_job() {
        let stderr = "scancel: Terminating job 5\nscancel: Terminating job 6\n\
                      scancel: error: Kill job error on job id 6: Job/step already completing or completed\n\
                      scancel: error: Kill job error on job id 45_9: Invalid job id specified\n\
                      scancel: error: Kill job error on job id 43: Access/permission denied\n";
        let results = read_results(
            Program::Scancel,
            &ids("5 6 45_9 43"),
            &output(210, stderr),
            scancel_line,
        )
        .unwrap();
        let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
        assert_eq!(results, [Ok(()), Err(Ended), Err(NotFound), Err(Denied)]);
    }
}
