//! Who may call.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use bytes::Bytes;
use forebay_testbed::accounts;
use forebay_testbed::guard::Guard;
use forebay_testbed::need;
use forebay_wire::ipc::Hello;
use forebay_wire::{Code, JobId, Problem};
use tokio::time::Instant;

use crate::rig::{self, Rig, call, text};

#[tokio::test]
async fn says_who_it_is() {
    let rig = Rig::start().await;
    let hello: Hello = rig.get("/v1/hello").await.json();
    assert_eq!(
        (hello.version, hello.uid),
        (forebay_wire::ipc::VERSION, rig.account.uid)
    );
    assert_eq!(hello.program_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(rig.get("/v1/nothing").await.problem().code, Code::NotFound);
    assert_eq!(
        rig.get("/v1/run").await.problem().code,
        Code::MethodNotAllowed
    );
}

/// As the agent calls: many at once over one HTTP/2 connection, the server's uid checked.
#[tokio::test]
async fn many_calls_share_a_connection() {
    use forebay_http::{Client, client::ClientLimits};

    let rig = Rig::start().await;
    let path = rig.home.join("log");
    std::fs::write(&path, "0123456789").unwrap();
    let client = Client::unix_with(
        &rig.socket,
        Some(rig.account.uid),
        ClientLimits::default(),
        true,
    );
    let log = |wait: &str| {
        client
            .call(http::Method::GET, "/v1/log")
            .query("path", &text(&path))
            .query("wait_ms", wait)
    };
    // Long waits do not hold the others up.
    let waits = futures_util::future::join_all(
        (0..50).map(|_| log("2000").header("range", "bytes=10-").unwrap().send()),
    );
    let calls = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        for _ in 0..50 {
            client.get::<Hello>("/v1/hello").await.unwrap();
            let part = log("0")
                .header("range", "bytes=2-4")
                .unwrap()
                .send()
                .await
                .unwrap();
            assert_eq!(
                (part.header("content-range"), &part.body[..]),
                (Some("bytes 2-4/10"), &b"234"[..])
            );
        }
        assert!(
            begun.elapsed() < Duration::from_millis(1500),
            "{:?}",
            begun.elapsed()
        );
    };
    let (waits, ()) = tokio::join!(waits, calls);
    assert!(
        waits
            .iter()
            .all(|answer| answer.as_ref().is_ok_and(|answer| answer.body.is_empty()))
    );

    let stranger = Client::unix(&rig.socket, Some(rig.account.uid + 1));
    stranger.get::<Hello>("/v1/hello").await.unwrap_err();
}

/// Another account is refused by what the kernel says, on every call.
#[tokio::test]
async fn other_accounts_are_refused() {
    need!(Root);
    let rig = Rig::start().await;
    let other = accounts::test_account(2).unwrap();
    let (socket, job) = (text(&rig.socket), JobId::new());
    let ask = |account: accounts::Account, method: &'static str, path: String| {
        let (rig, socket) = (&rig, socket.clone());
        async move {
            let url = format!("http://localhost{path}");
            let args = [
                "-sS",
                "-X",
                method,
                "-d",
                "{}",
                "-H",
                "content-type: application/json",
                "--unix-socket",
                &socket,
                &url,
            ];
            let output = rig.run_as(&account, "/usr/bin/curl", &args).await;
            assert!(output.exit.success(), "{}", output.stderr());
            output.stdout()
        }
    };
    for (method, path) in [
        ("GET", "/v1/hello".to_owned()),
        ("POST", format!("/v1/jobs/{job}/prepare")),
        ("POST", "/v1/run".to_owned()),
        ("GET", "/v1/log?path=%2Fetc%2Fpasswd".to_owned()),
        ("POST", "/v1/local/jobs".to_owned()),
        ("POST", format!("/v1/local/jobs/{job}/release")),
        ("POST", format!("/v1/local/jobs/{job}/cancel")),
        ("GET", "/v1/local/jobs".to_owned()),
        ("POST", "/v1/end".to_owned()),
    ] {
        let answer = ask(other.clone(), method, path.clone()).await;
        let problem: Problem =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{path}: {answer}"));
        assert_eq!(problem.code, Code::Forbidden, "{path}");
    }
    let own = ask(rig.account.clone(), "GET", "/v1/hello".to_owned()).await;
    assert!(
        own.contains("\"uid\""),
        "the user's own uid may call: {own}"
    );
}

/// Without --agent-uid not even root is let in.
#[tokio::test]
async fn root_is_another_account() {
    need!(Root);
    let agent = accounts::test_account(2).unwrap();
    let rig = Rig::start_with(&["--agent-uid", &agent.uid.to_string()]).await;
    assert_eq!(rig.get("/v1/hello").await.problem().code, Code::Forbidden);
    let socket = text(&rig.socket);
    let args = ["-sS", "--unix-socket", &socket, "http://localhost/v1/hello"];
    let output = rig.run_as(&agent, "/usr/bin/curl", &args).await;
    assert!(output.stdout().contains("\"uid\""), "{}", output.stdout());
}

#[tokio::test]
async fn root_is_no_user() {
    need!(Root);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_forebay-user-agent"))
        .args(["serve", "--socket", "/nonexistent/socket"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("never as root"), "{said}");
}

/// The starter binds as root; whoever connects sees the user's uid all the same.
#[tokio::test]
async fn a_bound_socket_shows_the_users_uid() {
    let guard = Guard::with_dir("listen-fd").unwrap();
    let account = rig::account();
    let socket = guard.dir().join("http.sock");
    // Bound but not listening, as std binds it only together with `listen`.
    let listener: OwnedFd = {
        let socket_fd = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(
            &socket_fd,
            &rustix::net::SocketAddrUnix::new(&socket).unwrap(),
        )
        .unwrap();
        socket_fd
    };
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
    let program = forebay_testbed::programs::path(rig::PROGRAM).unwrap();
    let mut command = std::process::Command::new(program);
    command.args([
        "serve",
        "--listen-fd",
        "0",
        "--environment",
        "test",
        "--idle-exit",
        "1s",
    ]);
    command.args([
        "--agent-uid",
        &rustix::process::getuid().as_raw().to_string(),
    ]);
    command
        .current_dir("/")
        .env_clear()
        .stdin(listener)
        .stderr(std::process::Stdio::null());
    if rig::is_root() {
        command.uid(account.uid).gid(account.gid);
    }
    let mut child = command.spawn().unwrap();
    drop(command);
    let begun = Instant::now();
    let stream = loop {
        match std::os::unix::net::UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let peer = rustix::net::sockopt::socket_peercred(&stream).unwrap();
    assert_eq!(peer.uid.as_raw(), account.uid);
    drop(stream);
    let hello = call(&socket, "GET", "/v1/hello", &[], Bytes::new()).await;
    assert_eq!(hello.json::<Hello>().uid, account.uid);
    // It ends by itself, and leaves the socket to who made it.
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(socket.exists());
}

#[tokio::test]
async fn a_number_that_is_no_socket_is_refused() {
    let program = forebay_testbed::programs::path(rig::PROGRAM).unwrap();
    let account = rig::account();
    for fd in ["0", "77"] {
        let mut command = std::process::Command::new(&program);
        command
            .args(["serve", "--listen-fd", fd, "--environment", "test"])
            .current_dir("/")
            .env_clear();
        command.stdin(std::process::Stdio::null());
        if rig::is_root() {
            command.uid(account.uid).gid(account.gid);
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{fd}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
async fn it_ends_when_nobody_calls_but_not_during_a_call() {
    let rig = Rig::start_with(&["--idle-exit", "1s"]).await;
    let begun = Instant::now();
    // A wait that is longer than the idle time.
    let absent = rig::escape(&text(&rig.home.join("absent")));
    let answer = rig
        .get(&format!("/v1/log?path={absent}&wait_ms=3000"))
        .await;
    assert_eq!(answer.problem().code, Code::NotFound);
    assert!(begun.elapsed() >= Duration::from_secs(3));
    let exit = tokio::time::timeout(Duration::from_secs(20), rig.daemon.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(exit.success(), "{exit}");
    assert!(!rig.socket.exists(), "it removes the socket that it made");
}

/// By its socket: whoever adopted it does not know which process it is.
#[tokio::test]
async fn it_ends_when_told_and_its_jobs_go_on() {
    let rig = Rig::start().await;
    let start = rig.local("#!/bin/sh\nsleep 1; echo done\n").await;
    assert_eq!(rig.start_local(&start).await.status, 200);
    assert_eq!(rig.tell(start.job, "release").await.status, 200);
    // What is being answered is answered to its end.
    let absent = rig::escape(&text(&rig.home.join("absent")));
    let path = format!("/v1/log?path={absent}&wait_ms=1000");
    let (waits, ended) = tokio::join!(rig.get(&path), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        rig.post("/v1/end", &()).await
    });
    assert_eq!(ended.status, 204, "{ended:?}");
    assert_eq!(waits.problem().code, Code::NotFound);
    let exit = tokio::time::timeout(Duration::from_secs(20), rig.daemon.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(exit.success(), "{exit}");
    let mut rig = rig;
    rig.restart().await;
    rig.until_ended(start.job).await;
    assert_eq!(std::fs::read_to_string(&start.stdout).unwrap(), "done\n");
}

#[tokio::test]
async fn one_serves_a_socket() {
    let mut rig = Rig::start().await;
    let output = {
        let program = text(&forebay_testbed::programs::path(rig::PROGRAM).unwrap());
        let socket = text(&rig.socket);
        rig.run_as(
            &rig.account.clone(),
            &program,
            &["serve", "--socket", &socket],
        )
        .await
    };
    assert_eq!(output.exit.code, Some(1));
    assert!(
        output.stderr().contains("another process listens"),
        "{}",
        output.stderr()
    );
    // What a killed one leaves is taken over.
    rig.daemon.kill9().await.unwrap();
    assert!(rig.socket.exists());
    rig.restart().await;
    rig.get("/v1/hello").await.json::<Hello>();
}

/// By default the jobs are in the user's home.
#[tokio::test]
async fn jobs_are_in_the_home() {
    need!(Root);
    let guard = Guard::with_dir("in-home").unwrap();
    let account = rig::account();
    let run = guard.dir().join("run");
    rig::make_dir(&run, &account);
    let environment = format!("test-{}", std::process::id());
    let program = forebay_testbed::programs::path(rig::PROGRAM).unwrap();
    let socket = run.join("http.sock");
    let command = forebay_testbed::process::Command::new(program, guard.dir().join("log")).args([
        "serve",
        "--socket",
        &text(&socket),
        "--environment",
        &environment,
        "--agent-uid",
        "0",
    ]);
    let daemon =
        forebay_testbed::process::Daemon::start(&guard, rig::as_account(command, &account))
            .await
            .unwrap();
    let ready = || async { tokio::net::UnixStream::connect(&socket).await.is_ok() };
    daemon
        .wait_ready(Duration::from_secs(20), ready)
        .await
        .unwrap();
    let job = JobId::new();
    let body = Bytes::from_static(br##"{"script":"#!/bin/sh\n"}"##);
    let answer = call(
        &socket,
        "POST",
        &format!("/v1/jobs/{job}/prepare"),
        &[rig::JSON],
        body,
    )
    .await;
    let ours = account
        .home
        .join(format!(".local/state/forebay/{environment}"));
    let prepared: forebay_wire::ipc::Prepared = answer.json();
    assert_eq!(
        prepared.script,
        text(&ours.join(format!("jobs/{job}/script")))
    );
    assert!(std::fs::exists(&prepared.script).unwrap());
    std::fs::remove_dir_all(ours).unwrap();
}
