//! The scheduler's programs, with programs of ours in their place.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use forebay_wire::Code;
use forebay_wire::ipc::{Ran, Run};
use tokio::time::Instant;

use crate::rig::{Rig, text};

fn asked(program: &str, args: &[&str]) -> Run {
    Run {
        program: program.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        stdin: None,
        environment: BTreeMap::new(),
        directory: None,
        deadline_ms: 20_000,
    }
}

/// With a `squeue` of ours.
async fn with(script: &str) -> (Rig, tempfile::TempDir) {
    let bin = tempfile::Builder::new()
        .tempdir_in(forebay_testbed::dirs::base())
        .unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.path(), mode).unwrap();
    Rig::write_program(bin.path(), "squeue", script);
    let rig = Rig::start_with(&["--bin-dir", &text(bin.path())]).await;
    (rig, bin)
}

#[tokio::test]
async fn arguments_input_and_environment_arrive_as_they_are() {
    let script = "#!/bin/sh\nprintf '%s|' \"$@\"; cat; echo; pwd; env | grep -v ^PWD= | sort; printf '\\377' >&2; exit 3";
    let (rig, bin) = with(script).await;
    let mut run = asked("squeue", &["a b", "", "$(id)", "é\n;"]);
    run.stdin = Some("in\nput".to_owned());
    run.environment = BTreeMap::from([
        ("LANG".to_owned(), "C".to_owned()),
        ("X".to_owned(), "a=b c".to_owned()),
    ]);
    run.directory = Some("/usr".to_owned());
    let ran: Ran = rig.post("/v1/run", &run).await.json();
    let (name, home) = (&rig.account.name, rig.account.home.display());
    let shell = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("SHELL="))
        .unwrap_or_default()
        .to_owned();
    let path = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("PATH="))
        .unwrap_or_default()
        .to_owned();
    let expected = format!(
        "a b||$(id)|é\n;|in\nput\n/usr\nHOME={home}\nLANG=C\nLOGNAME={name}\n{path}\n{shell}\nUSER={name}\nX=a=b c\n"
    );
    assert_eq!(ran.stdout, expected);
    assert!(
        shell.len() > 6 && path.starts_with("PATH=/"),
        "{shell} {path}"
    );
    assert_eq!(
        (ran.code, ran.signal, ran.stderr.as_str()),
        (Some(3), None, "\u{fffd}")
    );

    std::fs::write(bin.path().join("squeue"), "#!/bin/sh\nkill -9 $$").unwrap();
    let ran: Ran = rig.post("/v1/run", &asked("squeue", &[])).await.json();
    assert_eq!((ran.code, ran.signal), (None, Some(9)));
}

#[tokio::test]
async fn it_runs_as_the_user_with_the_usual_umask() {
    let (rig, _bin) = with("#!/bin/sh\nid -u; umask").await;
    let ran: Ran = rig.post("/v1/run", &asked("squeue", &[])).await.json();
    assert_eq!(ran.stdout, format!("{}\n0022\n", rig.account.uid));
}

#[tokio::test]
async fn nothing_else_is_run() {
    let (rig, bin) = with("#!/bin/sh\ntouch \"$0.ran\"").await;
    for program in [
        "sh",
        "/bin/sh",
        "../squeue",
        &text(&bin.path().join("squeue")),
        "",
        "squeue\0",
    ] {
        let problem = rig
            .post("/v1/run", &asked(program, &["-c", "id"]))
            .await
            .problem();
        assert_eq!(problem.code, Code::Forbidden, "{program:?}");
    }
    let absent = rig.post("/v1/run", &asked("sinfo", &[])).await.problem();
    assert_eq!(absent.code, Code::Unavailable);
    let mut run = asked("squeue", &[]);
    run.directory = Some("/nonexistent".to_owned());
    assert_eq!(
        rig.post("/v1/run", &run).await.problem().code,
        Code::Invalid
    );
    assert!(!bin.path().join("squeue.ran").exists());
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_what_it_started() {
    let (rig, _bin) = with("#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! > \"$1\"\nwait").await;
    let pid_file = rig.home.join("pid");
    let mut run = asked("squeue", &[&text(&pid_file)]);
    run.deadline_ms = 1000;
    let begun = Instant::now();
    let problem = rig.post("/v1/run", &run).await.problem();
    assert_eq!(problem.code, Code::Deadline);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let pid = std::fs::read_to_string(pid_file).unwrap();
    crate::rig::until_gone(pid.trim().parse().unwrap()).await;
}

#[tokio::test]
async fn too_much_output_and_too_many_calls_are_refused() {
    let (rig, bin) = with("#!/bin/sh\nhead -c 20000000 /dev/zero").await;
    let problem = rig.post("/v1/run", &asked("squeue", &[])).await.problem();
    assert_eq!(problem.code, Code::TooLarge);

    // 16 run, 64 wait.
    Rig::write_program(bin.path(), "sacct", "#!/bin/sh\nsleep 2");
    let run = asked("sacct", &[]);
    let calls = (0..100).map(|_| rig.post("/v1/run", &run));
    let answers = futures_util::future::join_all(calls).await;
    let busy = answers.iter().filter(|answer| answer.status == 429).count();
    let fine = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((fine, busy), (80, 20));
}

#[tokio::test]
async fn a_caller_that_goes_does_not_end_it() {
    let (rig, bin) = with("#!/bin/sh\nsleep 1; touch \"$1\"").await;
    let done: PathBuf = rig.home.join("done");
    let done_text = text(&done);
    let run = asked("squeue", &[&done_text]);
    let call = rig.post("/v1/run", &run);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), call)
            .await
            .is_err()
    );
    let begun = Instant::now();
    while !done.exists() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(bin);
}
