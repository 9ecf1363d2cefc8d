//! What the command's exit code says. One table, printed by `--help`.

use forebay_wire::{JobState, api::Exit};

/// All went well; with `--wait`, the job succeeded.
pub const OK: u8 = 0;
/// The request failed, or the job failed and its exit code is not known.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The job was submitted, but could not be watched to its end. It goes on.
pub const LOST_SIGHT: u8 = 117;
/// The job gave way to a more important one.
pub const PREEMPTED: u8 = 119;
/// The job was cancelled.
pub const CANCELLED: u8 = 120;
/// The scheduler would not take the job.
pub const REJECTED: u8 = 121;
/// The scheduler lost the job.
pub const LOST: u8 = 122;
/// The job wanted more memory than it was given.
pub const OUT_OF_MEMORY: u8 = 123;
/// The job reached its time limit. `timeout(1)` uses the same number.
pub const TIMED_OUT: u8 = 124;
/// The job's node failed.
pub const NODE_FAILED: u8 = 125;
/// Interrupted (128 + SIGINT). A job that was being waited for goes on.
pub const INTERRUPTED: u8 = 130;
/// Whoever read our output went away (128 + SIGPIPE).
pub const BROKEN_PIPE: u8 = 141;

/// The table as `forebay --help` shows it.
pub const HELP: &str = "\
Exit codes:
  0    done; with --wait: the job succeeded
  1    the request failed; with --wait: the job failed, its code unknown
  2    the command line is wrong
  130  interrupted; a job that was being waited for goes on
  141  the reader of the output went away

With submit --wait or --follow, the code of the job's own program, or 128 and
the signal that ended it, or:
  117  the job was submitted, but could not be watched to its end; it goes on
  119  preempted            120  cancelled          121  rejected by the scheduler
  122  lost by the scheduler                        123  out of memory
  124  time limit reached   125  node failed";

/// The code for a job that came to an end. States that are no end count as
/// [`LOST_SIGHT`]: the job goes on.
pub fn of_job(state: JobState, exit: Option<Exit>) -> u8 {
    match state {
        JobState::Succeeded => OK,
        JobState::Failed => own_code(exit),
        JobState::Cancelled => CANCELLED,
        JobState::TimedOut => TIMED_OUT,
        JobState::OutOfMemory => OUT_OF_MEMORY,
        JobState::NodeFailed => NODE_FAILED,
        JobState::Preempted => PREEMPTED,
        JobState::Rejected => REJECTED,
        JobState::Lost => LOST,
        JobState::Draft
        | JobState::Queued
        | JobState::Submitting
        | JobState::Pending
        | JobState::Running
        | JobState::Ending => LOST_SIGHT,
    }
}

/// The program's own code; never 0, for the job has failed.
fn own_code(exit: Option<Exit>) -> u8 {
    let Some(exit) = exit else { return FAILED };
    let code = match exit.signal {
        Some(signal) if signal > 0 => signal
            .checked_add(128)
            .and_then(|code| u8::try_from(code).ok()),
        _ => u8::try_from(exit.code).ok(),
    };
    code.filter(|code| *code != OK).unwrap_or(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_code_and_only_success_is_zero() {
        let killed = Exit {
            code: 0,
            signal: Some(9),
        };
        let three = Exit {
            code: 3,
            signal: None,
        };
        let zero = Exit {
            code: 0,
            signal: None,
        };
        let odd = Exit {
            code: 0,
            signal: Some(4000),
        };
        assert_eq!(of_job(JobState::Failed, Some(three)), 3);
        assert_eq!(of_job(JobState::Failed, Some(killed)), 137);
        assert_eq!(of_job(JobState::Failed, Some(zero)), FAILED);
        assert_eq!(of_job(JobState::Failed, Some(odd)), FAILED);
        assert_eq!(of_job(JobState::Failed, None), FAILED);
        // An end of another kind keeps its code whatever its program's was.
        assert_eq!(of_job(JobState::Cancelled, Some(killed)), CANCELLED);
        assert_eq!(of_job(JobState::TimedOut, Some(zero)), TIMED_OUT);
        for state in JobState::ALL {
            assert_eq!(
                of_job(*state, Some(zero)) == OK,
                *state == JobState::Succeeded,
                "{state}"
            );
        }
    }

    #[test]
    fn the_table_names_every_code() {
        let codes = [
            OK,
            FAILED,
            USAGE,
            LOST_SIGHT,
            PREEMPTED,
            CANCELLED,
            REJECTED,
            LOST,
            OUT_OF_MEMORY,
            TIMED_OUT,
            NODE_FAILED,
            INTERRUPTED,
            BROKEN_PIPE,
        ];
        for code in codes {
            assert!(HELP.contains(&format!("  {code}  ")), "{code}");
        }
    }
}
