//! Fresh directories that test accounts can enter.
//!
//! Root's home is closed to other accounts, so as root a directory is made in `/var/tmp`, with
//! mode 0755; otherwise where temporary files go. It is removed when dropped, unless the
//! environment says `FOREBAY_KEEP=1`.
//!
//! A directory says in `.owner` which process made it. If that process and its guard were both
//! killed, the next run removes what they left: see [`sweep`].

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;

use serde::{Deserialize, Serialize};

use crate::procfs;

const PREFIX: &str = "forebay-test.";
const OWNER: &str = ".owner";
/// The variable in the environment of each process started in a directory; its value is the path.
pub(crate) const MARK: &str = "FOREBAY_TESTBED_DIR";

/// Which processes a directory belongs to: the test process, and its guard once there is one.
#[derive(Debug, Serialize, Deserialize, Default)]
struct Owner {
    /// `(pid, start in ticks since boot)`
    processes: Vec<(i32, u64)>,
}

/// A directory of one's own, removed on drop.
#[derive(Debug)]
pub struct Dir {
    path: PathBuf,
    keep: bool,
}

/// Whether `FOREBAY_KEEP=1` asks to leave directories behind, to look into them.
pub fn keep() -> bool {
    std::env::var_os("FOREBAY_KEEP").is_some_and(|value| value == "1")
}

/// Where directories are made: `/var/tmp` as root, else the system's temporary directory.
pub fn base() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/tmp")
    } else {
        std::env::temp_dir()
    }
}

impl Dir {
    /// Makes `<base>/forebay-test.<label>.<random>`, mode 0755.
    pub fn new(label: &str) -> io::Result<Self> {
        static SWEEP: Once = Once::new();
        SWEEP.call_once(sweep);
        let made = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{label}."))
            .tempdir_in(base())?;
        fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755))?;
        let dir = Self {
            path: made.keep(),
            keep: keep(),
        };
        dir.add_owner(i32::try_from(std::process::id()).map_err(io::Error::other)?)?;
        Ok(dir)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stays after the drop.
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// Records that the directory is in use as long as `pid` lives. A kept directory has no
    /// owners, and without owners nobody removes it.
    pub(crate) fn add_owner(&self, pid: i32) -> io::Result<()> {
        if self.keep {
            return Ok(());
        }
        let mut owner = read_owner(&self.path).unwrap_or_default();
        owner
            .processes
            .extend(procfs::stat(pid).map(|stat| (stat.pid, stat.started)));
        fs::write(
            self.path.join(OWNER),
            serde_json::to_vec(&owner).map_err(io::Error::other)?,
        )
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.path);
        }
    }
}

/// Removes a directory made here and all below it; nothing if it is gone already.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a test directory");
    }
}

fn read_owner(path: &Path) -> Option<Owner> {
    serde_json::from_slice(&fs::read(path.join(OWNER)).ok()?).ok()
}

/// Removes directories whose makers and guards were all killed, and ends the processes that were
/// started in them.
///
/// A directory counts only if it has our name, belongs to this user and names its owners; a
/// process only if its environment names that very directory. Done once per process, before its
/// first directory is made.
pub fn sweep() {
    let Ok(entries) = fs::read_dir(base()) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX))
            && fs::symlink_metadata(&path).is_ok_and(|meta| {
                meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw()
            });
        if !ours {
            continue;
        }
        let Some(owner) = read_owner(&path) else {
            continue;
        };
        if owner
            .processes
            .iter()
            .any(|(pid, started)| procfs::is_alive(*pid, *started))
        {
            continue;
        }
        end_marked(&path);
        tracing::info!(path = %path.display(), "removing what a killed test process left");
        remove(&path);
    }
}

/// Kills the processes whose environment says they were started in `path`.
fn end_marked(path: &Path) {
    let assignment = format!("{MARK}={}", path.display());
    for stat in procfs::all() {
        if procfs::has_environment(stat.pid, &assignment)
            && procfs::is_alive(stat.pid, stat.started)
            && let Some(pid) = rustix::process::Pid::from_raw(stat.pid)
        {
            // Gone meanwhile is as good.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_to_others_and_gone_when_dropped() {
        let dir = Dir::new("unit").unwrap();
        let path = dir.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o755);
        fs::write(path.join("file"), "x").unwrap();
        drop(dir);
        assert_eq!(path.exists(), keep());
    }

    #[test]
    fn what_a_dead_process_left_is_swept_and_what_a_living_one_has_is_not() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let left = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}left."))
            .tempdir_in(base())
            .unwrap()
            .keep();
        let mine = Dir::new("mine").unwrap();
        let dead = i32::try_from(child.id()).unwrap();
        child.wait().unwrap();
        fs::write(left.join(OWNER), format!("{{\"processes\":[[{dead},1]]}}")).unwrap();
        let mut stray = std::process::Command::new("sleep")
            .arg("60")
            .env(MARK, &left)
            .spawn()
            .unwrap();
        sweep();
        assert!(!left.exists());
        assert!(!stray.wait().unwrap().success(), "the stray was killed");
        assert!(mine.path().exists());
    }
}
