//! The last step before the script: a process of its own that becomes the script.
//!
//! Between `fork` and `exec` only few calls are safe, so what has to be set in the new process
//! is set here, after an `exec` of this same program, and then it becomes the script.

use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};

/// How long a script may be "busy": a copy of the descriptor it was written through lives, in a
/// process just being started, until that process begins.
const BUSY: Duration = Duration::from_secs(2);

/// Becomes the script; returns only if that fails, with what shells give then.
#[allow(
    clippy::print_stderr,
    reason = "standard error is the job's; the user reads it there"
)]
pub(super) fn run(script: &Path, directory: &Path, parent: u32) -> ExitCode {
    // Should the shim be killed, nobody would end this job at its time limit.
    let asked = set_parent_process_death_signal(Some(Signal::KILL));
    if asked.is_err() || parent_id() != parent {
        return ExitCode::FAILURE;
    }
    if let Err(error) = std::env::set_current_dir(directory) {
        eprintln!(
            "forebay: cannot enter the directory {}: {error}",
            directory.display()
        );
        return ExitCode::from(126);
    }
    let deadline = Instant::now() + BUSY;
    loop {
        let error = Command::new(script).exec();
        if error.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        eprintln!("forebay: cannot run the script (its first line names its interpreter): {error}");
        let absent = error.kind() == std::io::ErrorKind::NotFound;
        return ExitCode::from(if absent { 127 } else { 126 });
    }
}
