//! Keeps packages from starting the services they bring.
//!
//! Debian's packages ask `/usr/sbin/policy-rc.d` before they start a service; exit code 101 says
//! no. While a [`PolicyGuard`] lives, a file of ours says so for everything; then what was there
//! before is there again, the very same file. A file that already says no is left alone. Should
//! the installation be killed, the next guard finds the file put aside and puts it back first.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PATH: &str = "/usr/sbin/policy-rc.d";
const OURS: &str =
    "#!/bin/sh\n# Put here by Forebay's installer for the length of an installation.\nexit 101\n";
/// What policy-rc.d answers for "do not".
const FORBIDDEN: i32 = 101;
/// The services that the packages of this crate bring.
const SERVICES: &[&str] = &[
    "postgresql",
    "munge",
    "mariadb",
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "slurmrestd",
];

/// Forbids packages to start services until dropped.
#[derive(Debug)]
pub struct PolicyGuard {
    path: PathBuf,
    /// Whether there is something to undo.
    placed: bool,
}

impl PolicyGuard {
    /// Forbids it for the system; needs root.
    pub fn new() -> io::Result<Self> {
        Self::at(Path::new(PATH))
    }

    fn at(path: &Path) -> io::Result<Self> {
        restore(path)?;
        if says_no(path) {
            return Ok(Self {
                path: path.to_owned(),
                placed: false,
            });
        }
        if fs::symlink_metadata(path).is_ok() {
            fs::rename(path, aside(path))?;
        }
        let guard = Self {
            path: path.to_owned(),
            placed: true,
        };
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(path)?;
        file.write_all(OURS.as_bytes())?;
        Ok(guard)
    }
}

impl Drop for PolicyGuard {
    fn drop(&mut self) {
        if self.placed
            && let Err(error) = restore(&self.path)
        {
            tracing::error!(path = %self.path.display(), %error, "cannot put the service policy back");
        }
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".forebay-saved");
    PathBuf::from(name)
}

/// Removes our file and puts back what was put aside; does nothing where neither is.
fn restore(path: &Path) -> io::Result<()> {
    let is_ours = fs::read(path).is_ok_and(|bytes| bytes == OURS.as_bytes());
    let is_saved = fs::symlink_metadata(aside(path)).is_ok();
    match (is_saved, is_ours, fs::symlink_metadata(path).is_ok()) {
        // A rename replaces our file in one step.
        (true, true, _) | (true, false, false) => fs::rename(aside(path), path),
        (false, true, _) => fs::remove_file(path),
        // Somebody has put a file of theirs there since: the newer one stays, and ours to say so.
        (true, false, true) => Err(io::Error::other(format!(
            "{} was put aside, but {} is new",
            aside(path).display(),
            path.display()
        ))),
        (false, false, _) => Ok(()),
    }
}

/// Whether the policy there already forbids our packages' services, as in many containers.
fn says_no(path: &Path) -> bool {
    SERVICES.iter().all(|service| {
        let mut command = Command::new(path);
        command
            .args([service, "start"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .status()
            .is_ok_and(|status| status.code() == Some(FORBIDDEN))
    })
}

#[cfg(test)]
mod tests {
    use super::super::write_program as write;
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn is_ours(path: &Path) -> bool {
        fs::read_to_string(path).unwrap() == OURS
            && fs::metadata(path).unwrap().mode() & 0o777 == 0o755
    }

    #[test]
    fn ours_says_no() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy-rc.d");
        assert!(!says_no(&path));
        write(&path, OURS, 0o755);
        assert!(says_no(&path));
    }

    #[test]
    fn what_was_there_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy-rc.d");
        write(&path, "#!/bin/sh\nexit 0\n", 0o750);
        let before = fs::metadata(&path).unwrap();
        let guard = PolicyGuard::at(&path).unwrap();
        assert!(is_ours(&path));
        drop(guard);
        let after = fs::metadata(&path).unwrap();
        assert_eq!(
            (before.ino(), before.mode(), before.mtime_nsec()),
            (after.ino(), after.mode(), after.mtime_nsec())
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_there_before_nothing_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy-rc.d");
        let guard = PolicyGuard::at(&path).unwrap();
        assert!(is_ours(&path));
        drop(guard);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_policy_that_says_no_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy-rc.d");
        write(&path, "#!/bin/sh\n\nexit 101\n", 0o755);
        let before = fs::metadata(&path).unwrap();
        let guard = PolicyGuard::at(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
        drop(guard);
        assert_eq!(
            fs::metadata(&path).unwrap().ctime_nsec(),
            before.ctime_nsec()
        );
    }

    #[test]
    fn the_next_one_repairs_what_a_killed_one_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy-rc.d");
        write(&path, "#!/bin/sh\nexit 0\n", 0o755);
        std::mem::forget(PolicyGuard::at(&path).unwrap());
        assert!(aside(&path).exists());
        drop(PolicyGuard::at(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
        assert!(!aside(&path).exists());
    }
}
