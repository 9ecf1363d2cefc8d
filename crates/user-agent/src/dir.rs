//! Directories opened one name at a time, without following links.
//!
//! What lies below the user's home belongs to the user, who may at any moment put a link where a
//! directory was, also between a check and the use. So nothing here takes a path apart from the
//! anchor: a [`Dir`] holds an open directory, and every step is one name, opened with
//! `O_NOFOLLOW` relative to it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Why something in a directory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// A link stands where a directory or a file of ours belongs.
    #[error("{} is a symbolic link; it must be there itself", path.display())]
    Link {
        /// What it is.
        path: PathBuf,
    },
    /// Something else stands there.
    #[error("{} is not a {wanted}", path.display())]
    Kind {
        /// What it is.
        path: PathBuf,
        /// What belongs there.
        wanted: &'static str,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to another account (uid {owner})", path.display())]
    Owner {
        /// What it is.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// There is no such thing.
    #[error("there is no {}", path.display())]
    Absent {
        /// What was looked for.
        path: PathBuf,
    },
    /// It is longer than anything we wrote.
    #[error("{} is larger than {limit} bytes", path.display())]
    Large {
        /// What it is.
        path: PathBuf,
        /// Bytes.
        limit: u64,
    },
    /// The system refused.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl DirError {
    /// Whether the thing just was not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

/// Whether a file's content must be on disk before its name is.
#[derive(Clone, Copy)]
enum Flush {
    Yes,
    No,
}

/// What became of [`Dir::write_once`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Once {
    /// It was not there and is now.
    Written,
    /// It was there with the same content.
    Same,
    /// It was there with other content and is untouched.
    Other,
}

/// An open directory. Every name given to it is one path component.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    /// How it was reached; for messages and for programs that need a path.
    path: PathBuf,
}

const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl Dir {
    /// Opens the directory from which the rest goes, over links if there are any.
    pub fn anchor(path: &Path) -> Result<Self, DirError> {
        match fs::open(path, OPEN_DIR, Mode::empty()) {
            Ok(fd) => Ok(Self {
                fd,
                path: path.to_owned(),
            }),
            Err(Errno::NOENT) => Err(DirError::Absent {
                path: path.to_owned(),
            }),
            Err(Errno::NOTDIR) => Err(DirError::Kind {
                path: path.to_owned(),
                wanted: "directory",
            }),
            Err(errno) => Err(failed("open", path, errno)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory `name` in it.
    pub fn enter(&self, name: &str) -> Result<Self, DirError> {
        let path = self.join(name)?;
        match fs::openat(&self.fd, name, OPEN_DIR | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(Errno::NOENT) => Err(DirError::Absent { path }),
            // Linux says one or the other for a link, depending on the file system.
            Err(Errno::LOOP | Errno::NOTDIR) if self.is_link(name) => Err(DirError::Link { path }),
            Err(Errno::NOTDIR) => Err(DirError::Kind {
                path,
                wanted: "directory",
            }),
            Err(errno) => Err(failed("open", &path, errno)),
        }
    }

    /// Opens the directory `name` in it, making it with mode 0700 where it is absent.
    pub fn make(&self, name: &str) -> Result<Self, DirError> {
        match self.enter(name) {
            Err(DirError::Absent { path }) => match fs::mkdirat(&self.fd, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => self.enter(name),
                Err(errno) => Err(failed("make the directory", &path, errno)),
            },
            other => other,
        }
    }

    /// The same for a directory that is ours alone: it must belong to this account, and nobody
    /// else keeps a right to it.
    pub fn make_private(&self, name: &str) -> Result<Self, DirError> {
        let dir = self.make(name)?;
        let stat = fs::fstat(&dir.fd).map_err(|errno| failed("look at", &dir.path, errno))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(DirError::Owner {
                path: dir.path,
                owner: stat.st_uid,
            });
        }
        if Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO) {
            fs::fchmod(&dir.fd, Mode::RWXU)
                .map_err(|errno| failed("close to others", &dir.path, errno))?;
        }
        Ok(dir)
    }

    /// Opens the regular file `name`. `Ok(None)` if there is none.
    pub fn open(&self, name: &str, flags: OFlags, mode: Mode) -> Result<Option<File>, DirError> {
        let path = self.join(name)?;
        // Without O_NONBLOCK a FIFO put there would make us wait for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match fs::openat(&self.fd, name, flags, mode) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(DirError::Link { path }),
            Err(Errno::ISDIR | Errno::NXIO) => {
                return Err(DirError::Kind {
                    path,
                    wanted: "file",
                });
            }
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        let stat = fs::fstat(&fd).map_err(|errno| failed("look at", &path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(DirError::Kind {
                path,
                wanted: "file",
            });
        }
        Ok(Some(File::from(fd)))
    }

    /// The whole file `name`, at most `limit` bytes. `Ok(None)` if there is none.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, DirError> {
        let Some(file) = self.open(name, OFlags::RDONLY, Mode::empty())? else {
            return Ok(None);
        };
        let path = self.join(name)?;
        let mut content = Vec::new();
        let read = file.take(limit + 1).read_to_end(&mut content);
        let read = read.map_err(|source| DirError::Io {
            what: "read",
            path: path.clone(),
            source,
        })?;
        if read as u64 > limit {
            return Err(DirError::Large { path, limit });
        }
        Ok(Some(content))
    }

    /// Whether a regular file `name` is there; what else is there counts as not.
    pub fn has(&self, name: &str) -> bool {
        fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    /// Writes `name` whole or not at all, on disk when it returns, in the place of what was there.
    pub fn replace(&self, name: &str, mode: Mode, content: &[u8]) -> Result<(), DirError> {
        let path = self.join(name)?;
        let temporary = self.temporary(name, mode, content, Flush::Yes)?;
        self.rename(&temporary, name, &path)?;
        self.sync()
    }

    fn rename(&self, temporary: &str, name: &str, path: &Path) -> Result<(), DirError> {
        fs::renameat(&self.fd, temporary, &self.fd, name).map_err(|errno| {
            self.forget(temporary);
            failed("write", path, errno)
        })
    }

    /// Writes `name` whole or not at all, unless it is there already. It is not flushed: a host
    /// that loses its power may keep it empty, and an empty file is written again.
    pub fn write_once(&self, name: &str, mode: Mode, content: &[u8]) -> Result<Once, DirError> {
        let path = self.join(name)?;
        match self.compare(name, content)? {
            Some(Once::Other) if self.read(name, 0).is_ok_and(|found| found.is_some()) => {
                let temporary = self.temporary(name, mode, content, Flush::No)?;
                self.rename(&temporary, name, &path)?;
                return Ok(Once::Written);
            }
            Some(found) => return Ok(found),
            None => {}
        }
        let temporary = self.temporary(name, mode, content, Flush::No)?;
        let placed =
            match fs::renameat_with(&self.fd, &temporary, &self.fd, name, RenameFlags::NOREPLACE) {
                // Network file systems lack that flag; a hard link refuses to replace just as well.
                Err(Errno::INVAL | Errno::NOSYS) => {
                    let linked = fs::linkat(&self.fd, &temporary, &self.fd, name, AtFlags::empty());
                    self.forget(&temporary);
                    linked
                }
                other => other,
            };
        match placed {
            Ok(()) => Ok(Once::Written),
            // Another call was quicker.
            Err(Errno::EXIST) => {
                self.forget(&temporary);
                Ok(self.compare(name, content)?.unwrap_or(Once::Other))
            }
            Err(errno) => {
                self.forget(&temporary);
                Err(failed("write", &path, errno))
            }
        }
    }

    /// Removes the file `name`; absent is as good.
    pub fn remove(&self, name: &str) -> Result<(), DirError> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", &self.join(name)?, errno)),
        }
    }

    /// Removes the empty directory `name`; absent is as good.
    pub fn remove_dir(&self, name: &str) -> Result<(), DirError> {
        match fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("remove", &self.join(name)?, errno)),
        }
    }

    /// The names in it that are UTF-8, unsorted, at most `limit` of them.
    pub fn names(&self, limit: usize) -> Result<Vec<String>, DirError> {
        let entries =
            fs::Dir::read_from(&self.fd).map_err(|errno| failed("list", &self.path, errno))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|errno| failed("list", &self.path, errno))?;
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
                if names.len() == limit {
                    break;
                }
            }
        }
        Ok(names)
    }

    /// When something in it was last made or removed.
    pub fn changed(&self) -> Result<i64, DirError> {
        let stat = fs::fstat(&self.fd).map_err(|errno| failed("look at", &self.path, errno))?;
        #[allow(
            clippy::useless_conversion,
            reason = "the type differs by architecture"
        )]
        Ok(stat.st_mtime.into())
    }

    fn join(&self, name: &str) -> Result<PathBuf, DirError> {
        // Names come from this program and from typed ids; a slash would undo the whole module.
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(failed("use the name of", &self.path, Errno::INVAL));
        }
        Ok(self.path.join(name))
    }

    fn is_link(&self, name: &str) -> bool {
        fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
    }

    fn compare(&self, name: &str, content: &[u8]) -> Result<Option<Once>, DirError> {
        match self.read(name, content.len() as u64) {
            Ok(None) => Ok(None),
            Ok(Some(there)) if there == content => Ok(Some(Once::Same)),
            Ok(Some(_)) | Err(DirError::Large { .. }) => Ok(Some(Once::Other)),
            Err(error) => Err(error),
        }
    }

    /// Writes the content beside its place; the caller puts it there.
    fn temporary(
        &self,
        name: &str,
        mode: Mode,
        content: &[u8],
        flush: Flush,
    ) -> Result<String, DirError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let own = rustix::process::getpid().as_raw_nonzero();
        let temporary = format!(".{name}.{own}.{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let path = self.join(&temporary)?;
        // Left by a process of the same number, before a restart of the host.
        self.forget(&temporary);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = self.open(&temporary, flags, mode)?;
        let mut file = file.ok_or_else(|| DirError::Absent { path: path.clone() })?;
        // The umask may have taken a bit away.
        fs::fchmod(&file, mode).map_err(|errno| failed("set the mode of", &path, errno))?;
        let written = file.write_all(content).and_then(|()| match flush {
            Flush::Yes => file.sync_all(),
            Flush::No => Ok(()),
        });
        if let Err(source) = written {
            self.forget(&temporary);
            return Err(DirError::Io {
                what: "write",
                path,
                source,
            });
        }
        Ok(temporary)
    }

    fn forget(&self, temporary: &str) {
        // A leftover is a hidden file of some bytes; the next try has another name.
        let _ = fs::unlinkat(&self.fd, temporary, AtFlags::empty());
    }

    fn sync(&self) -> Result<(), DirError> {
        match fs::fsync(&self.fd) {
            // Some network file systems cannot sync a directory; they keep names synchronously.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(failed("write", &self.path, errno)),
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn failed(what: &'static str, path: &Path, errno: Errno) -> DirError {
    DirError::Io {
        what,
        path: path.to_owned(),
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn anchor() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::anchor(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_link_is_not_entered() {
        let (temp, dir) = anchor();
        std::fs::create_dir(temp.path().join("real")).unwrap();
        symlink("real", temp.path().join("link")).unwrap();
        assert!(dir.enter("real").is_ok());
        assert!(matches!(dir.enter("link"), Err(DirError::Link { .. })));
        assert!(matches!(
            dir.make_private("link"),
            Err(DirError::Link { .. })
        ));
        symlink("nowhere", temp.path().join("dangling")).unwrap();
        assert!(matches!(dir.make("dangling"), Err(DirError::Link { .. })));
        std::fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(
            dir.enter("file"),
            Err(DirError::Kind {
                wanted: "directory",
                ..
            })
        ));
    }

    #[test]
    fn names_are_single_components() {
        let (_temp, dir) = anchor();
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(
                matches!(dir.enter(name), Err(DirError::Io { .. })),
                "{name:?}"
            );
            assert!(
                matches!(dir.make(name), Err(DirError::Io { .. })),
                "{name:?}"
            );
            assert!(dir.replace(name, Mode::RUSR, b"").is_err(), "{name:?}");
        }
    }

    #[test]
    fn private_directories_lose_the_rights_of_others() {
        let (temp, dir) = anchor();
        std::fs::create_dir(temp.path().join("open")).unwrap();
        std::fs::set_permissions(
            temp.path().join("open"),
            std::fs::Permissions::from_mode(0o777),
        )
        .unwrap();
        dir.make_private("open").unwrap();
        assert_eq!(
            std::fs::metadata(temp.path().join("open"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
    }

    #[test]
    fn content_is_written_once() {
        let (temp, dir) = anchor();
        assert_eq!(
            dir.write_once("f", Mode::RWXU, b"one").unwrap(),
            Once::Written
        );
        assert_eq!(dir.write_once("f", Mode::RWXU, b"one").unwrap(), Once::Same);
        for other in [&b"on"[..], b"one ", b"two", b""] {
            assert_eq!(dir.write_once("f", Mode::RWXU, other).unwrap(), Once::Other);
        }
        assert_eq!(std::fs::read(temp.path().join("f")).unwrap(), b"one");
        assert_eq!(dir.names(100).unwrap(), ["f"], "no temporary file is left");
        dir.replace("f", Mode::RUSR, b"three").unwrap();
        assert_eq!(dir.read("f", 5).unwrap().unwrap(), b"three");
        assert!(matches!(dir.read("f", 4), Err(DirError::Large { .. })));
    }

    #[test]
    fn what_a_power_failure_left_empty_is_written_again() {
        let (_temp, dir) = anchor();
        dir.replace("f", Mode::RWXU, b"").unwrap();
        let write = || dir.write_once("f", Mode::RWXU, b"one").unwrap();
        assert_eq!((write(), write()), (Once::Written, Once::Same));
    }

    #[test]
    fn files_that_are_not_files_are_refused_without_waiting() {
        let (temp, dir) = anchor();
        symlink("/etc/passwd", temp.path().join("link")).unwrap();
        fs::mkfifoat(&dir, "fifo", Mode::RWXU).unwrap();
        assert!(matches!(dir.read("link", 9), Err(DirError::Link { .. })));
        assert!(matches!(dir.read("fifo", 9), Err(DirError::Kind { .. })));
        assert!(matches!(
            dir.write_once("fifo", Mode::RWXU, b""),
            Err(DirError::Kind { .. })
        ));
        assert!(dir.read("absent", 9).unwrap().is_none());
        assert!(!dir.has("link") && !dir.has("fifo") && !dir.has("absent"));
    }
}
