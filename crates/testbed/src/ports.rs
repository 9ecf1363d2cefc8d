//! Blocks of TCP ports that no two test processes of a machine share.
//!
//! Ports 20000 to 29999 (below the ephemeral range, so no outgoing connection takes one) are cut
//! into slots of [`SLOT`]. A block is some slots in a row, each held by an `flock` on a file:
//! released by the kernel when the holder ends, however it ends. Lock files are one user's own;
//! against other users' servers each port is tried before it is given out.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;
/// Ports in one slot.
pub const SLOT: u16 = 40;
const SLOTS: u16 = (LAST - FIRST + 1) / SLOT;

/// Why no ports were given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More ports were asked for than the range has.
    #[error("{0} ports in a row are more than the {SLOTS} slots of {SLOT} hold")]
    TooMany(u16),
    /// All slots are held or in use.
    #[error("no {0} free ports in a row between {FIRST} and {LAST}")]
    NoneFree(u16),
    /// The directory of lock files cannot be used.
    #[error("cannot use the lock directory {path}")]
    LockDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody else made the directory of lock files.
    #[error("{0} belongs to another user or is open to others: remove it")]
    NotOurs(PathBuf),
}

/// Ports in a row, held until dropped.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    count: u16,
    /// The locks end with these descriptors.
    _locks: Vec<File>,
}

impl PortBlock {
    /// Takes `count` ports in a row that nobody uses.
    pub fn take(count: u16) -> Result<Self, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let dir = PathBuf::from(format!("/tmp/forebay-ports-{uid}"));
        // Users start at different places, so that they seldom meet.
        let start = u16::try_from(uid.wrapping_mul(37) % u32::from(SLOTS)).unwrap_or(0);
        Self::take_in(&dir, start, count.max(1))
    }

    fn take_in(dir: &Path, start: u16, count: u16) -> Result<Self, Error> {
        open_lock_dir(dir)?;
        let wanted = count.div_ceil(SLOT);
        if wanted > SLOTS {
            return Err(Error::TooMany(count));
        }
        let listening = listening_ports();
        for turn in 0..SLOTS {
            let slot = (start + turn) % SLOTS;
            if slot + wanted > SLOTS {
                continue;
            }
            let mut locks = Vec::new();
            for next in slot..slot + wanted {
                match lock_slot(dir, next).map_err(|source| Error::LockDir {
                    path: dir.to_owned(),
                    source,
                })? {
                    Some(lock) => locks.push(lock),
                    None => break,
                }
            }
            let first = FIRST + slot * SLOT;
            let is_free = |port: u16| {
                !listening.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            };
            if locks.len() == usize::from(wanted) && (first..first + count).all(is_free) {
                return Ok(Self {
                    first,
                    count,
                    _locks: locks,
                });
            }
        }
        Err(Error::NoneFree(count))
    }

    /// The first port.
    pub fn first(&self) -> u16 {
        self.first
    }

    /// The port `offset` after the first; `None` past the end.
    pub fn get(&self, offset: u16) -> Option<u16> {
        (offset < self.count).then(|| self.first + offset)
    }

    /// All of them.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        self.first..self.first + self.count
    }
}

/// Makes the directory or checks that nobody else controls it.
fn open_lock_dir(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::LockDir {
        path: path.to_owned(),
        source,
    };
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    let ours = meta.is_dir()
        && meta.uid() == rustix::process::geteuid().as_raw()
        && meta.mode() & 0o777 == 0o700;
    if ours {
        Ok(())
    } else {
        Err(Error::NotOurs(path.to_owned()))
    }
}

fn lock_slot(dir: &Path, slot: u16) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join(format!("slot-{slot}")))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Ports somebody listens on, on whatever address: trying the loopback address alone would miss
/// another loopback address, and listening on all addresses to find out would open us to the net.
fn listening_ports() -> Vec<u16> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (Some(local), Some(state)) = (fields.next(), fields.nth(1)) else {
                continue;
            };
            if state == "0A"
                && let Some((_, port)) = local.rsplit_once(':')
                && let Ok(port) = u16::from_str_radix(port, 16)
            {
                found.push(port);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn eight_threads_never_overlap() {
        let dir = tempfile::tempdir().unwrap();
        let lock_dir = dir.path().join("locks");
        let seen = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut held = Vec::new();
                        for round in 0..6 {
                            held.push(PortBlock::take_in(&lock_dir, 100, 10 + round * 20).unwrap());
                        }
                        held
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        let mut ports = HashSet::new();
        for block in &seen {
            assert!(
                block.ports().all(|port| ports.insert(port)),
                "{block:?} overlaps"
            );
            assert!(block.ports().all(|port| (FIRST..=LAST).contains(&port)));
        }
        assert_eq!(seen.len(), 48);
    }

    #[test]
    fn a_port_in_use_is_passed_over_and_a_dropped_block_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let lock_dir = dir.path().join("locks");
        let block = PortBlock::take_in(&lock_dir, 200, 2).unwrap();
        let first = block.first();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        drop(block);
        let other = PortBlock::take_in(&lock_dir, 200, 2).unwrap();
        assert_ne!(other.first(), first);
        let again = other.first();
        drop(other);
        assert_eq!(
            PortBlock::take_in(&lock_dir, 200, 2).unwrap().first(),
            again
        );
        assert!(matches!(
            PortBlock::take_in(&lock_dir, 0, 20_000),
            Err(Error::TooMany(_))
        ));
    }

    #[test]
    fn a_lock_directory_open_to_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let lock_dir = dir.path().join("locks");
        fs::DirBuilder::new().mode(0o777).create(&lock_dir).unwrap();
        std::fs::set_permissions(
            &lock_dir,
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        assert!(matches!(
            PortBlock::take_in(&lock_dir, 0, 1),
            Err(Error::NotOurs(_))
        ));
    }
}
