//! The local runner against small programs: what it passes, and that it leaves nothing behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay_slurm::runner::{Command, Config, Exit, LocalRunner, Program, Runner, RunnerError};

/// A directory with an `squeue` that is this shell script.
fn runner(dir: &Path, script: &str) -> LocalRunner {
    let program = dir.join("squeue");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a program");
    LocalRunner::new(Config {
        bin_dir: Some(dir.to_owned()),
        stdout_bytes_max: 100_000,
        ..Config::default()
    })
}

fn command(args: &[&str]) -> Command {
    Command::new(Program::Squeue, args.iter().copied())
}

/// Whether a process that is not a zombie has this number.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with('Z')
    })
}

async fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < end, "waited too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn arguments_input_and_environment_arrive_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let runner = runner(
        dir.path(),
        r#"printf '%s|' "$@"; cat; echo; env; echo bad >&2; exit 3"#,
    );
    let mut command = command(&["a b", "$(x)", "new\nline", ""]);
    command.stdin = Some(b"from stdin".to_vec());
    command.env = vec![("GREETING".into(), "hi".into())];
    let output = runner.run(command).await.unwrap();
    assert_eq!(
        (output.exit, output.stderr.as_slice()),
        (Exit::Code(3), &b"bad\n"[..])
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("a b|$(x)|new\nline||from stdin\n"),
        "{text}"
    );
    // The shell adds PWD and the like; of this process's own environment nothing came along.
    assert!(
        text.contains("\nGREETING=hi\n") && text.contains("\nPATH=/usr/local/bin:"),
        "{text}"
    );
    assert!(!text.contains("CARGO"), "{text}");
}

#[tokio::test]
async fn at_the_deadline_the_whole_group_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let runner = runner(
        dir.path(),
        &format!(
            "sleep 600 & echo $! $$ >{0}.new; mv {0}.new {0}; wait",
            pids.display()
        ),
    );
    let started = Instant::now();
    let error = runner
        .run(Command {
            deadline: Duration::from_millis(700),
            ..command(&[])
        })
        .await
        .unwrap_err();
    assert!(matches!(error, RunnerError::Deadline { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2);
    until(|| !pids.split_whitespace().any(lives)).await;
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let runner = runner(
        dir.path(),
        &format!(
            "sleep 600 & echo $! $$ >{0}.new; mv {0}.new {0}; wait",
            pids.display()
        ),
    );
    {
        let call = runner.run(command(&[]));
        tokio::select! {
            result = call => panic!("{result:?}"),
            () = until(|| pids.exists()) => {}
        }
    }
    let pids = std::fs::read_to_string(pids).unwrap();
    until(|| !pids.split_whitespace().any(lives)).await;
}

#[tokio::test]
async fn too_much_output_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let endless = runner(dir.path(), "echo $$ >pid; exec yes");
    let mut endless_command = command(&[]);
    endless_command.dir = Some(dir.path().to_owned());
    let error = endless.run(endless_command).await.unwrap_err();
    assert!(
        matches!(
            error,
            RunnerError::TooLarge {
                bytes_max: 100_000,
                ..
            }
        ),
        "{error}"
    );
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    until(|| !lives(&pid)).await;
    // Error output is cut instead, and reading goes on to the end.
    let noisy = runner(dir.path(), "head -c 1000000 /dev/zero >&2; echo done");
    let output = noisy.run(command(&[])).await.unwrap();
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.len()),
        (&b"done\n"[..], 64 << 10)
    );
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let runner = runner(dir.path(), "echo no; exit 1");
    let output = runner
        .run(Command {
            stdin: Some(vec![b'x'; 4 << 20]),
            ..command(&[])
        })
        .await
        .unwrap();
    assert_eq!(
        (output.exit, output.stdout.as_slice()),
        (Exit::Code(1), &b"no\n"[..])
    );
}

#[tokio::test]
async fn what_never_ran_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let empty = LocalRunner::new(Config {
        bin_dir: Some(dir.path().to_owned()),
        ..Config::default()
    });
    let error = empty.run(command(&[])).await.unwrap_err();
    assert!(
        matches!(error, RunnerError::NotFound { .. }) && error.never_ran(),
        "{error}"
    );
    let runner = runner(dir.path(), "true");
    let error = runner
        .run(Command {
            dir: Some("/nowhere/at/all".into()),
            ..command(&[])
        })
        .await
        .unwrap_err();
    assert!(
        matches!(error, RunnerError::Dir { .. }) && error.never_ran(),
        "{error}"
    );
    let killed = self::runner(dir.path(), "kill -9 $$")
        .run(command(&[]))
        .await
        .unwrap();
    assert_eq!(killed.exit, Exit::Signal(9));
}
