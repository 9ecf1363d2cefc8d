//! What to start, and how.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::identity::{User, prepare};

/// A program with its arguments and its whole environment: nothing is inherited.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Command {
    pub(crate) program: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: PathBuf,
    user: Option<User>,
    umask: Option<u32>,
    stdin: Option<PathBuf>,
    pub(crate) stdout: PathBuf,
    stderr: Option<PathBuf>,
    pub(crate) end_signal: Option<i32>,
}

impl Command {
    /// `program` is a path, not looked up. Output goes to `log`, appended; input is empty; the
    /// directory is `/`; the environment has a `PATH` of the system's directories and `LANG`.
    pub fn new(program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let env = [("PATH", path), ("LANG", "C.UTF-8")];
        Self {
            program: program.into(),
            args: Vec::new(),
            env: env
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            cwd: PathBuf::from("/"),
            user: None,
            umask: None,
            stdin: None,
            stdout: log.into(),
            stderr: None,
            end_signal: None,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets variables.
    #[must_use]
    pub fn envs(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(pairs);
        self
    }

    /// The working directory, entered with this process's rights.
    #[must_use]
    pub fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.cwd = path.into();
        self
    }

    /// Runs as this user; needs root. Without, as the caller.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// The file mode creation mask; without, the caller's.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.umask = Some(mask);
        self
    }

    /// Reads standard input from a file.
    #[must_use]
    pub fn stdin(mut self, path: impl Into<PathBuf>) -> Self {
        self.stdin = Some(path.into());
        self
    }

    /// Appends standard error to a file of its own instead of the log.
    #[must_use]
    pub fn stderr(mut self, path: impl Into<PathBuf>) -> Self {
        self.stderr = Some(path.into());
        self
    }

    /// A gentler signal for the end, when the [`super::Daemon`] is dropped or the guard ends, for
    /// programs that leave something behind when killed. One second later comes KILL; without this
    /// it comes at once.
    #[must_use]
    pub fn end_signal(mut self, signal: Signal) -> Self {
        self.end_signal = Some(signal.as_raw());
        self
    }

    /// Starts it as a child of the calling thread; returns the pid. The caller reaps.
    pub(crate) fn spawn(&self) -> io::Result<i32> {
        let stdout = append(&self.stdout)?;
        let stderr = match &self.stderr {
            Some(path) => append(path)?,
            None => stdout.try_clone()?,
        };
        let stdin = match &self.stdin {
            Some(path) => Stdio::from(File::open(path)?),
            None => Stdio::null(),
        };
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.cwd);
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        prepare(&mut command, self.user.as_ref(), self.umask);
        Ok(command.spawn()?.id().cast_signed())
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    // Test accounts may write into some directories of an instance: follow no link of theirs.
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(nofollow)
        .open(path)
}
