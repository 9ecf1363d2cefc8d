//! A process between the test and its servers, so that nothing outlives the test.
//!
//! A test process can be killed at any moment, and then neither `Drop` nor exit handlers run.
//! Signals on the parent's death (`PDEATHSIG`) reach direct children only, and follow the life of
//! a *thread*: servers shared by tests would end with the first test. So each instance has a
//! guard: a process that starts the instance's processes on request, is the kernel's *child
//! subreaper* for all that descends from them (Slurm's steps and jobs, user-agents: whatever
//! calls `setsid` or loses its parent), and holds one end of a socket. When the other end closes,
//! because the [`Guard`] was dropped, a static was never dropped, or the test process was killed,
//! the guard kills its descendants until the kernel says there are none, removes the
//! instance's directory and exits. Direct children have a death signal besides, should the guard
//! itself be killed; what even that leaves, the next run sweeps ([`crate::dirs::sweep`]).

mod child;
mod wire;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::sync::{oneshot, watch};

use crate::dirs::Dir;
use crate::enter::Helper;
use crate::process::{Command, Exit};
use crate::procfs;
use wire::{Ask, Tell};

/// How long the guard has to come up and to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// How long a dropped guard is waited for.
const END_DEADLINE: Duration = Duration::from_secs(25);

/// The life of a process that is a guard; see [`crate::enter`].
pub(crate) fn helper_main() -> ! {
    child::main()
}

/// Why a guard could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guard's process could not be started.
    #[error("cannot start a guard process")]
    Start(#[source] io::Error),
    /// The guard's process did not answer, or ended.
    #[error("the guard process is gone")]
    Gone,
    /// The program could not be started.
    #[error("cannot start {program}: {reason}")]
    Spawn {
        /// The program's path.
        program: String,
        /// What the system said.
        reason: String,
    },
}

/// Starts processes in its directory and ends all of them when dropped or when this process ends.
#[derive(Debug)]
pub struct Guard {
    socket: Mutex<UnixStream>,
    next: AtomicU64,
    shared: Arc<Shared>,
    ended: watch::Receiver<bool>,
    dir: Dir,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    gone: bool,
    asked: HashMap<u64, oneshot::Sender<Tell>>,
    exits: HashMap<u64, watch::Sender<Option<Exit>>>,
}

/// A process the guard started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) id: u64,
    pub(crate) pid: i32,
    pub(crate) exit: watch::Receiver<Option<Exit>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// Starts a guard that owns `dir`: the directory goes when the guard has ended everything.
    pub fn new(dir: Dir) -> Result<Arc<Self>, Error> {
        static WATCH: Once = Once::new();
        WATCH.call_once(watch_cargo);
        let (ours, theirs) = UnixStream::pair().map_err(Error::Start)?;
        let log = std::fs::File::create(dir.path().join("guard.log")).map_err(Error::Start)?;
        let start = Helper::Guard.start(dir.path());
        let mut command = std::process::Command::new(start.program);
        command
            .arg0("forebay-testbed-guard")
            .args(start.args)
            .current_dir("/")
            .env_clear()
            .envs(start.env)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command.spawn().map_err(Error::Start)?;
        drop(command); // and with it this process's copy of the other end
        ours.set_read_timeout(Some(ANSWER_DEADLINE))
            .map_err(Error::Start)?;
        let mut lines = BufReader::new(ours.try_clone().map_err(Error::Start)?);
        if !matches!(read(&mut lines), Some(Tell::Ready)) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Gone);
        }
        ours.set_read_timeout(None).map_err(Error::Start)?;
        dir.add_owner(child.id().cast_signed())
            .map_err(Error::Start)?;
        let (end, ended) = watch::channel(false);
        let shared = Arc::new(Shared::default());
        let reader = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("testbed-guard".into())
            .spawn(move || follow(lines, &reader, child, &end))
            .map_err(Error::Start)?;
        let guard = Self {
            socket: Mutex::new(ours),
            next: AtomicU64::new(1),
            shared,
            ended,
            dir,
        };
        if !guard.dir.is_kept() {
            guard.send(&Ask::Remove {
                path: guard.dir.path().to_owned(),
            })?;
        }
        Ok(Arc::new(guard))
    }

    /// A guard with a fresh directory.
    pub fn with_dir(label: &str) -> Result<Arc<Self>, Error> {
        Self::new(Dir::new(label).map_err(Error::Start)?)
    }

    /// The directory everything of this instance is in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends everything it started, removes the directory and waits until both are done. Further
    /// use gives [`Error::Gone`].
    pub async fn end(&self) {
        self.close();
        let mut ended = self.ended.clone();
        if tokio::time::timeout(END_DEADLINE, ended.wait_for(|ended| *ended))
            .await
            .is_err()
        {
            tracing::warn!(dir = %self.dir().display(), "a guard process does not end");
        }
    }

    /// Has the guard remove one more directory at the end, besides its own.
    pub(crate) fn remove_too(&self, path: &Path) -> Result<(), Error> {
        if self.dir.is_kept() {
            return Ok(());
        }
        let path = path.to_owned();
        self.send(&Ask::Remove { path })
    }

    pub(crate) async fn start(&self, command: Command) -> Result<Started, Error> {
        let program = command.program.display().to_string();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, exit) = watch::channel(None);
        self.shared.lock().exits.insert(id, sender);
        let command = Box::new(command.env(crate::dirs::MARK, self.dir().display().to_string()));
        let answer = self.ask(id, &Ask::Start { id, command }).await;
        match answer {
            Ok(Tell::Started { pid, .. }) => Ok(Started { id, pid, exit }),
            Ok(Tell::Failed { error, .. }) => {
                self.shared.lock().exits.remove(&id);
                Err(Error::Spawn {
                    program,
                    reason: error,
                })
            }
            Ok(_) => Err(Error::Gone),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to a process, or to all of its session; says how many got it.
    pub(crate) async fn signal(
        &self,
        id: u64,
        signal: Signal,
        session: bool,
    ) -> Result<usize, Error> {
        let answer = self.next.fetch_add(1, Ordering::Relaxed);
        match self
            .ask(
                answer,
                &Ask::Signal {
                    id,
                    answer,
                    signal: signal.as_raw(),
                    session,
                },
            )
            .await?
        {
            Tell::Signalled { count, .. } => Ok(count),
            _ => Err(Error::Gone),
        }
    }

    /// The same without waiting for the answer, for `Drop`.
    pub(crate) fn signal_now(&self, id: u64, signal: Signal, session: bool) {
        // A guard that is gone has killed it already.
        let _ = self.send(&Ask::Signal {
            id,
            answer: 0,
            signal: signal.as_raw(),
            session,
        });
    }

    async fn ask(&self, id: u64, ask: &Ask) -> Result<Tell, Error> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.shared.lock();
            if state.gone {
                return Err(Error::Gone);
            }
            state.asked.insert(id, sender);
        }
        self.send(ask)?;
        match tokio::time::timeout(ANSWER_DEADLINE, answer).await {
            Ok(Ok(tell)) => Ok(tell),
            Ok(Err(_)) | Err(_) => Err(Error::Gone),
        }
    }

    fn send(&self, ask: &Ask) -> Result<(), Error> {
        let mut line = serde_json::to_vec(ask).map_err(|error| Error::Start(error.into()))?;
        line.push(b'\n');
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        socket.write_all(&line).map_err(|_| Error::Gone)
    }

    fn close(&self) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        // Already closed is as good.
        let _ = socket.shutdown(Shutdown::Write);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.close();
        let deadline = Instant::now() + END_DEADLINE;
        while !*self.ended.borrow() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn read(lines: &mut BufReader<UnixStream>) -> Option<Tell> {
    let mut line = String::new();
    lines
        .read_line(&mut line)
        .ok()
        .filter(|length| *length > 0)?;
    serde_json::from_str(&line).ok()
}

/// Hands the guard's answers to those who wait, until the guard has ended.
fn follow(
    mut lines: BufReader<UnixStream>,
    shared: &Shared,
    mut child: Child,
    end: &watch::Sender<bool>,
) {
    while let Some(tell) = read(&mut lines) {
        let mut state = shared.lock();
        match tell {
            Tell::Exited { id, code, signal } => {
                if let Some(exit) = state.exits.remove(&id) {
                    exit.send_replace(Some(Exit { code, signal }));
                }
            }
            Tell::Started { id, .. }
            | Tell::Failed { id, .. }
            | Tell::Signalled { answer: id, .. } => {
                if let Some(asked) = state.asked.remove(&id) {
                    // Nobody waits any more: fine.
                    let _ = asked.send(tell);
                }
            }
            Tell::Ready => {}
        }
    }
    // The guard's exit comes last: by then all it started is gone, and its directory.
    let _ = child.wait();
    let mut state = shared.lock();
    state.gone = true;
    state.asked.clear();
    state.exits.clear();
    drop(state);
    end.send_replace(true);
}

/// When `cargo test` itself is killed, its test binary would run on for nobody: end with it.
fn watch_cargo() {
    use rustix::process::{PidfdFlags, getpid, getppid, kill_process, pidfd_open};
    let Some(parent) = getppid() else { return };
    let is_runner = procfs::name(parent.as_raw_nonzero().get())
        .is_some_and(|name| matches!(name.as_str(), "cargo" | "cargo-nextest" | "xtask"));
    let Some(fd) = is_runner
        .then(|| pidfd_open(parent, PidfdFlags::empty()).ok())
        .flatten()
    else {
        return;
    };
    // The pid could be another's by the time it was opened only if the parent has changed.
    if getppid() != Some(parent) {
        return;
    }
    let wait = move || {
        let mut fds = [rustix::event::PollFd::new(
            &fd,
            rustix::event::PollFlags::IN,
        )];
        while matches!(
            rustix::event::poll(&mut fds, None),
            Ok(0) | Err(rustix::io::Errno::INTR)
        ) {}
        let _ = kill_process(getpid(), Signal::KILL);
    };
    // Without this thread only the convenience is lost.
    let _ = std::thread::Builder::new()
        .name("testbed-cargo".into())
        .spawn(wait);
}
