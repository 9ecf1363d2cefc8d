//! The guard's own side: starts processes, reports their ends, ends all of them at the end.
//!
//! One thread and no async runtime: processes it starts ask the kernel to be killed when the
//! *thread* that started them ends, and nothing here may fail in a way that leaves them running.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, wait};

use super::wire::{Ask, Tell};
use crate::procfs;

/// Asks are small: a command line and an environment.
const ASK_BYTES_MAX: usize = 1 << 20;
/// How long a process that wants a gentler signal than KILL at the end has to react.
const END_GRACE: Duration = Duration::from_secs(1);
/// Processes that cannot be killed (waiting for a disk) are given up after this.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// A process that was started and has not been reaped.
struct Running {
    pid: i32,
    pidfd: Option<OwnedFd>,
    end_signal: Option<i32>,
}

struct Guard {
    socket: UnixStream,
    running: BTreeMap<u64, Running>,
    /// Pids of all that were started, ended or not: the names of their sessions.
    sessions: BTreeMap<u64, i32>,
    remove: Vec<PathBuf>,
}

/// Serves the socket on standard input until it is closed, then ends everything and exits.
pub(super) fn main() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "guard: {error}");
            1
        }
    };
    std::process::exit(code)
}

fn serve() -> io::Result<()> {
    // A session of its own: no terminal and no group signal meant for the test reaches the guard.
    rustix::process::setsid()?;
    // Whatever loses its parent below the guard becomes the guard's child, never init's.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut guard = Guard {
        socket,
        running: BTreeMap::new(),
        sessions: BTreeMap::new(),
        remove: Vec::new(),
    };
    // An error ends like a close does: the test process is gone or talks nonsense.
    let served = guard.tell(&Tell::Ready).and_then(|()| guard.serve());
    guard.end();
    served
}

impl Guard {
    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            self.wait_for_something()?;
            self.reap()?;
            if !self.read(&mut buffer)? {
                return Ok(());
            }
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                self.answer(serde_json::from_slice(&line)?)?;
            }
            if buffer.len() > ASK_BYTES_MAX {
                return Err(io::Error::other("an ask is too long"));
            }
        }
    }

    /// Returns when an ask came, when a process ended, or after a while for adopted orphans.
    fn wait_for_something(&self) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
        let pidfds = self
            .running
            .values()
            .filter_map(|running| running.pidfd.as_ref());
        fds.extend(pidfds.map(|fd| PollFd::new(fd, PollFlags::IN)));
        // Kernels before 5.3 have no pidfd: look often instead.
        let blind = self.running.values().any(|running| running.pidfd.is_none());
        let timeout = Timespec {
            tv_sec: i64::from(!blind),
            tv_nsec: if blind { 20_000_000 } else { 0 },
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is there without waiting; false when the other side has closed.
    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&now)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(true),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut chunk = [0; 16 * 1024];
        let length = self.socket.read(&mut chunk)?;
        buffer.extend_from_slice(chunk.get(..length).unwrap_or_default());
        Ok(length > 0)
    }

    fn tell(&mut self, tell: &Tell) -> io::Result<()> {
        let mut line = serde_json::to_vec(tell)?;
        line.push(b'\n');
        self.socket.write_all(&line)
    }

    fn answer(&mut self, ask: Ask) -> io::Result<()> {
        match ask {
            Ask::Start { id, command } => match command.spawn() {
                Ok(pid) => {
                    let pidfd = Pid::from_raw(pid)
                        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
                    let end_signal = command.end_signal;
                    self.running.insert(
                        id,
                        Running {
                            pid,
                            pidfd,
                            end_signal,
                        },
                    );
                    self.sessions.insert(id, pid);
                    self.tell(&Tell::Started { id, pid })
                }
                Err(error) => self.tell(&Tell::Failed {
                    id,
                    error: error.to_string(),
                }),
            },
            Ask::Signal {
                id,
                answer,
                signal,
                session,
            } => {
                let count = self.signal(id, signal, session);
                self.tell(&Tell::Signalled { answer, count })
            }
            Ask::Remove { path } => {
                self.remove.push(path);
                Ok(())
            }
        }
    }

    /// Only processes that are certainly ours get signals: one not reaped keeps its pid, and the
    /// members of a session are looked up among our descendants.
    fn signal(&self, id: u64, signal: i32, session: bool) -> usize {
        let mut pids: Vec<i32> = self
            .running
            .get(&id)
            .map(|running| running.pid)
            .into_iter()
            .collect();
        if session && let Some(leader) = self.sessions.get(&id) {
            let members = descendants()
                .into_iter()
                .filter(|stat| stat.session == *leader);
            pids.extend(members.map(|stat| stat.pid).filter(|pid| pid != leader));
        }
        pids.into_iter().filter(|pid| send(*pid, signal)).count()
    }

    /// Collects ended children, adopted ones too, and reports those that were asked for.
    fn reap(&mut self) -> io::Result<()> {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let id = self
                .running
                .iter()
                .find(|(_, running)| running.pid == pid)
                .map(|(id, _)| *id);
            if let Some(id) = id {
                self.running.remove(&id);
                let (code, signal) = (status.exit_status(), status.terminating_signal());
                self.tell(&Tell::Exited { id, code, signal })?;
            }
        }
        Ok(())
    }

    /// Ends everything below this process, then removes the directories.
    fn end(&mut self) {
        let gentle = |running: &&Running| running.end_signal.is_some();
        for running in self.running.values().filter(gentle) {
            send(
                running.pid,
                running.end_signal.unwrap_or(Signal::KILL.as_raw()),
            );
        }
        let grace = Instant::now() + END_GRACE;
        while self
            .running
            .values()
            .any(|running| running.end_signal.is_some())
            && Instant::now() < grace
        {
            std::thread::sleep(Duration::from_millis(2));
            // Nobody listens any more; the reaping is what counts.
            let _ = self.reap();
        }
        let deadline = Instant::now() + END_DEADLINE;
        loop {
            for stat in descendants() {
                send(stat.pid, Signal::KILL.as_raw());
            }
            // "No child" is the kernel's word that nothing is left: every orphan comes to us.
            while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
            if matches!(wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD))
                || Instant::now() > deadline
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        for path in &self.remove {
            crate::dirs::remove(path);
        }
    }
}

fn descendants() -> Vec<procfs::Stat> {
    procfs::descendants(rustix::process::getpid().as_raw_nonzero().get())
}

fn send(pid: i32, signal: i32) -> bool {
    match (Pid::from_raw(pid), Signal::from_named_raw(signal)) {
        (Some(pid), Some(signal)) => kill_process(pid, signal).is_ok(),
        _ => false,
    }
}
