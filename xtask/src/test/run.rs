//! Runs test programs, a few at a time, each with a deadline.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::outcome::Outcome;

/// Kept of one program's output; the rest is counted but not printed.
const OUTPUT_BYTES_MAX: usize = 8 << 20;
/// After a program's end, for output that is still in the pipe.
const DRAIN: Duration = Duration::from_secs(2);
/// How often we say that somebody still runs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A program that is ready to run.
pub(super) struct Job {
    pub(super) label: String,
    pub(super) command: Command,
}

/// A program that ran.
pub(super) struct Ran {
    pub(super) label: String,
    pub(super) output: String,
    pub(super) outcome: Outcome,
    pub(super) wall: Duration,
}

/// Runs all of them, at most `width` at a time, and gives each to `show` as it ends.
pub(super) fn all(
    jobs: Vec<Job>,
    width: usize,
    deadline: Duration,
    mut show: impl FnMut(&Ran),
) -> Outcome {
    let queue = Mutex::new(VecDeque::from(jobs));
    let running = Mutex::new(Vec::<String>::new());
    let (sender, ended) = mpsc::channel();
    let mut sum = Outcome::default();
    let (queue, running) = (&queue, &running);
    std::thread::scope(|scope| {
        for _ in 0..width.max(1) {
            let sender = sender.clone();
            scope.spawn(move || worker(queue, running, deadline, &sender));
        }
        drop(sender);
        loop {
            match ended.recv_timeout(HEARTBEAT) {
                Ok(ran) => {
                    sum.add(&ran.outcome);
                    show(&ran);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let running = running.lock().unwrap_or_else(PoisonError::into_inner);
                    eprintln!("still running: {}", running.join(", "));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    sum
}

fn worker(
    queue: &Mutex<VecDeque<Job>>,
    running: &Mutex<Vec<String>>,
    deadline: Duration,
    sender: &mpsc::Sender<Ran>,
) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some(job) = next else { return };
        let label = job.label.clone();
        running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(label.clone());
        let ran = one(job, deadline);
        running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|other| *other != label);
        if sender.send(ran).is_err() {
            return;
        }
    }
}

/// Runs one program to its end or its deadline.
pub(super) fn one(job: Job, deadline: Duration) -> Ran {
    let Job { label, command } = job;
    let start = Instant::now();
    let mut ran = Ran {
        label,
        output: String::new(),
        outcome: Outcome::default(),
        wall: Duration::ZERO,
    };
    let well = match follow(command, deadline, |line| ran.take(line)) {
        Ok(Some(status)) => {
            if !status.success() {
                ran.take(&format!("[ended with {status}]"));
            }
            status.success()
        }
        Ok(None) => {
            ran.take(&format!(
                "[killed: it ran longer than {} s]",
                deadline.as_secs()
            ));
            false
        }
        Err(error) => {
            ran.take(&format!("[{error:#}]"));
            false
        }
    };
    ran.wall = start.elapsed();
    ran.outcome.ended(well, &ran.label);
    ran
}

impl Ran {
    fn take(&mut self, line: &str) {
        self.outcome.note(line);
        if self.output.len() < OUTPUT_BYTES_MAX {
            self.output += line;
            self.output.push('\n');
        }
    }
}

/// Starts the program, gives its lines to `take`; `None` when it was killed at
/// the deadline. Its own children are not killed: those that stay are named at
/// the end of the run.
fn follow(
    mut command: Command,
    deadline: Duration,
    mut take: impl FnMut(&str),
) -> Result<Option<ExitStatus>> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn().context("cannot start it")?;
    drop(command); // and with it our ends of the pipe
    // Bounded: a program that prints faster than we read waits.
    let (sender, lines) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                return;
            }
        }
    });
    let status = watch(&mut child, Instant::now() + deadline, &lines, &mut take)?;
    let drained = Instant::now() + DRAIN;
    while let Ok(line) = lines.recv_timeout(drained.saturating_duration_since(Instant::now())) {
        take(&line);
    }
    Ok(status)
}

fn watch(
    child: &mut Child,
    deadline: Instant,
    lines: &mpsc::Receiver<String>,
    take: &mut impl FnMut(&str),
) -> Result<Option<ExitStatus>> {
    let pause = Duration::from_millis(20);
    loop {
        match lines.recv_timeout(pause) {
            Ok(line) => take(&line),
            // Not before the pause, but at once when the pipe is closed.
            Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(pause),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Job {
            label: script.to_owned(),
            command,
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_of_both_streams_is_kept_in_order_and_counted() {
        let ran = one(
            sh("echo a; echo b >&2; echo 'test result: ok. 2 passed; 0 failed'"),
            LONG,
        );
        assert!(ran.output.starts_with("a\nb\n"), "{}", ran.output);
        assert_eq!((ran.outcome.passed, ran.outcome.failed), (2, 0));
    }

    #[test]
    fn a_failing_program_says_with_what() {
        let ran = one(
            sh("echo 'test result: ok. 2 passed; 0 failed'; exit 7"),
            LONG,
        );
        assert!(ran.output.contains("exit status: 7"), "{}", ran.output);
        assert_eq!(ran.outcome.failed, 1);
    }

    #[test]
    fn a_program_that_hangs_is_killed_at_its_deadline() {
        let ran = one(sh("echo here; exec sleep 60"), Duration::from_millis(300));
        assert!(ran.output.contains("here\n[killed"), "{}", ran.output);
        assert_eq!(ran.outcome.failed, 1);
        assert!(ran.wall < Duration::from_secs(30));
    }

    #[test]
    fn a_child_that_keeps_the_pipe_open_does_not_hold_us() {
        let ran = one(sh("sleep 20 & echo $!"), LONG);
        let pid = ran.output.trim();
        Command::new("kill").arg(pid).status().unwrap();
        assert!(ran.wall < Duration::from_secs(15));
        assert_eq!(ran.outcome.passed, 1);
    }

    #[test]
    fn all_run_and_a_missing_program_is_a_failure() {
        let mut jobs: Vec<_> = (0..5).map(|n| sh(&format!("exit {n}"))).collect();
        jobs.push(Job {
            label: "none".into(),
            command: Command::new("/nonexistent/program"),
        });
        let mut shown = 0;
        let sum = all(jobs, 2, LONG, |_| shown += 1);
        assert_eq!((shown, sum.passed, sum.failed), (6, 1, 5));
    }
}
