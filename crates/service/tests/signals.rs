//! A service as a process of its own, under real signals.
//!
//! The test starts this very program again, to run only [`the_service`].
#![allow(clippy::unwrap_used, reason = "a test")]

use forebay_service::{logs, main};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    convert::Infallible,
    env,
    future::pending,
    io::{self, Read as _},
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const MODE: &str = "FOREBAY_SERVICE_TEST_MODE";

/// Not a test but the program that the tests start; run by itself, it has nothing to do.
#[test]
fn the_service() {
    let Ok(mode) = env::var(MODE) else { return };
    logs::init(logs::Format::Json, "info").unwrap();
    let drain = Duration::from_millis(if mode == "slow" { 300 } else { 60_000 });
    let code = main("probe", drain, |service| async move {
        let tasks = service.tasks;
        match mode.as_str() {
            "cannot-build" => return Err(io::Error::other("no database")),
            "builds-long" => {
                let socket = UnixDatagram::unbound()?;
                socket.send_to(b"BUILDING", env::var_os("NOTIFY_SOCKET").unwrap())?;
                return pending().await;
            }
            "fatal" => {
                let handle = tasks.clone();
                tasks.spawn("lock", async move { handle.fatal("lost the lock") });
            }
            "polite" => {
                let stop = tasks.stopping();
                tasks.spawn("polite", async move { stop.cancelled().await });
            }
            _ => {
                tasks.spawn("stuck", pending::<Infallible>());
            }
        }
        Ok(())
    });
    // ExitCode has no getter; its Debug form is stable enough for a test of our own.
    let code = format!("{code:?}");
    let number: String = code.chars().filter(char::is_ascii_digit).collect();
    std::process::exit(number.parse().unwrap());
}

struct Probe {
    child: Child,
    socket: UnixDatagram,
    _directory: tempfile::TempDir,
}

impl Probe {
    fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let child = Self::command(mode, &path).spawn().unwrap();
        Self {
            child,
            socket,
            _directory: directory,
        }
    }

    fn command(mode: &str, notify: &Path) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["the_service", "--exact", "--nocapture"])
            .env(MODE, mode)
            .env("NOTIFY_SOCKET", notify)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn notified(&self) -> String {
        let mut buffer = [0; 256];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Exit code, or none when killed by a signal, and what was logged.
    fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    self.child.kill().unwrap();
                    panic!("did not end");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (status.code(), log)
    }
}

#[test]
fn a_signal_drains_and_ends_with_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let probe = Probe::start("polite");
        assert_eq!(probe.notified(), "READY=1");
        probe.signal(signal);
        assert_eq!(probe.notified(), "STOPPING=1");
        let (code, log) = probe.ended();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("\"message\":\"stopped\""), "{log}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let probe = Probe::start("stuck");
    assert_eq!(probe.notified(), "READY=1");
    probe.signal(Signal::TERM);
    assert_eq!(probe.notified(), "STOPPING=1");
    let asked = Instant::now();
    probe.signal(Signal::TERM);
    let (code, log) = probe.ended();
    assert_eq!(code, Some(130), "{log}");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "did not wait for the drain's minute"
    );
}

#[test]
fn the_deadline_cuts_what_hangs() {
    let probe = Probe::start("slow");
    assert_eq!(probe.notified(), "READY=1");
    probe.signal(Signal::TERM);
    let (code, log) = probe.ended();
    assert_eq!(code, Some(2), "{log}");
}

#[test]
fn a_signal_while_building_ends_it() {
    let probe = Probe::start("builds-long");
    assert_eq!(probe.notified(), "BUILDING");
    probe.signal(Signal::TERM);
    assert_eq!(probe.notified(), "STOPPING=1");
    assert_eq!(probe.ended().0, Some(0));
}

#[test]
fn failures_are_exit_code_1_and_say_why() {
    for (mode, reason) in [("cannot-build", "no database"), ("fatal", "lost the lock")] {
        let (code, log) = Probe::start(mode).ended();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(reason), "{log}");
    }
}
