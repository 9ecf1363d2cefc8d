//! One job by the real command, its output passed on as it appears.

use std::io::{self, Write};
use std::time::Duration;

use super::Error;
use super::progress::{self, Progress};
use crate::accounts::Account;
use crate::process::Exit;
use crate::site::{self, Running, Site};

/// What the job does: says where and as whom it runs, a line each half second.
const SCRIPT: &str = r#"#!/bin/sh
#SBATCH --job-name=sample
echo "hello from $(id -un) (uid $(id -u)) on $(hostname), at $(date +%T.%N | cut -c1-12)"
env | grep -E '^(SLURM_JOB_ID|SLURM_JOB_NODELIST|SLURM_CPUS_ON_NODE|SLURM_CLUSTER_NAME)=' | sort
for step in 1 2 3 4 5 6; do
    sleep 0.5
    echo "step $step of 6, at $(date +%T.%N | cut -c1-12)"
done
"#;
/// How often the output is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// A sample that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(180);

/// Runs it as `user`; answers its exit code. The job's output goes to standard output, what the
/// command itself says to standard error.
pub(super) async fn run(site: &Site, user: &Account, progress: &Progress) -> Result<u8, Error> {
    let script = site.dir().join("sample.sh");
    std::fs::write(&script, SCRIPT).map_err(|error| Error::Site(site::Error::Place(error)))?;
    let script = script.display().to_string();
    progress.say(&format!(
        "as {}: forebay submit --follow {script}",
        user.name
    ));
    let running = site
        .start_cli(&user.name, ["submit", "--follow", script.as_str()])
        .await;
    let running = running.map_err(Error::Site)?;
    let mut shown = Shown::default();
    let watch = async {
        while running.daemon().is_running() {
            shown.pass_on(&running);
            tokio::time::sleep(LOOK).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, watch).await.is_ok();
    shown.pass_on(&running);
    if !in_time {
        progress.say(&format!(
            "the sample job has not ended in {} s",
            DEADLINE.as_secs()
        ));
        return Ok(1);
    }
    let code = code(running.daemon().exit());
    progress.say(&format!("the sample job ended with exit code {code}"));
    Ok(code)
}

/// How much has been passed on.
#[derive(Default)]
struct Shown {
    stdout: usize,
    stderr: usize,
}

impl Shown {
    fn pass_on(&mut self, running: &Running) {
        let stdout = running.stdout();
        let new = stdout.get(self.stdout..).unwrap_or_default();
        // Nobody to read it: the job's own end is what counts.
        let _ = io::stdout()
            .write_all(new)
            .and_then(|()| io::stdout().flush());
        self.stdout += new.len();
        let stderr = running.stderr();
        let new = stderr.get(self.stderr..).unwrap_or_default();
        // Whole lines only.
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        for line in new[..whole].lines() {
            progress::line(line);
        }
        self.stderr += whole;
    }
}

/// As a shell has it: 128 and the signal.
fn code(exit: Option<Exit>) -> u8 {
    let code = match exit {
        Some(Exit {
            code: Some(code), ..
        }) => code,
        Some(Exit {
            signal: Some(signal),
            ..
        }) => 128 + signal,
        _ => 1,
    };
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_as_a_shell_has_them() {
        let exit = |code, signal| Some(Exit { code, signal });
        assert_eq!(code(exit(Some(0), None)), 0);
        assert_eq!(code(exit(Some(3), None)), 3);
        assert_eq!(code(exit(None, Some(9))), 137);
        assert_eq!(code(None), 1);
    }
}
