//! Directories, the supervisor's lock, and making the data.
//!
//! ```text
//! <state_dir>/            the supervisor's
//!   lock                  flock of the supervisor, its process id inside
//!   pg_hba.conf pg_ident.conf   written at each start; out of the server's own reach
//!   cluster/              the account's, 0700
//!     data/               made by initdb elsewhere, then renamed: it is whole or absent
//!     data.new/           half made; removed at the next start
//!     data.upgrade/ up/   of an upgrade; see there
//!     data.old-15/        what an upgrade left behind, for the operator to remove
//! <socket_dir>/           the account's, 0755
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::binaries::Binaries;
use super::config::{AccessFiles, Config};
use super::error::Error;
use super::process::Running;
use super::{ADMIN, takeover};

/// How long `initdb` may take.
const INITDB_MAX: Duration = Duration::from_secs(300);

/// Where things are.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    state: PathBuf,
    cluster: PathBuf,
    pub(super) data: PathBuf,
    pub(super) hba: PathBuf,
    pub(super) ident: PathBuf,
    pub(super) socket_dir: PathBuf,
}

impl Layout {
    pub(super) fn new(config: &Config) -> Layout {
        let cluster = config.state_dir.join("cluster");
        Layout {
            data: cluster.join("data"),
            hba: config.state_dir.join("pg_hba.conf"),
            ident: config.state_dir.join("pg_ident.conf"),
            state: config.state_dir.clone(),
            socket_dir: config.socket_dir.clone(),
            cluster,
        }
    }

    /// Makes the state directory and takes the lock.
    pub(super) fn lock(&self, account: &Account) -> Result<Lock, Error> {
        let mode = if account.become_it { 0o711 } else { 0o700 };
        make_dir(&self.state, mode)?;
        Lock::take(&self.state)
    }

    /// Makes the other directories and writes the access files.
    pub(super) fn prepare(&self, config: &Config, account: &Account) -> Result<(), Error> {
        owned_dir(&self.cluster, 0o700, account)?;
        owned_dir(&self.socket_dir, 0o755, account)?;
        let mode = fs::metadata(&self.socket_dir)
            .map_err(Error::io("look at", &self.socket_dir))?
            .mode();
        if mode & 0o022 != 0 {
            let reason = format!(
                "{} can be written by others, who could put a socket there",
                self.socket_dir.display()
            );
            return Err(Error::config("socket_dir", reason));
        }
        let files = AccessFiles::render(config, &[&account.name, &account.supervisor]);
        write_whole(&self.hba, &files.hba)?;
        write_whole(&self.ident, &files.ident)
    }

    /// Whether the account itself gets to its directories.
    pub(super) async fn reach(&self, account: &Account) -> Result<(), Error> {
        let paths = [
            self.cluster.clone(),
            self.socket_dir.clone(),
            self.hba.clone(),
        ];
        let this = account.clone();
        let look = move || {
            for path in paths {
                if let Err(source) = fs::metadata(&path) {
                    let at = closed(&path, &this).unwrap_or_else(|| path.clone());
                    return Err(Error::Unreachable {
                        path,
                        account: this.name,
                        at,
                        source,
                    });
                }
            }
            Ok(())
        };
        account.run(look).await
    }

    /// The major version of the data as `PG_VERSION` has it; `None` if there is no data yet.
    pub(super) fn version(&self) -> Result<Option<String>, Error> {
        let path = self.data.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.data.exists() {
                    let reason = format!("{} is there but holds no database", self.data.display());
                    return Err(Error::config("state_dir", reason));
                }
                Ok(None)
            }
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Makes the data, if there is none: elsewhere first, so that it is whole or absent. Ends early on `stop`.
    pub(super) async fn make_data(
        &self,
        config: &Config,
        account: &Account,
        binaries: &Binaries,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let half_made = self.cluster.join("data.new");
        if self.version()?.is_some() {
            return clear_leftover(account, half_made).await;
        }
        tracing::info!(data = %self.data.display(), version = binaries.major, "making the private database");
        if !self
            .make(config, account, binaries, &half_made, stop)
            .await?
        {
            return Ok(());
        }
        let (cluster, data, sync) = (self.cluster.clone(), self.data.clone(), config.fsync);
        account
            .run(move || {
                fs::rename(&half_made, &data).map_err(Error::io("rename to", data))?;
                if sync {
                    File::open(&cluster)
                        .and_then(|dir| dir.sync_all())
                        .map_err(Error::io("sync", cluster))?;
                }
                Ok(())
            })
            .await
    }

    /// Makes empty data in a directory, in place of what may be there. `false` if it was to stop before the end.
    pub(super) async fn make(
        &self,
        config: &Config,
        account: &Account,
        binaries: &Binaries,
        at: &Path,
        stop: &CancellationToken,
    ) -> Result<bool, Error> {
        clear_leftover(account, at.to_owned()).await?;
        let mut command = Command::new(binaries.initdb());
        command
            .arg("--pgdata")
            .arg(at)
            .args([
                "--username",
                ADMIN,
                "--encoding",
                "UTF8",
                "--data-checksums",
            ])
            // Sorting by bytes does not change with the system's locale data, which would corrupt indexes.
            .args([
                "--lc-collate",
                "C",
                "--lc-ctype",
                "C.UTF-8",
                "--lc-messages",
                "C",
            ])
            // Not used: the access files of the state directory are. These refuse rather than trust.
            .args(["--auth-local", "peer", "--auth-host", "reject"]);
        if !config.fsync {
            command.arg("--no-sync");
        }
        account.apply(&mut command);
        let initdb = Running::start(command, Signal::KILL, ()).await?;
        let status = tokio::select! {
            status = initdb.exited() => status,
            () = stop.cancelled() => {
                initdb.signal(Signal::KILL);
                initdb.exited().await;
                return Ok(false);
            }
            () = tokio::time::sleep(INITDB_MAX) => {
                return Err(Error::Initdb { said: format!("it was not done within {INITDB_MAX:?}") });
            }
        };
        if !status.success() {
            return Err(Error::Initdb {
                said: initdb.said().await,
            });
        }
        Ok(true)
    }
}

/// Ends what still works in a half-made directory, and removes it.
async fn clear_leftover(account: &Account, leftover: PathBuf) -> Result<(), Error> {
    account
        .run(move || {
            takeover::end_all(&leftover, Duration::ZERO)?;
            match fs::remove_dir_all(&leftover) {
                Ok(()) => {
                    tracing::info!(dir = %leftover.display(), "removed a half-made database");
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("remove", leftover)(error)),
            }
            Ok(())
        })
        .await
}

/// The supervisor's exclusive lock on a state directory; freed by the kernel however the supervisor ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said outright: closing alone would not free it while a process that another thread is just starting still
        // has a copy of the descriptor.
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "the private database's lock was not freed by name");
        }
    }
}

impl Lock {
    fn take(state: &Path) -> Result<Lock, Error> {
        let path = state.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).expect("a small flag"))
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = (&file)
                    .take(32)
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(Error::AlreadyRunning {
                    dir: state.to_owned(),
                    pid,
                });
            }
            Err(error) => return Err(Error::io("lock", path)(error.into())),
        }
        let note = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        note.map_err(Error::io("write", path))?;
        Ok(Lock { file })
    }
}

/// The directory on the way to `path` that keeps the account out, going by owner and mode.
fn closed(path: &Path, account: &Account) -> Option<PathBuf> {
    let shut = |dir: &&Path| {
        fs::metadata(dir).is_ok_and(|meta| {
            let bit = if meta.uid() == account.uid {
                0o100
            } else if meta.gid() == account.gid {
                0o010
            } else {
                0o001
            };
            meta.mode() & bit == 0
        })
    };
    path.ancestors().skip(1).find(shut).map(Path::to_owned)
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(Error::io("make", path))
}

/// Makes a directory for the account, or checks that an existing one is the account's.
fn owned_dir(path: &Path, mode: u32, account: &Account) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        make_dir(parent, 0o755)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            let dir = OpenOptions::new()
                .read(true)
                .custom_flags(
                    i32::try_from((OFlags::NOFOLLOW | OFlags::DIRECTORY).bits())
                        .expect("small flags"),
                )
                .open(path)
                .map_err(Error::io("open", path))?;
            if account.become_it {
                std::os::unix::fs::fchown(&dir, Some(account.uid), Some(account.gid))
                    .map_err(Error::io("give away", path))?;
            }
            // Said outright: the mode of creation is subject to the umask.
            dir.set_permissions(fs::Permissions::from_mode(mode))
                .map_err(Error::io("set the mode of", path))?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("make", path)(error)),
    }
    let meta = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    if !meta.is_dir() {
        return Err(Error::io("use", path)(ErrorKind::NotADirectory.into()));
    }
    if meta.uid() != account.uid {
        return Err(Error::Owner {
            path: path.to_owned(),
            owner: meta.uid(),
            account: account.name.clone(),
            uid: account.uid,
        });
    }
    Ok(())
}

/// Replaces a file in one step; the server reads either version.
fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, path)
    };
    write().map_err(Error::io("write", path))
}
