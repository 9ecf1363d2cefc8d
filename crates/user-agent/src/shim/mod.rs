//! A shim: the process that holds one job of the `local` integration through its life.
//!
//! It outlives the user-agent that started it: it is in a session of its own and needs nobody.
//! It waits held until released, runs the script in a process group of its own, ends it at its
//! time limit or when asked, and leaves a record of the end. That it lives is shown by the lock
//! on the record's directory, which it got as standard input.

mod exec;
mod life;
mod output;
mod processes;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use forebay_wire::Timestamp;
use rustix::fs::{Mode, OFlags};

use crate::dir::Dir;
use crate::local::record::{LOCK, OURS, Record, RecordError, Spec};

pub use exec_args::ExecArgs;

/// What the user-agent reads from a shim's standard output once it holds the job.
pub(crate) const READY: &str = "ready";

/// Its command line.
#[derive(Debug, clap::Args)]
pub struct ShimArgs {
    /// The record of the job. Standard input must be the open, locked file `lock` in it.
    #[arg(long, value_name = "PATH")]
    pub dir: PathBuf,
}

mod exec_args {
    use std::path::PathBuf;

    /// The command line of the step that becomes the script.
    #[derive(Debug, clap::Args)]
    pub struct ExecArgs {
        /// The script.
        #[arg(long)]
        pub script: PathBuf,
        /// Where it runs.
        #[arg(long)]
        pub directory: PathBuf,
        /// The shim's process id; if it is not the parent any more, nothing runs.
        #[arg(long)]
        pub parent: u32,
    }
}

/// Why a shim could not begin.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error(
        "a shim is started by `forebay-user-agent serve`, with the record's lock as standard input"
    )]
    NotStarted,
    #[error("the record has no spec")]
    NoSpec,
    #[error("the record cannot be used")]
    Record(#[from] RecordError),
    #[error("{0}")]
    Output(String),
    #[error("cannot {what}")]
    System {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Runs a shim to its end. Prints `ready` or a reason on standard output, one line.
pub fn main(args: &ShimArgs) -> ExitCode {
    let shim = match Shim::begin(&args.dir) {
        Ok(shim) => shim,
        Err(error) => {
            // Nobody may read it any more.
            let _ = writeln!(
                std::io::stdout(),
                "{}",
                forebay_service::logs::chain(&error)
            );
            return ExitCode::FAILURE;
        }
    };
    match shim.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// To shim.log, with the time.
fn tell(error: &ShimError) {
    // The disk may be full, which may be what is told.
    let _ = writeln!(
        std::io::stderr(),
        "{} {}",
        Timestamp::now(),
        forebay_service::logs::chain(error)
    );
}

/// Becomes a job's script.
pub fn exec(args: &ExecArgs) -> ExitCode {
    exec::run(&args.script, &args.directory, args.parent)
}

/// A job and all that is open for it.
#[derive(Debug)]
struct Shim {
    record: Record,
    spec: Spec,
    stdout: File,
    stderr: File,
}

impl Shim {
    fn begin(dir: &Path) -> Result<Self, ShimError> {
        let record = Record {
            dir: Dir::anchor(dir).map_err(RecordError::from)?,
        };
        check_lock(&record)?;
        // A terminal's or a session's end shall not reach it. Fails only for a group's leader.
        let _ = rustix::process::setsid();
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own))
            .map_err(|errno| system("become the subreaper", errno))?;
        // What jobs expect; files of ours get their mode by name.
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        std::env::set_current_dir("/").map_err(|source| ShimError::System {
            what: "enter /",
            source,
        })?;
        let spec = record.spec()?.ok_or(ShimError::NoSpec)?;
        let stdout = output::open(Path::new(&spec.stdout)).map_err(ShimError::Output)?;
        let stderr = output::open(Path::new(&spec.stderr)).map_err(ShimError::Output)?;
        Ok(Self {
            record,
            spec,
            stdout,
            stderr,
        })
    }

    fn run(self) -> Result<(), ShimError> {
        // One thread: the job dies with the *thread* that started it.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|source| ShimError::System {
            what: "make a runtime",
            source,
        })?;
        runtime.block_on(life::live(self))
    }
}

/// The record is ours only if standard input is its lock, and locked.
fn check_lock(record: &Record) -> Result<(), ShimError> {
    let given = std::io::stdin().as_fd().try_clone_to_owned();
    let given = File::from(given.map_err(|source| ShimError::System {
        what: "read standard input",
        source,
    })?);
    let there = record
        .dir
        .open(LOCK, OFlags::RDWR, OURS)
        .map_err(RecordError::from)?;
    let there = there.ok_or(ShimError::NotStarted)?;
    let (Ok(a), Ok(b)) = (given.metadata(), there.metadata()) else {
        return Err(ShimError::NotStarted);
    };
    let same = (a.dev(), a.ino()) == (b.dev(), b.ino());
    // On the same open file this is a no-op; on another it would be refused.
    let locked = rustix::fs::flock(&given, rustix::fs::FlockOperation::NonBlockingLockExclusive);
    if same && locked.is_ok() {
        Ok(())
    } else {
        Err(ShimError::NotStarted)
    }
}

fn system(what: &'static str, errno: rustix::io::Errno) -> ShimError {
    ShimError::System {
        what,
        source: errno.into(),
    }
}
