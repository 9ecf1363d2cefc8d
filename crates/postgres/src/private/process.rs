//! A child process that cannot outlive this one unnoticed: its end, its last words, and its signals.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::{oneshot, watch};

use super::error::Error;

/// Lines kept for an error message.
const TAIL_LINES: usize = 12;
/// Bytes of one line that are looked at.
const LINE_BYTES_MAX: u64 = 4096;

type Output = Box<dyn Read + Send>;

/// A child. Dropping it sends the signal that it was started with.
///
/// Two plain threads serve it: one starts it and waits for it, one reads what it says. It is a thread and not a task
/// that starts it because the kernel ties "tell me when my parent dies" to the *thread* that forked, and a runtime's
/// threads come and go.
#[derive(Debug)]
pub(super) struct Running {
    /// `None` from just before the child is reaped, so that no signal can hit another process of the same id.
    pid: Arc<Mutex<Option<Pid>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
    tail: Arc<Mutex<VecDeque<String>>>,
    /// Ends when the child has closed its output.
    quiet: watch::Receiver<()>,
    on_drop: Signal,
}

impl Running {
    /// Starts the command. `on_drop` is sent when this value is dropped and, by the kernel, when this process dies.
    /// `hold` is kept until the child has ended.
    pub(super) async fn start(
        mut command: Command,
        on_drop: Signal,
        hold: impl Send + 'static,
    ) -> Result<Running, Error> {
        command.stdout(Stdio::null()).current_dir("/");
        Running::spawn(command, on_drop, hold).await
    }

    /// As [`start`](Self::start), in a directory, for a command whose words on standard output count too.
    pub(super) async fn start_talking(
        mut command: Command,
        dir: &Path,
        on_drop: Signal,
    ) -> Result<Running, Error> {
        command.stdout(Stdio::piped()).current_dir(dir);
        Running::spawn(command, on_drop, ()).await
    }

    async fn spawn(
        mut command: Command,
        on_drop: Signal,
        hold: impl Send + 'static,
    ) -> Result<Running, Error> {
        let program = PathBuf::from(command.get_program());
        let failed = program.clone();
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C meant for the supervisor reaches the child in order, through the supervisor.
            .process_group(0);
        die_with_parent(&mut command, on_drop);
        let (started, wait_started) = oneshot::channel();
        std::thread::Builder::new()
            .name("postgres-wait".to_owned())
            .spawn(move || {
                let child = match command.spawn() {
                    Ok(child) => child,
                    Err(source) => {
                        let _ = started.send(Err(Error::io("start", program)(source)));
                        return;
                    }
                };
                supervise(child, on_drop, started, hold);
            })
            .map_err(Error::io("start a thread for", failed.clone()))?;
        wait_started.await.unwrap_or_else(|_| {
            Err(Error::io("start", failed)(std::io::Error::other(
                "its thread ended",
            )))
        })
    }

    /// Sends a signal if the child is still there.
    pub(super) fn signal(&self, signal: Signal) {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid
            && let Err(error) = rustix::process::kill_process(pid, signal)
        {
            tracing::warn!(%error, ?signal, "the database's server could not be signalled");
        }
    }

    /// Waits for its end. May be called again, also after it was abandoned.
    pub(super) async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await.map(|status| *status) {
            Ok(Some(status)) => status,
            // The thread always reports before it ends.
            _ => std::future::pending().await,
        }
    }

    /// Its last words, for an error message; call after its end.
    pub(super) async fn said(&self) -> String {
        let mut quiet = self.quiet.clone();
        // The channel closes with the output. Orphaned grandchildren may keep that open: wait for a moment only.
        let closed = async { while quiet.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(Duration::from_millis(500), closed).await;
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().cloned().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(self.on_drop);
    }
}

/// Reports the start, then waits for the end, lets go of `hold`, and reports the end.
fn supervise(
    mut child: Child,
    on_drop: Signal,
    started: oneshot::Sender<Result<Running, Error>>,
    hold: impl Send,
) {
    let id = Pid::from_child(&child);
    let pid = Arc::new(Mutex::new(Some(id)));
    let tail = Arc::new(Mutex::new(VecDeque::new()));
    let (report, exit) = watch::channel(None);
    let (talking, quiet) = watch::channel(());
    let talking = Arc::new(talking);
    let stderr = child.stderr.take().map(|out| Box::new(out) as Output);
    let stdout = child.stdout.take().map(|out| Box::new(out) as Output);
    for output in stderr.into_iter().chain(stdout) {
        let (tail, talking) = (Arc::clone(&tail), Arc::clone(&talking));
        let listen = move || {
            listen(output, &tail);
            drop(talking);
        };
        if let Err(error) = std::thread::Builder::new()
            .name("postgres-log".to_owned())
            .spawn(listen)
        {
            tracing::warn!(%error, "the database server's log cannot be read");
        }
    }
    drop(talking);
    let running = Running {
        pid: Arc::clone(&pid),
        exit,
        tail,
        quiet,
        on_drop,
    };
    // If nobody waits for it any more, dropping it right here ends the child.
    let _ = started.send(Ok(running));
    while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(
        WaitId::Pid(id),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    ) {}
    *pid.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let status = child.wait();
    drop(hold);
    match status {
        Ok(status) => drop(report.send(Some(status))),
        Err(error) => tracing::error!(%error, "the end of the database's server was not reported"),
    }
}

/// Passes its log on, line by line.
fn listen(output: Output, tail: &Mutex<VecDeque<String>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        // FATAL ends one session, PANIC the server. Errors of statements are for those who sent them.
        if text.contains("PANIC:") {
            tracing::warn!(target: "forebay_postgres::server", "{text}");
        } else if text.contains("FATAL:") || text.contains("WARNING:") {
            tracing::info!(target: "forebay_postgres::server", "{text}");
        } else {
            tracing::debug!(target: "forebay_postgres::server", "{text}");
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text.to_owned());
    }
}

/// Has the kernel send `signal` to the child when the thread that starts it ends, which is when this process dies.
#[allow(unsafe_code)] // The only place: there is no safe way to run code between fork and exec.
fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        if rustix::process::getppid() != Some(parent) {
            return Err(std::io::ErrorKind::Interrupted.into()); // It died before the kernel was told.
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run. These are two plain system calls that
    // allocate nothing and take no lock. std runs this after it has changed the ids, which would clear the setting.
    unsafe {
        command.pre_exec(before_exec);
    }
}
