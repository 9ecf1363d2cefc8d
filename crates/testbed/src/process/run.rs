//! A process that is meant to end: its output is collected.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::{Command, Daemon, Error, Exit};
use crate::guard::Guard;

/// More output than this is cut.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// What a process printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Its standard output, at most 64 MiB.
    pub stdout: Vec<u8>,
    /// Its standard error, at most 64 MiB.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without the last line's end.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard error as text, without the last line's end.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

/// Files of one run, removed with it.
struct Files(PathBuf);

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.path(name);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?
                .take(OUTPUT_BYTES_MAX)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| Error::File {
            path: path.clone(),
            source,
        })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        crate::dirs::remove(&self.0);
    }
}

/// Runs `command` (its log is not used) with `input` as standard input, below the guard. Killed
/// with its session after `deadline`, or when the future is dropped.
pub async fn run(
    guard: &Arc<Guard>,
    command: Command,
    input: &[u8],
    deadline: Duration,
) -> Result<Output, Error> {
    let files = files(guard.dir(), input).map_err(|source| Error::File {
        path: guard.dir().to_owned(),
        source,
    })?;
    let mut command = command.stdin(files.path("in")).stderr(files.path("err"));
    command.stdout = files.path("out");
    let daemon = Daemon::start(guard, command).await?;
    let Ok(exit) = timeout(deadline, daemon.wait()).await else {
        let stderr = String::from_utf8_lossy(&files.read("err")?).into_owned();
        return Err(Error::TooSlow {
            program: daemon.name().to_owned(),
            seconds: deadline.as_secs(),
            tail: stderr,
        });
    };
    Ok(Output {
        exit: exit?,
        stdout: files.read("out")?,
        stderr: files.read("err")?,
    })
}

/// A directory only this user can enter, with the input in it.
fn files(dir: &Path, input: &[u8]) -> io::Result<Files> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let dir = dir.join("exec");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)?;
    let path = dir.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::DirBuilder::new().mode(0o700).create(&path)?;
    let files = Files(path);
    let mut options = File::options();
    options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(files.path("in"))?
        .write_all(input)?;
    Ok(files)
}
