//! Running the command.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::fake::{Fake, TOKEN};

/// No command of a test takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A user with a home of their own and no other environment.
pub(crate) struct User {
    pub(crate) home: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Everything at once, for snapshots.
    pub(crate) fn all(&self) -> String {
        let code = self
            .code
            .map_or_else(|| "none".to_owned(), |code| code.to_string());
        format!(
            "code {code}\n--- stdout\n{}--- stderr\n{}",
            self.out(),
            self.stderr
        )
    }

    /// The same without the ids of requests, which differ each time.
    pub(crate) fn steady(&self) -> String {
        let all = self.all();
        let steady = |line: &&str| !line.starts_with("  request ");
        all.split_inclusive('\n').filter(steady).collect()
    }

    /// The same, for a run that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.all());
        self
    }
}

impl User {
    /// Somebody who has not signed in.
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a directory"),
            variables: Vec::new(),
        }
    }

    /// Somebody who uses this server, by variables.
    pub(crate) fn of(fake: &Fake) -> Self {
        Self::new()
            .with("FOREBAY_URL", &fake.url())
            .with("FOREBAY_TOKEN", TOKEN)
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A file of theirs.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .current_dir(self.home.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        finish(self.command(arguments).spawn().expect("started"))
    }

    /// With something on standard input.
    pub(crate) fn pipe(&self, arguments: &[&str], input: &str) -> Done {
        use std::io::Write as _;
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("piped");
        // Who refuses before reading is free to.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        finish(child)
    }
}

/// Waits for the end, but not for ever.
pub(crate) fn finish(child: Child) -> Done {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = is_done.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        late
    });
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("waited for");
    drop(done);
    let done = Done {
        code: status.code(),
        stdout,
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    };
    assert!(
        !watchdog.join().expect("no panic"),
        "it did not end in {LIMIT:?}: {}",
        done.all()
    );
    done
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
