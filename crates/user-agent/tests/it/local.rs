//! The life of jobs of the `local` integration.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use forebay_wire::Code;
use forebay_wire::JobId;
use forebay_wire::api::Exit;
use forebay_wire::ipc::{LocalJob, LocalPhase, LocalStart};
use tokio::time::Instant;

use crate::rig::{Rig, until_gone};

/// The end of a job that began.
fn end(phase: LocalPhase) -> (Exit, bool, bool) {
    match phase {
        LocalPhase::Ended {
            started_at: Some(started_at),
            ended_at,
            exit,
            timed_out,
            cancelled,
        } => {
            assert!(started_at <= ended_at);
            (exit, timed_out, cancelled)
        }
        other => panic!("{other:?}"),
    }
}

const fn code(code: i32) -> Exit {
    Exit { code, signal: None }
}

const fn signal(signal: i32) -> Exit {
    Exit {
        code: 0,
        signal: Some(signal),
    }
}

fn is_running(phase: &LocalPhase) -> bool {
    matches!(phase, LocalPhase::Running { .. })
}

/// Started and released.
async fn run(rig: &Rig, start: &LocalStart) {
    rig.start_local(start).await.json::<LocalJob>();
    rig.tell(start.job, "release").await.json::<LocalJob>();
}

/// A pid that the job has written.
async fn pid(path: &Path) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(pid) = std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse().ok())
        {
            return pid;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn held_then_released_then_ended() {
    let rig = Rig::start().await;
    let start = rig
        .local("#!/bin/sh\necho out; echo err >&2; pwd; exit 7\n")
        .await;
    let held: LocalJob = rig.start_local(&start).await.json();
    assert_eq!(
        (held.job, &held.marker, &held.phase),
        (start.job, &start.marker, &LocalPhase::Held)
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        std::fs::read_to_string(&start.stdout).unwrap(),
        "",
        "held: it does not run"
    );
    assert_eq!(rig.jobs().await, std::slice::from_ref(&held));

    // The same again, and as often as one likes.
    assert_eq!(rig.start_local(&start).await.json::<LocalJob>(), held);
    for _ in 0..3 {
        rig.tell(start.job, "release").await.json::<LocalJob>();
    }
    assert_eq!(
        end(rig.until_ended(start.job).await),
        (code(7), false, false)
    );
    let ended = rig.start_local(&start).await.json::<LocalJob>();
    assert!(
        matches!(ended.phase, LocalPhase::Ended { .. }),
        "not started anew"
    );
    rig.tell(start.job, "cancel").await.json::<LocalJob>();

    let out = std::fs::read_to_string(&start.stdout).unwrap();
    assert_eq!(out, format!("out\n{}\n", rig.home.display()));
    assert_eq!(std::fs::read_to_string(&start.stderr).unwrap(), "err\n");
    assert_eq!(
        std::fs::metadata(&start.stdout).unwrap().mode() & 0o777,
        0o600
    );

    let other = LocalStart {
        marker: "another".to_owned(),
        ..start
    };
    assert_eq!(rig.start_local(&other).await.problem().code, Code::Conflict);
    let unknown = JobId::new();
    assert_eq!(
        rig.tell(unknown, "release").await.problem().code,
        Code::NotFound
    );
    assert_eq!(
        rig.tell(unknown, "cancel").await.problem().code,
        Code::NotFound
    );
}

#[tokio::test]
async fn its_surroundings_are_explicit() {
    let rig = Rig::start_with(&["--slurm-conf", "/etc/some.conf"]).await;
    let script = "#!/bin/sh\nenv | sort; umask; id -u; ls -l /proc/self/fd > fds; readlink /proc/self/fd/0\n";
    let mut start = rig.local(script).await;
    start.environment = BTreeMap::from([("GREETING".to_owned(), "a b\n$(id)".to_owned())]);
    run(&rig, &start).await;
    assert_eq!(
        end(rig.until_ended(start.job).await),
        (code(0), false, false)
    );
    let out = std::fs::read_to_string(&start.stdout).unwrap();
    let mut names: Vec<_> = out
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    let expected = [
        "FOREBAY_JOB_ID",
        "GREETING",
        "HOME",
        "LANG",
        "LOGNAME",
        "PATH",
        "PWD",
        "SHELL",
        "SLURM_CONF",
        "USER",
    ];
    assert_eq!(names, expected, "{out}");
    assert!(
        out.contains(&format!("FOREBAY_JOB_ID={}\n", start.job)),
        "{out}"
    );
    assert!(
        out.contains("GREETING=a b\n") && out.contains("$(id)\n"),
        "{out}"
    );
    assert!(
        out.ends_with(&format!("0022\n{}\n/dev/null\n", rig.account.uid)),
        "{out}"
    );
    // Of the descriptors only the usual three are handed on; ls itself has the directory open.
    let descriptors = std::fs::read_to_string(rig.home.join("fds")).unwrap();
    assert_eq!(
        descriptors
            .lines()
            .filter(|line| line.contains(" -> "))
            .count(),
        4,
        "{descriptors}"
    );
}

#[tokio::test]
async fn ends_are_told_apart() {
    let rig = Rig::start().await;
    let cases = [
        ("#!/bin/sh\nkill -SEGV $$\n", (signal(11), false, false)),
        ("#!/bin/sh\nexit 255\n", (code(255), false, false)),
        ("#!/nonexistent/interpreter\n", (code(127), false, false)),
        // What it leaves behind ends with it, and does not change how it ended.
        (
            "#!/bin/sh\nsetsid sleep 1000 &\nexit 3\n",
            (code(3), false, false),
        ),
    ];
    for (script, expected) in cases {
        let start = rig.local(script).await;
        run(&rig, &start).await;
        assert_eq!(end(rig.until_ended(start.job).await), expected, "{script}");
    }
    let mut start = rig.local("#!/bin/sh\n").await;
    let directory = rig.home.join("soon-gone");
    crate::rig::make_dir(&directory, &rig.account);
    start.directory = crate::rig::text(&directory);
    rig.start_local(&start).await.json::<LocalJob>();
    std::fs::remove_dir(&directory).unwrap();
    rig.tell(start.job, "release").await.json::<LocalJob>();
    assert_eq!(
        end(rig.until_ended(start.job).await),
        (code(126), false, false)
    );
    assert!(
        std::fs::read_to_string(&start.stderr)
            .unwrap()
            .contains("cannot enter the directory")
    );
}

#[tokio::test]
async fn the_time_limit_ends_everything_it_started() {
    let rig = Rig::start().await;
    let script = "#!/bin/sh\ntrap '' TERM\n(trap '' TERM; exec setsid sleep 1000) &\necho $! > stray\nsleep 1000 & wait\n";
    let mut start = rig.local(script).await;
    start.time_limit_s = Some(1);
    let begun = Instant::now();
    run(&rig, &start).await;
    let stray = pid(&rig.home.join("stray")).await;
    assert_eq!(
        end(rig.until_ended(start.job).await),
        (signal(9), true, false)
    );
    // A second, and five more because it does not listen.
    assert!(
        (6..9).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
    until_gone(stray).await;

    let mut polite = rig
        .local("#!/bin/sh\ntrap 'echo bye; exit 4' TERM\nsleep 1000 & wait\n")
        .await;
    polite.time_limit_s = Some(1);
    let begun = Instant::now();
    run(&rig, &polite).await;
    assert_eq!(
        end(rig.until_ended(polite.job).await),
        (code(4), true, false)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(std::fs::read_to_string(&polite.stdout).unwrap(), "bye\n");
}

#[tokio::test]
async fn cancel_ends_held_and_running_ones() {
    let rig = Rig::start().await;
    let held = rig.local("#!/bin/sh\necho ran\n").await;
    rig.start_local(&held).await.json::<LocalJob>();
    rig.tell(held.job, "cancel").await.json::<LocalJob>();
    match rig.until_ended(held.job).await {
        LocalPhase::Ended {
            started_at: None,
            exit,
            timed_out: false,
            cancelled: true,
            ..
        } => {
            assert_eq!(exit, signal(15));
        }
        other => panic!("{other:?}"),
    }
    rig.tell(held.job, "release").await.json::<LocalJob>();
    assert_eq!(std::fs::read_to_string(&held.stdout).unwrap(), "");

    // A stopped process and one in a session of its own are no exception.
    let script = "#!/bin/sh\nsetsid sleep 1000 &\necho $! > stray\nkill -STOP $$\n";
    let running = rig.local(script).await;
    run(&rig, &running).await;
    let stray = pid(&rig.home.join("stray")).await;
    let begun = Instant::now();
    rig.tell(running.job, "cancel").await.json::<LocalJob>();
    assert_eq!(
        end(rig.until_ended(running.job).await),
        (signal(15), false, true)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    until_gone(stray).await;
}

#[tokio::test]
async fn impossible_jobs_are_refused_and_leave_no_record() {
    let rig = Rig::start().await;
    let good = rig.local("#!/bin/sh\n").await;
    let fifo = rig.home.join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    crate::rig::own(&fifo, &rig.account);
    let link = rig.home.join("link");
    symlink(rig.home.join("target"), &link).unwrap();
    let text = crate::rig::text;
    let bad = [
        LocalStart {
            directory: "/nonexistent".to_owned(),
            ..good.clone()
        },
        LocalStart {
            directory: "relative".to_owned(),
            ..good.clone()
        },
        LocalStart {
            directory: good.script.clone(),
            ..good.clone()
        },
        LocalStart {
            stdout: "/nonexistent/out".to_owned(),
            ..good.clone()
        },
        LocalStart {
            stdout: text(&rig.home),
            ..good.clone()
        },
        LocalStart {
            stderr: text(&fifo),
            ..good.clone()
        },
        LocalStart {
            stdout: text(&link),
            ..good.clone()
        },
        LocalStart {
            stdout: "/dev/full".to_owned(),
            ..good.clone()
        },
        LocalStart {
            script: String::new(),
            ..good.clone()
        },
        LocalStart {
            script: format!("/{}", "x".repeat(5000)),
            ..good.clone()
        },
        LocalStart {
            marker: "\0".to_owned(),
            ..good.clone()
        },
        LocalStart {
            environment: BTreeMap::from([("A B".to_owned(), String::new())]),
            ..good.clone()
        },
    ];
    for start in bad {
        assert_eq!(
            rig.start_local(&start).await.problem().code,
            Code::Invalid,
            "{start:?}"
        );
        assert_eq!(rig.jobs().await, [], "{start:?}");
    }
    assert!(!rig.home.join("target").exists());
    // The job itself is not spent: it never was.
    run(&rig, &good).await;
    assert_eq!(
        end(rig.until_ended(good.job).await),
        (code(0), false, false)
    );
}

#[tokio::test]
async fn one_start_at_a_time_makes_one_process() {
    let rig = Rig::start().await;
    let start = rig.local("#!/bin/sh\necho ran >> runs\n").await;
    let calls = (0..20).map(|_| rig.start_local(&start));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.json::<LocalJob>().phase, LocalPhase::Held);
    }
    let calls = (0..20).map(|_| rig.tell(start.job, "release"));
    futures_util::future::join_all(calls).await;
    rig.until_ended(start.job).await;
    assert_eq!(
        std::fs::read_to_string(rig.home.join("runs")).unwrap(),
        "ran\n"
    );
}

#[tokio::test]
async fn the_list_is_in_order_and_survives_damage() {
    let rig = Rig::start().await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        let start = rig.local("#!/bin/sh\nsleep 1000\n").await;
        rig.start_local(&start).await.json::<LocalJob>();
        expected.push(start.job);
    }
    run_one(&rig, expected[2]).await;
    let jobs: Vec<_> = rig.jobs().await.iter().map(|job| job.job).collect();
    assert_eq!(jobs, expected);

    let local = rig.home.join("state/test/local");
    std::fs::write(
        local.join(expected[0].to_string()).join("spec.json"),
        "{nonsense",
    )
    .unwrap();
    let orphan = rig.shim(expected[1]);
    std::fs::remove_dir_all(local.join(expected[1].to_string())).unwrap();
    until_gone(orphan).await;
    std::fs::write(local.join("unrelated"), "").unwrap();
    symlink("/etc", local.join(JobId::new().to_string())).unwrap();
    let jobs: Vec<_> = rig.jobs().await.iter().map(|job| job.job).collect();
    assert_eq!(jobs, expected[2..]);
    for job in &expected[2..] {
        rig.tell(*job, "cancel").await.json::<LocalJob>();
        rig.until_ended(*job).await;
    }
}

async fn run_one(rig: &Rig, job: JobId) {
    rig.tell(job, "release").await.json::<LocalJob>();
    rig.until(job, is_running).await;
}
