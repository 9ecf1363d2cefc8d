//! The supervisor's process: runs the private instance of its directory until it is told to stop.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use forebay_postgres::private::{self, Config, Private};
use rustix::process::{Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::procfs;

const SETUP: &str = "setup.json";

/// What the test process tells the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    /// Names of databases, which are also their roles', with the accounts that may use them.
    pub(super) databases: Vec<(String, Vec<String>)>,
}

impl Setup {
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::write(dir.join(SETUP), serde_json::to_vec(self)?)
    }
}

pub(super) fn socket_dir(dir: &Path) -> PathBuf {
    dir.join("s")
}

/// Exists once the instance accepts connections.
pub(super) fn ready_file(dir: &Path) -> PathBuf {
    dir.join("ready")
}

pub(super) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("state/cluster/data/postmaster.pid")
}

/// The life of the process; the directory is its last argument. Log lines go to standard error.
pub(crate) fn main() -> ! {
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        let dir = PathBuf::from(
            std::env::args_os()
                .next_back()
                .ok_or("no directory was given")?,
        );
        let setup: Setup = serde_json::from_slice(&fs::read(dir.join(SETUP))?)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(supervise(&dir, setup))
    };
    let code = match run() {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            let mut source = error.source();
            while let Some(cause) = source {
                let _ = writeln!(io::stderr(), "  because: {cause}");
                source = cause.source();
            }
            1
        }
    };
    std::process::exit(code)
}

async fn supervise(dir: &Path, setup: Setup) -> Result<(), Box<dyn std::error::Error>> {
    let database = |(name, os_users): (String, Vec<String>)| private::Database {
        role: name.clone(),
        name,
        os_users,
    };
    let databases = setup.databases.into_iter().map(database).collect();
    let config = Config {
        // Nothing here outlives the machine anyway, and it halves the time of a copy.
        fsync: false,
        connections_max: 200,
        ..Config::new(dir.join("state"), socket_dir(dir), databases)
    };
    let stop = CancellationToken::new();
    let mut term = signal(SignalKind::terminate())?;
    let mut quit = signal(SignalKind::quit())?;
    let private = Private::new(config)?;
    let run = private.run(stop.clone(), || {
        // Whoever waits for the file says so if it does not come.
        let _ = fs::write(ready_file(dir), "");
    });
    let mut run = std::pin::pin!(run);
    tokio::select! {
        ended = &mut run => return Ok(ended?),
        _ = term.recv() => stop.cancel(),
        _ = quit.recv() => {
            stop.cancel();
            quit_server(dir);
        }
    }
    Ok(run.await?)
}

/// Has the server end at once, without writing out what nobody will read: under load an orderly
/// stop takes longer than the testbed's end may. Unlike a kill it leaves no shared memory behind.
fn quit_server(dir: &Path) {
    let Ok(pid) = super::pid_in(&pid_file(dir)) else {
        return;
    };
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let is_ours = procfs::stat(pid.as_raw_nonzero().get()).is_some_and(|stat| stat.parent == own);
    if is_ours {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::QUIT);
    }
}
