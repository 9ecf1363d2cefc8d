//! The program itself: commands, and serving until it is told to stop.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use forebay_http::Client;
use forebay_wire::api::{Health, Me};

use crate::instance::Database;

const PROGRAM: &str = env!("CARGO_BIN_EXE_forebay-view-server");

fn run(config: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("--config")
        .arg(config)
        .args(args)
        .env_clear()
        .output()
        .expect("it runs")
}

#[track_caller]
fn good(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn bad(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_database_to_a_caller() {
    let db = Database::new().await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("view-server.toml");
    let port = free_port();
    let socket = dir.path().join("api.sock").display().to_string();
    let text = |listen: &str| {
        format!(
            "listen = \"{listen}\"\nunix_socket = {socket:?}\n[database]\nsocket_dir = {:?}\nname = {:?}\nrole = \"postgres\"\n[log]\nformat = \"json\"\n",
            db.instance.socket_dir(),
            db.name
        )
    };
    std::fs::write(&config, text(&format!("127.0.0.1:{port}"))).expect("written");
    let tokio_run = |args: &'static [&'static str]| {
        let config = config.clone();
        tokio::task::block_in_place(move || run(&config, args))
    };

    assert!(good(&tokio_run(&["check"])).contains(&port.to_string()));
    good(&tokio_run(&["migrate"]));
    good(&tokio_run(&["user", "add", "ann"]));
    assert!(bad(&tokio_run(&["user", "add", "ann"])).contains("already"));
    assert!(bad(&tokio_run(&["user", "add", "a b"])).contains("not the name of an account"));
    let token = good(&tokio_run(&[
        "token",
        "create",
        "--user",
        "ann",
        "--expires-in",
        "30d",
        "--note",
        "test",
    ]));
    let token = token.trim().to_owned();
    assert!(token.starts_with("fb_k"), "{token}");
    assert!(bad(&tokio_run(&["token", "create", "--user", "bob"])).contains("no such user"));
    let out = dir.path().join("token").display().to_string();
    let output = tokio::task::block_in_place(|| {
        run(
            &config,
            &["token", "create", "--user", "ann", "--out", &out],
        )
    });
    assert_eq!(good(&output), "");
    let mode = std::fs::metadata(&out)
        .expect("a file")
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o600);
    let again = tokio::task::block_in_place(|| {
        run(
            &config,
            &["token", "create", "--user", "ann", "--out", &out],
        )
    });
    assert!(
        bad(&again).contains("cannot write"),
        "a file that is there is left alone"
    );
    let site = dir.path().join("site").display().to_string();
    let enrol = |args: &[&str]| {
        let args = [&["site", "enrol", "here"], args].concat();
        tokio::task::block_in_place(|| run(&config, &args))
    };
    assert_eq!(good(&enrol(&["--out", &site])), "");
    let ticket = std::fs::read_to_string(&site).expect("a ticket");
    assert!(ticket.starts_with("fe_k"));
    assert!(
        ticket.ends_with(&format!("@http://127.0.0.1:{port}\n")),
        "{ticket}"
    );
    let pin = format!("sha256:{}", "ab".repeat(32));
    let ticket = good(&enrol(&["--url", "https://hpc.example.org", "--pin", &pin]));
    assert!(
        ticket.ends_with(&format!("@https://hpc.example.org#{pin}\n")),
        "{ticket}"
    );
    let exposed = bad(&enrol(&["--url", "http://hpc.example.org"]));
    assert!(exposed.contains("beyond loopback"), "{exposed}");
    assert!(bad(&tokio_run(&["site", "revoke", "nowhere"])).contains("no such"));
    assert!(good(&tokio_run(&["site", "list"])).starts_with("here  link 0  never seen"));
    assert!(good(&tokio_run(&["site", "revoke", "here"])).contains("Revoked 0"));
    assert!(bad(&tokio_run(&["announce", "add", ""])).contains("plain text"));
    assert!(
        bad(&tokio_run(&["announce", "add", "x", "--level", "loud"])).contains("info or warning")
    );
    let announced = good(&tokio_run(&[
        "announce",
        "add",
        "Come in.",
        "--ends-in",
        "3d",
    ]));
    let id = announced
        .trim()
        .trim_start_matches("Announced ")
        .trim_end_matches('.');
    let listed = good(&tokio_run(&["announce", "list"]));
    assert!(
        listed.starts_with(&format!("{id}  info  made ")),
        "{listed}"
    );
    good(&tokio::task::block_in_place(|| {
        run(&config, &["announce", "withdraw", id])
    }));
    assert_eq!(good(&tokio_run(&["announce", "list"])), "");
    let list = good(&tokio_run(&["token", "list"]));
    assert_eq!(list.lines().count(), 2);
    assert!(
        list.contains("test") && !list.contains(token.rsplit('_').next().expect("a secret")),
        "{list}"
    );

    let began = Instant::now();
    let mut serve = Command::new(PROGRAM);
    serve
        .arg("--config")
        .arg(&config)
        .env_clear()
        .stderr(Stdio::piped());
    let mut serve = Running(serve.spawn().expect("it starts"));
    let base = format!("http://127.0.0.1:{port}");
    let client = Client::tcp(&base).expect("a URL");
    while client.get::<Health>("/health/ready").await.is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it does not come up"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("ready {:?} after it was started", began.elapsed());
    let ann = client.with_bearer(&token.clone().into()).expect("a token");
    assert_eq!(ann.get::<Me>("/api/v1/me").await.expect("me").name, "ann");
    let by_socket = Client::unix(&socket, None)
        .with_bearer(&token.clone().into())
        .expect("a token");
    let me = by_socket.get::<Me>("/api/v1/me").await.expect("me");
    assert_eq!(me.name, "ann");
    let metrics = client
        .call(http::Method::GET, "/metrics")
        .send()
        .await
        .expect("metrics");
    let metrics = String::from_utf8(metrics.body.to_vec()).expect("text");
    for name in [
        "forebay_http_requests_total",
        "forebay_feed_lag_ms",
        "forebay_tunnels",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    let resident = resident_kib(serve.0.id());
    println!("resident: {:.1} MB", f64::from(resident) / 1024.0);
    assert!(resident < 40 << 10, "{resident} KiB");

    // Revoked by another process, refused in this one at the next call.
    let id = token.split('_').nth(1).expect("an id").to_owned();
    good(&tokio::task::block_in_place(|| {
        run(&config, &["token", "revoke", &id])
    }));
    assert!(ann.get::<Me>("/api/v1/me").await.is_err());
    let (code, log) = tokio::task::block_in_place(|| serve.stop());
    assert_eq!(code, Some(0), "{log}");
    assert!(
        !Path::new(&socket).exists(),
        "the socket goes with its server"
    );
    assert!(
        log.contains("\"stopped\"") || log.contains("stopped"),
        "{log}"
    );
    assert!(
        !log.contains(token.rsplit('_').next().expect("a secret")),
        "the log holds a secret"
    );
}

/// Ends with the test.
struct Running(std::process::Child);

impl Running {
    fn stop(&mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("told");
        let mut log = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            std::io::Read::read_to_string(stderr, &mut log).expect("its log");
        }
        (self.0.wait().expect("it ends").code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resident_kib(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a size");
    line.split_whitespace()
        .nth(1)
        .and_then(|size| size.parse().ok())
        .expect("a number")
}

#[test]
fn a_bad_configuration_is_told_with_its_places() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("view-server.toml");
    std::fs::write(
        &config,
        "listen = \"0.0.0.0:1\"\nsurprise = 1\n[limits]\nbody_bytes = 0\n",
    )
    .expect("written");
    let said = bad(&run(&config, &["check"]));
    assert!(said.contains("view-server.toml:2:1"), "{said}");
    std::fs::write(
        &config,
        "listen = \"0.0.0.0:1\"\n[limits]\nbody_bytes = 0\n",
    )
    .expect("written");
    let said = bad(&run(&config, &["check"]));
    assert!(
        said.contains(":1:10") && said.contains(":3:14") && said.contains("beyond loopback"),
        "{said}"
    );
    let missing = bad(&run(&dir.path().join("none.toml"), &["check"]));
    assert!(missing.contains("cannot read"), "{missing}");
    let document = good(&run(&config, &["openapi"]));
    assert!(document.starts_with('{'));
}

#[test]
fn a_certificate_is_made_once_and_its_key_is_private() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let none = Path::new("/nonexistent");
    let files = ["--cert", &cert, "--key", &key];
    let made = good(&run(
        none,
        &[
            &["tls", "self-signed"],
            &files[..],
            &["--name", "hpc.example.org"],
        ]
        .concat(),
    ));
    let pin = good(&run(none, &[&["tls", "pin"], &files[..]].concat()));
    assert!(made.contains(pin.trim()), "{made} {pin}");
    let metadata = std::fs::metadata(&key).expect("a key");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let again = bad(&run(none, &[&["tls", "self-signed"], &files[..]].concat()));
    assert!(again.contains("cannot write"), "{again}");
    // The ticket of a server with this certificate has its pin, and it may listen anywhere.
    let config = dir.path().join("view-server.toml");
    let text =
        |key: &str| format!("listen = \"0.0.0.0:1\"\n[tls]\ncert = {cert:?}\nkey = {key:?}\n");
    std::fs::write(&config, text(&key)).expect("written");
    good(&run(&config, &["check"]));
    std::fs::write(&config, text("/nonexistent")).expect("written");
    let said = bad(&run(&config, &["check"]));
    assert!(
        said.contains(":3:8") && said.contains("/nonexistent"),
        "{said}"
    );
    std::fs::write(&config, "[tls]\ncert = \"/x\"\n").expect("written");
    let said = bad(&run(&config, &["check"]));
    assert!(said.contains("both cert and key"), "{said}");
}
