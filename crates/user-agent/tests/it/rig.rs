//! A user-agent as its agent sees it: the built program, run by an account, behind a socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_testbed::accounts::{self, Account};
use forebay_testbed::guard::Guard;
use forebay_testbed::process::{self, Command, Daemon, Output, User};
use forebay_wire::ipc::{LocalJob, LocalJobs, LocalPhase, LocalStart, Prepare, Prepared};
use forebay_wire::{JobId, Problem};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

pub(crate) const PROGRAM: &str = "forebay-user-agent";
/// What says that a body is JSON.
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
/// Longer than anything here takes; a hang fails the test.
const DEADLINE: Duration = Duration::from_secs(60);

/// Root is the agent of a test account; otherwise the current account is both.
pub(crate) fn account() -> Account {
    if is_root() {
        accounts::test_account(1).unwrap()
    } else {
        accounts::current().unwrap()
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) struct Rig {
    pub(crate) account: Account,
    pub(crate) guard: Arc<Guard>,
    pub(crate) daemon: Daemon,
    pub(crate) socket: PathBuf,
    /// Ours to write into as the account.
    pub(crate) home: PathBuf,
    args: Vec<String>,
}

/// What a call answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status / 100, 2, "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn problem(&self) -> Problem {
        assert!(self.status >= 400, "{self:?}");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Besides what every test needs, with these arguments.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        let guard = Guard::with_dir("user-agent").unwrap();
        let account = account();
        let home = guard.dir().join("user");
        make_dir(&home, &account);
        make_dir(&home.join("state"), &account);
        let socket = home.join("http.sock");
        let mut args = vec!["serve", "--environment", "test"];
        let (socket_text, state) = (text(&socket), text(&home.join("state")));
        args.extend(["--socket", &socket_text, "--state-dir", &state]);
        let agent = rustix::process::getuid().as_raw().to_string();
        if !more.contains(&"--agent-uid") {
            args.extend(["--agent-uid", &agent]);
        }
        args.extend(more);
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let daemon = Self::launch(&guard, &account, &args).await;
        let rig = Self {
            account,
            guard,
            daemon,
            socket,
            home,
            args,
        };
        rig.wait_ready().await;
        rig
    }

    async fn launch(guard: &Arc<Guard>, account: &Account, args: &[String]) -> Daemon {
        let program = forebay_testbed::programs::path(PROGRAM).unwrap();
        let log = guard.dir().join("user-agent.log");
        // Nothing of this may reach what it runs.
        let command = Command::new(program, log)
            .args(args)
            .env("FROM_THE_STARTER", "1");
        Daemon::start(guard, as_account(command, account))
            .await
            .unwrap()
    }

    async fn wait_ready(&self) {
        let ready = || async { UnixStream::connect(&self.socket).await.is_ok() };
        self.daemon
            .wait_ready(Duration::from_secs(20), ready)
            .await
            .unwrap();
    }

    /// A new one in the place of one that has ended.
    pub(crate) async fn restart(&mut self) {
        self.daemon = Self::launch(&self.guard, &self.account, &self.args).await;
        self.wait_ready().await;
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        call(&self.socket, "GET", path, &[], Bytes::new()).await
    }

    pub(crate) async fn range(&self, path: &str, range: &str) -> Answer {
        call(&self.socket, "GET", path, &[("range", range)], Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).unwrap().into();
        call(&self.socket, "POST", path, &[JSON], body).await
    }

    pub(crate) async fn prepare(&self, job: JobId, script: &str) -> Answer {
        self.post(
            &format!("/v1/jobs/{job}/prepare"),
            &Prepare {
                script: script.to_owned(),
            },
        )
        .await
    }

    /// What the agent would send for a job with this script.
    pub(crate) async fn local(&self, script: &str) -> LocalStart {
        let job = JobId::new();
        let prepared: Prepared = self.prepare(job, script).await.json();
        LocalStart {
            job,
            marker: format!("forebay:test:{job}"),
            script: prepared.script,
            stdout: format!("{}/stdout", prepared.directory),
            stderr: format!("{}/stderr", prepared.directory),
            directory: text(&self.home),
            environment: std::collections::BTreeMap::new(),
            time_limit_s: None,
        }
    }

    pub(crate) async fn start_local(&self, start: &LocalStart) -> Answer {
        self.post("/v1/local/jobs", start).await
    }

    pub(crate) async fn tell(&self, job: JobId, what: &str) -> Answer {
        self.post(&format!("/v1/local/jobs/{job}/{what}"), &())
            .await
    }

    pub(crate) async fn jobs(&self) -> Vec<LocalJob> {
        self.get("/v1/local/jobs").await.json::<LocalJobs>().jobs
    }

    /// Asks until the job's phase is as wanted.
    pub(crate) async fn until(
        &self,
        job: JobId,
        wanted: impl Fn(&LocalPhase) -> bool,
    ) -> LocalPhase {
        let begun = tokio::time::Instant::now();
        loop {
            let jobs = self.jobs().await;
            let phase = jobs
                .into_iter()
                .find(|entry| entry.job == job)
                .map(|entry| entry.phase);
            if let Some(phase) = phase.as_ref().filter(|phase| wanted(phase)) {
                return phase.clone();
            }
            assert!(begun.elapsed() < DEADLINE, "{job} is {phase:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_ended(&self, job: JobId) -> LocalPhase {
        self.until(job, |phase| matches!(phase, LocalPhase::Ended { .. }))
            .await
    }

    /// The pid of a job's shim, by its command line.
    pub(crate) fn shim(&self, job: JobId) -> i32 {
        let record = format!("{}/state/test/local/{job}", self.home.display());
        let mut found = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let args: Vec<_> = line.split(|byte| *byte == 0).collect();
                (args.get(1) == Some(&&b"shim"[..]) && args.contains(&record.as_bytes()))
                    .then_some(pid)
            });
        let pid = found.next().expect("the job has a shim");
        assert_eq!(found.next(), None, "and only one");
        pid
    }

    /// Runs a program as an account.
    pub(crate) async fn run_as(&self, account: &Account, program: &str, args: &[&str]) -> Output {
        let command =
            Command::new(program, self.guard.dir().join("unused")).args(args.iter().copied());
        process::run(&self.guard, as_account(command, account), b"", DEADLINE)
            .await
            .unwrap()
    }

    /// Writes a program into a directory of its own, to stand for one of the scheduler's.
    pub(crate) fn write_program(dir: &Path, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join(name), content).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

pub(crate) fn as_account(command: Command, account: &Account) -> Command {
    if is_root() {
        command.user(User::of(account).unwrap())
    } else {
        command
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A directory that belongs to the account.
pub(crate) fn make_dir(path: &Path, account: &Account) {
    std::fs::create_dir(path).unwrap();
    own(path, account);
}

/// Gives what root has made to the account.
pub(crate) fn own(path: &Path, account: &Account) {
    if is_root() {
        std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid)).unwrap();
    }
}

/// A value of a query.
pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .fold(String::new(), |all, byte| format!("{all}%{byte:02X}"))
}

/// One call on a connection of its own.
pub(crate) async fn call(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let answer = async {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let exchange = async {
            let answer = sender.send_request(request).await.unwrap();
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Answer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body,
            }
        };
        tokio::pin!(connection, exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    };
    tokio::time::timeout(DEADLINE, answer)
        .await
        .unwrap_or_else(|_| panic!("{method} {path} hangs"))
}

/// Waits until there is no such process, or only its zombie.
pub(crate) async fn until_gone(pid: i32) {
    let begun = tokio::time::Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.trim_start().chars().next());
        if matches!(state, None | Some(None | Some('Z' | 'X'))) {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "process {pid} goes on: {stat}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
