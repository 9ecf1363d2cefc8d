//! Processes end with whoever started them, in every way that can happen.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use forebay_testbed::dirs::Dir;
use forebay_testbed::guard::Guard;
use forebay_testbed::process::{Command, Daemon, User, run};
use forebay_testbed::{accounts, need};

use crate::support::{child_dir, eventually, pid_alive, processes_of, test_process};

const SECOND: Duration = Duration::from_secs(1);

/// A shell that starts one process in a session of its own, whose parent ends: what Slurm's steps
/// and user-agents do. The pids are written to `dir`, the environment is empty.
fn escaping(guard: &Guard, dir: &std::path::Path) -> Command {
    let script = format!(
        "env -i setsid sh -c 'echo $$ >{0}/tmp; mv {0}/tmp {0}/escaped; exec sleep 600' & \
         echo $$ >{0}/leader; wait",
        dir.display()
    );
    Command::new("/bin/sh", guard.dir().join("log")).args(["-c", &script])
}

fn pid_in(path: &std::path::Path) -> i32 {
    eventually("a pid file", 10 * SECOND, || {
        fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty())
    });
    fs::read_to_string(path).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_daemon_is_watched_and_stopped() {
    let guard = Guard::with_dir("unit").unwrap();
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let log = guard.dir().join("log");
    let daemon = Daemon::start(&guard, Command::new("/bin/sh", &log).args(["-c", script]))
        .await
        .unwrap();
    let is_up = || async { daemon.log_tail() == "up" };
    daemon.wait_ready(5 * SECOND, is_up).await.unwrap();
    assert!(daemon.is_running());
    assert!(daemon.memory().unwrap().rss >= daemon.memory().unwrap().pss);
    let exit = daemon.stop(5 * SECOND).await.unwrap();
    assert_eq!(
        (exit.code, daemon.log_tail().as_str()),
        (Some(7), "up\nbye")
    );
    assert!(!daemon.is_running());
    assert_eq!(daemon.stop(SECOND).await.unwrap(), exit);
}

#[tokio::test]
async fn what_does_not_stop_is_killed_with_its_session() {
    let guard = Guard::with_dir("unit").unwrap();
    let pids = guard.dir().join("child");
    let script = format!(
        "trap '' TERM; sleep 600 & echo $! >{}; wait; while :; do sleep 1; done",
        pids.display()
    );
    let command = Command::new("/bin/sh", guard.dir().join("log")).args(["-c", &script]);
    let daemon = Daemon::start(&guard, command).await.unwrap();
    let child = pid_in(&pids);
    let exit = daemon.stop(Duration::from_millis(200)).await.unwrap();
    assert_eq!(exit.signal, Some(9));
    eventually("the child's end", SECOND, || !pid_alive(child));
}

#[tokio::test]
async fn a_daemon_that_ends_or_never_starts_says_why() {
    let guard = Guard::with_dir("unit").unwrap();
    let command = Command::new("/bin/sh", guard.dir().join("log"))
        .args(["-c", "echo no licence >&2; exit 3"]);
    let daemon = Daemon::start(&guard, command).await.unwrap();
    let error = daemon
        .wait_ready(5 * SECOND, || async { false })
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("exit code 3") && error.contains("no licence"),
        "{error}"
    );
    let command = Command::new("/no/such/program", guard.dir().join("log"));
    let error = Daemon::start(&guard, command).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        source.contains("/no/such/program: No such file"),
        "{source}"
    );
}

#[tokio::test]
async fn a_kill_leaves_what_escaped_and_the_guards_end_does_not() {
    let guard = Guard::with_dir("unit").unwrap();
    let dir = guard.dir().to_owned();
    let daemon = Daemon::start(&guard, escaping(&guard, &dir)).await.unwrap();
    let escaped = pid_in(&dir.join("escaped"));
    assert_eq!(pid_in(&dir.join("leader")), daemon.pid());
    assert_eq!(daemon.kill9().await.unwrap().signal, Some(9));
    assert!(
        pid_alive(escaped),
        "as after a crash: what has its own session goes on"
    );
    guard.end().await;
    assert!(!pid_alive(escaped) && !dir.exists());
    assert!(
        Daemon::start(&guard, Command::new("/bin/true", "/dev/null"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn commands_give_their_output_and_are_killed_at_the_deadline() {
    let guard = Guard::with_dir("unit").unwrap();
    let shell = |script: &str| Command::new("/bin/sh", "/dev/null").args(["-c", script]);
    let output = run(
        &guard,
        shell("cat; echo oops >&2; exit 4").env("A", "b"),
        b"in\n",
        5 * SECOND,
    )
    .await
    .unwrap();
    assert_eq!(
        (output.stdout(), output.stderr(), output.exit.code),
        ("in".into(), "oops".into(), Some(4))
    );
    let output = run(
        &guard,
        Command::new("/usr/bin/env", "/dev/null"),
        b"",
        5 * SECOND,
    )
    .await
    .unwrap();
    let mut names: Vec<_> = output
        .stdout()
        .lines()
        .map(|line| line.split('=').next().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["FOREBAY_TESTBED_DIR", "LANG", "PATH"],
        "nothing is inherited"
    );
    let error = run(
        &guard,
        shell("echo stuck >&2; sleep 600"),
        b"",
        Duration::from_millis(200),
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("stuck"), "{error}");
    eventually("the sleeper's end", SECOND, || {
        !processes_of(guard.dir())
            .iter()
            .any(|process| process.ends_with("sleep"))
    });
    assert_eq!(fs::read_dir(guard.dir().join("exec")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_user_has_its_own_ids_and_all_its_groups() {
    need!(Root);
    let account = accounts::test_account(1).unwrap();
    let guard = Guard::with_dir("unit").unwrap();
    let user = User::of(&account).unwrap();
    let command = Command::new("/bin/sh", "/dev/null")
        .user(user)
        .cwd(&account.home)
        .umask(0o027);
    let script = "id -u; id -g; id -G; pwd; umask; ps -o sid= -p $$ | grep -qw $$ && echo leader";
    let output = run(&guard, command.args(["-c", script]), b"", 5 * SECOND)
        .await
        .unwrap();
    let groups = std::process::Command::new("id")
        .args(["-G", &account.name])
        .output()
        .unwrap();
    let groups = String::from_utf8(groups.stdout).unwrap();
    let (uid, gid, home) = (account.uid, account.gid, account.home.display());
    assert_eq!(
        output.stdout(),
        format!("{uid}\n{gid}\n{groups}{home}\n0027\nleader")
    );
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    if let Some(dir) = child_dir() {
        // The process that is killed: never returns.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let guard = Guard::with_dir("killed").unwrap();
            fs::write(
                dir.join("place"),
                guard.dir().as_os_str().as_encoded_bytes(),
            )
            .unwrap();
            let daemon = Daemon::start(&guard, escaping(&guard, &dir)).await.unwrap();
            daemon.wait().await.unwrap();
        });
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = test_process("guard::a_killed_test_process_leaves_nothing", dir.path());
    let (leader, escaped) = (
        pid_in(&dir.path().join("leader")),
        pid_in(&dir.path().join("escaped")),
    );
    let place = std::path::PathBuf::from(fs::read_to_string(dir.path().join("place")).unwrap());
    assert!(pid_alive(leader) && pid_alive(escaped) && place.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the end of all", 2 * SECOND, || {
        !pid_alive(leader) && !pid_alive(escaped) && !place.exists()
    });
    eventually("the guard's end", 2 * SECOND, || {
        processes_of(&place).is_empty()
    });
}

#[test]
fn a_guard_that_is_killed_takes_its_daemons_along() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let guard = Guard::with_dir("unit").unwrap();
    let sleep = Command::new("/bin/sleep", guard.dir().join("log")).arg("600");
    let daemon = runtime.block_on(Daemon::start(&guard, sleep)).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let parent: i32 = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let parent = rustix::process::Pid::from_raw(parent).unwrap();
    rustix::process::kill_process(parent, rustix::process::Signal::KILL).unwrap();
    eventually("the daemon's end", 2 * SECOND, || !pid_alive(daemon.pid()));
    let (pid, dir) = (daemon.pid(), guard.dir().to_owned());
    drop(daemon);
    drop(guard);
    assert!(!pid_alive(pid) && !dir.exists());
}

#[test]
fn many_guards_at_once() {
    let dirs: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let guard: Arc<Guard> = Guard::new(Dir::new("many").unwrap()).unwrap();
                let command = || Command::new("/bin/sh", "/dev/null").args(["-c", "echo $PPID"]);
                let output = run(&guard, command(), b"", 10 * SECOND).await.unwrap();
                let again = run(&guard, command(), b"", 10 * SECOND).await.unwrap();
                assert_eq!(output.stdout(), again.stdout());
                guard.dir().to_owned()
            })
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(
        dirs.iter()
            .all(|dir| !dir.exists() && processes_of(dir).is_empty())
    );
}
