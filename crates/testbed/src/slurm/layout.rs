//! Where an instance's files are, and whose.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::accounts::Account;

/// Offsets into the instance's ports.
pub(super) const CONTROLLER_PORT: u16 = 0;
pub(super) const DBD_PORT: u16 = 1;
pub(super) const REST_PORT: u16 = 2;
pub(super) const FIRST_NODE_PORT: u16 = 4;

/// Paths of one instance.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) conf: PathBuf,
    pub(super) dbd_conf: PathBuf,
    pub(super) cgroup_conf: PathBuf,
    /// Files only Slurm's account reads: state, the key of tokens.
    pub(super) state: PathBuf,
    pub(super) jwt_key: PathBuf,
    pub(super) spool: PathBuf,
    pub(super) log: PathBuf,
    pub(super) munge: PathBuf,
    pub(super) munge_key: PathBuf,
    pub(super) munge_run: PathBuf,
    pub(super) munge_socket: PathBuf,
    pub(super) slurm_run: PathBuf,
    pub(super) slurm_log: PathBuf,
    pub(super) rest_run: PathBuf,
    pub(super) rest_socket: PathBuf,
    pub(super) mysql: PathBuf,
    pub(super) mysql_run: PathBuf,
    pub(super) mysql_socket: PathBuf,
}

impl Layout {
    pub(super) fn new(dir: &Path) -> Self {
        let (etc, run, log) = (dir.join("etc"), dir.join("run"), dir.join("log"));
        let state = dir.join("state");
        let munge = dir.join("munge");
        Self {
            dir: dir.to_owned(),
            conf: etc.join("slurm.conf"),
            dbd_conf: etc.join("slurmdbd.conf"),
            cgroup_conf: etc.join("cgroup.conf"),
            jwt_key: state.join("jwt_hs256.key"),
            state,
            spool: dir.join("spool"),
            munge_key: munge.join("munge.key"),
            munge,
            munge_run: run.join("munge"),
            munge_socket: run.join("munge/munge.socket"),
            slurm_run: run.join("slurm"),
            slurm_log: log.join("slurm"),
            log,
            rest_run: run.join("rest"),
            rest_socket: run.join("rest/rest.sock"),
            mysql: dir.join("mysql"),
            mysql_run: run.join("mysql"),
            mysql_socket: run.join("mysql/s.sock"),
        }
    }

    /// The output of a daemon.
    pub(super) fn log_of(&self, daemon: &str) -> PathBuf {
        self.log.join(format!("{daemon}.out"))
    }
}

/// Makes a directory and gives it to an account, or to root.
pub(super) fn make_dir(path: &Path, mode: u32, owner: Option<&Account>) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    owner.map_or(Ok(()), |owner| {
        chown(path, Some(owner.uid), Some(owner.gid))
    })
}

/// Writes a file with its mode from the first byte on, then gives it to its owner.
pub(super) fn write_file(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<&Account>,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?
        .write_all(bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    owner.map_or(Ok(()), |owner| {
        chown(path, Some(owner.uid), Some(owner.gid))
    })
}

/// Bytes nobody can guess.
pub(super) fn secret<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
