//! Clearing away what an earlier run left: a server whose supervisor was killed, orphaned backends, stale lock files.
//!
//! Called only while holding the state directory's lock, so no other supervisor runs this instance. A process belongs
//! to a data directory if its working directory *is* that directory (device and inode: every process of Postgres
//! goes there) and its program is `postgres`. Nothing else is ever signalled, whatever the lock files say: the ids in
//! them may long belong to others.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::config::socket_path;
use super::error::Error;

/// How long an immediate stop, and then a kill, may take to show.
const END_MAX: Duration = Duration::from_secs(5);

/// Ends every process of an earlier run and removes its lock files and socket. Blocks, at most `stop_max` plus some
/// seconds; runs as the instance's account.
pub(super) fn clear(data: &Path, socket_dir: &Path, stop_max: Duration) -> Result<(), Error> {
    end_all(data, stop_max)?;
    // Removed even if its id is alive: that process is not ours, as was just shown, and PostgreSQL would refuse to
    // start next to any process of the same account that happens to have the id (as in a container, after a restart).
    if remove(&data.join("postmaster.pid"))? {
        tracing::info!(data = %data.display(), "removed the lock file of an earlier run");
    }
    let socket = socket_path(socket_dir);
    if UnixStream::connect(&socket).is_ok() {
        return Err(Error::SocketInUse { path: socket });
    }
    remove(&socket)?;
    let mut lock = socket.into_os_string();
    lock.push(".lock");
    remove(Path::new(&lock))?;
    Ok(())
}

/// Ends every process that works in the data directory: an orderly stop where there is a server to order it.
pub(super) fn end_all(data: &Path, stop_max: Duration) -> Result<(), Error> {
    let Some(of) = Identity::of(data)? else {
        return Ok(());
    };
    let left = of.processes();
    if left.is_empty() {
        return Ok(());
    }
    let first_line = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let locked_by: i64 = first_line
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .unwrap_or(0);
    let by_hand = u32::try_from(-locked_by)
        .ok()
        .and_then(|pid| left.iter().find(|process| process.id() == pid));
    if let Some(process) = by_hand {
        return Err(Error::SingleUser {
            dir: data.to_owned(),
            pid: process.id(),
        });
    }
    let ids: Vec<u32> = left.iter().map(Process::id).collect();
    let server = left
        .iter()
        .find(|process| i64::from(process.id()) == locked_by);
    tracing::warn!(data = %data.display(), processes = ?ids, server = server.is_some(), "ending an earlier run");
    if let Some(server) = server {
        server.signal(Signal::INT);
        if of.gone_within(stop_max) {
            return Ok(());
        }
    }
    // Backends without a server have nobody left to stop them in order.
    for signal in [Signal::QUIT, Signal::KILL] {
        of.processes()
            .iter()
            .for_each(|process| process.signal(signal));
        if of.gone_within(END_MAX) {
            return Ok(());
        }
    }
    let pids = of.processes().iter().map(Process::id).collect();
    Err(Error::StillRunning {
        dir: data.to_owned(),
        pids,
    })
}

/// A directory, whatever its path.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(dir: &Path) -> Result<Option<Identity>, Error> {
        match fs::metadata(dir) {
            Ok(meta) => Ok(Some(Identity {
                device: meta.dev(),
                inode: meta.ino(),
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", dir)(error)),
        }
    }

    /// The server's processes that work here.
    fn processes(self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Process::open(pid, self)).collect()
    }

    fn gone_within(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            if self.processes().is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn has(self, pid: u32) -> bool {
        let proc = Path::new("/proc").join(pid.to_string());
        let here = fs::metadata(proc.join("cwd")).is_ok_and(|cwd| {
            Identity {
                device: cwd.dev(),
                inode: cwd.ino(),
            } == self
        });
        let program = |exe: &Path| {
            let name = exe
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            // The kernel appends this after an upgrade of the package.
            matches!(
                name.strip_suffix(" (deleted)").unwrap_or(name),
                "postgres" | "postmaster"
            )
        };
        here && fs::read_link(proc.join("exe")).is_ok_and(|exe| program(&exe))
    }
}

/// A process proven to belong to the data directory, held by a descriptor so that it cannot become another one.
struct Process {
    pid: Pid,
    /// `None` on kernels without process descriptors.
    handle: Option<OwnedFd>,
}

impl Process {
    fn open(pid: u32, of: Identity) -> Option<Process> {
        if !of.has(pid) {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Some(handle),
            Err(rustix::io::Errno::SRCH) => return None,
            Err(_) => None,
        };
        let process = Process { pid, handle };
        // Again, now that the id is pinned down.
        of.has(process.id()).then_some(process)
    }

    fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn signal(&self, signal: Signal) {
        let sent = match &self.handle {
            Some(handle) => rustix::process::pidfd_send_signal(handle, signal),
            None => rustix::process::kill_process(self.pid, signal),
        };
        match sent {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::warn!(pid = self.id(), %error, "could not be signalled"),
        }
    }
}

/// Whether there was something to remove.
fn remove(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}
