//! What `need!` does to a test, seen from outside: a copy of this binary run without root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use forebay_testbed::guard::Guard;
use forebay_testbed::need::{Skip, Thing};
use forebay_testbed::process::{Command, Output, User, run};
use forebay_testbed::{accounts, need};

use crate::support::CHILD;

/// Run as a child only, by an account that is not root.
#[test]
fn probe() {
    let Some(dir) = crate::support::child_dir() else {
        return;
    };
    need!(Root);
    fs::write(dir.join("went-on"), "").unwrap();
}

/// Runs `probe` as fbtest2; gives its output and the lines of the skips file.
async fn run_probe(require: Option<&str>) -> (Output, Vec<Skip>) {
    let account = accounts::test_account(2).unwrap();
    let guard = Guard::with_dir("need").unwrap();
    let binary = guard.dir().join("it");
    // By another process: what a thread of this one holds open for writing cannot be run.
    let mut copy = std::process::Command::new("cp");
    assert!(
        copy.arg(std::env::current_exe().unwrap())
            .arg(&binary)
            .status()
            .unwrap()
            .success()
    );
    let open = guard.dir().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let skips = open.join("skips");
    let command = Command::new(&binary, "/dev/null").args(["--exact", "need::probe"]);
    let command = command.user(User::of(&account).unwrap()).cwd(&account.home);
    let command = command.env(CHILD, open.display().to_string());
    let mut command = command.env("FOREBAY_SKIPS", skips.display().to_string());
    if let Some(require) = require {
        command = command.env("FOREBAY_REQUIRE", require);
    }
    let output = run(&guard, command, b"", Duration::from_secs(20))
        .await
        .unwrap();
    assert!(!open.join("went-on").exists());
    let text = fs::read_to_string(&skips).unwrap();
    (
        output,
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

#[tokio::test]
async fn a_skip_is_recorded_and_seen() {
    need!(Root);
    let (output, skips) = run_probe(None).await;
    assert!(output.exit.success());
    let line = "SKIPPED it::need::probe: Root: not running as root";
    assert!(
        output.stderr().lines().any(|printed| printed == line),
        "{}",
        output.stderr()
    );
    let [skip] = skips.as_slice() else {
        panic!("{skips:?}")
    };
    assert_eq!(
        (skip.test.as_str(), skip.thing),
        ("it::need::probe", Thing::Root)
    );
}

#[tokio::test]
async fn a_skip_fails_where_everything_is_required() {
    need!(Root);
    let (output, skips) = run_probe(Some("all")).await;
    assert!(!output.exit.success() && skips.len() == 1);
    assert!(
        output
            .stdout()
            .contains("Root is required (FOREBAY_REQUIRE=all)"),
        "{}",
        output.stdout()
    );
}
