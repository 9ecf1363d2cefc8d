//! What is left of `local` jobs when somebody is killed.

use std::time::Duration;

use forebay_testbed::accounts::Account;
use forebay_wire::api::Exit;
use forebay_wire::ipc::{LocalJob, LocalPhase};

use crate::rig::{Rig, until_gone};

fn kill(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn is_running(phase: &LocalPhase) -> bool {
    matches!(phase, LocalPhase::Running { .. })
}

#[tokio::test]
async fn jobs_outlive_a_killed_user_agent() {
    let mut rig = Rig::start().await;
    let held = rig.local("#!/bin/sh\necho held ran\n").await;
    let running = rig
        .local("#!/bin/sh\necho begun; while ! [ -e go ]; do sleep 0.05; done; exit 5\n")
        .await;
    let ending = rig.local("#!/bin/sh\nexit 6\n").await;
    for start in [&held, &running, &ending] {
        rig.start_local(start).await.json::<LocalJob>();
    }
    for start in [&running, &ending] {
        rig.tell(start.job, "release").await.json::<LocalJob>();
    }
    rig.until(running.job, is_running).await;
    rig.until_ended(ending.job).await;
    let before = rig.jobs().await;

    let exit = rig.daemon.kill9().await.unwrap();
    assert_eq!(exit.signal, Some(9));
    rig.restart().await;
    assert_eq!(rig.jobs().await, before, "the same jobs, where they were");

    // All of it goes on with the new one.
    rig.start_local(&held).await.json::<LocalJob>();
    rig.tell(held.job, "release").await.json::<LocalJob>();
    std::fs::write(rig.home.join("go"), "").unwrap();
    for (start, code) in [(&held, 0), (&running, 5), (&ending, 6)] {
        match rig.until_ended(start.job).await {
            LocalPhase::Ended { exit, .. } => assert_eq!(exit, Exit { code, signal: None }),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(std::fs::read_to_string(&held.stdout).unwrap(), "held ran\n");
    assert_eq!(std::fs::read_to_string(&running.stdout).unwrap(), "begun\n");
}

#[tokio::test]
async fn an_end_while_nobody_looks_is_kept() {
    let mut rig = Rig::start().await;
    let start = rig.local("#!/bin/sh\nsleep 0.5; exit 9\n").await;
    rig.start_local(&start).await.json::<LocalJob>();
    rig.tell(start.job, "release").await.json::<LocalJob>();
    rig.until(start.job, is_running).await;
    let pid = rig.shim(start.job);
    rig.daemon.kill9().await.unwrap();
    until_gone(pid).await;
    rig.restart().await;
    match rig.until_ended(start.job).await {
        LocalPhase::Ended { exit, .. } => assert_eq!(exit.code, 9),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_killed_shim_is_gone_and_leaves_nothing_running() {
    let rig = Rig::start().await;
    let start = rig
        .local("#!/bin/sh\necho run >> runs\nsetsid sleep 1000 &\necho $! > stray\nsleep 1000\n")
        .await;
    rig.start_local(&start).await.json::<LocalJob>();
    rig.tell(start.job, "release").await.json::<LocalJob>();
    let stray = loop {
        let written = std::fs::read_to_string(rig.home.join("stray")).unwrap_or_default();
        if let Ok(pid) = written.trim().parse() {
            break pid;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    kill(rig.shim(start.job), rustix::process::Signal::KILL);
    rig.until(start.job, |phase| *phase == LocalPhase::Gone)
        .await;
    until_gone(stray).await;

    // It has run: it is never run again.
    let again: LocalJob = rig.start_local(&start).await.json();
    assert_eq!(again.phase, LocalPhase::Gone);
    for what in ["release", "cancel"] {
        assert_eq!(
            rig.tell(start.job, what).await.json::<LocalJob>().phase,
            LocalPhase::Gone
        );
    }
    assert_eq!(
        std::fs::read_to_string(rig.home.join("runs")).unwrap(),
        "run\n"
    );
}

#[tokio::test]
async fn a_shim_killed_while_held_is_held_anew_or_cancelled() {
    let rig = Rig::start().await;
    let start = rig.local("#!/bin/sh\necho run >> runs\n").await;
    rig.start_local(&start).await.json::<LocalJob>();
    kill(rig.shim(start.job), rustix::process::Signal::KILL);
    rig.until(start.job, |phase| *phase == LocalPhase::Gone)
        .await;
    assert_eq!(
        rig.start_local(&start).await.json::<LocalJob>().phase,
        LocalPhase::Held
    );
    rig.tell(start.job, "release").await.json::<LocalJob>();
    rig.until_ended(start.job).await;
    assert_eq!(
        std::fs::read_to_string(rig.home.join("runs")).unwrap(),
        "run\n"
    );

    let other = rig.local("#!/bin/sh\necho run >> runs\n").await;
    rig.start_local(&other).await.json::<LocalJob>();
    kill(rig.shim(other.job), rustix::process::Signal::KILL);
    rig.until(other.job, |phase| *phase == LocalPhase::Gone)
        .await;
    let cancelled: LocalJob = rig.tell(other.job, "cancel").await.json();
    assert!(
        matches!(
            cancelled.phase,
            LocalPhase::Ended {
                cancelled: true,
                started_at: None,
                ..
            }
        ),
        "{cancelled:?}"
    );
}

#[tokio::test]
async fn a_shim_that_is_asked_to_end_records_it() {
    let rig = Rig::start().await;
    let start = rig.local("#!/bin/sh\nsleep 1000\n").await;
    rig.start_local(&start).await.json::<LocalJob>();
    rig.tell(start.job, "release").await.json::<LocalJob>();
    rig.until(start.job, is_running).await;
    kill(rig.shim(start.job), rustix::process::Signal::TERM);
    match rig.until_ended(start.job).await {
        LocalPhase::Ended {
            exit,
            timed_out: false,
            cancelled: false,
            ..
        } => {
            assert_eq!(
                exit,
                Exit {
                    code: 0,
                    signal: Some(15)
                }
            );
        }
        other => panic!("{other:?}"),
    }
}

/// A shim is started by `serve` alone: without the record's lock it does nothing.
#[tokio::test]
async fn a_shim_by_hand_does_not_run() {
    let rig = Rig::start().await;
    let start = rig.local("#!/bin/sh\necho run >> runs\n").await;
    rig.start_local(&start).await.json::<LocalJob>();
    let record = format!("{}/state/test/local/{}", rig.home.display(), start.job);
    let program = forebay_testbed::programs::path(crate::rig::PROGRAM).unwrap();
    let account: Account = rig.account.clone();
    let output = rig
        .run_as(
            &account,
            program.to_str().unwrap(),
            &["shim", "--dir", &record],
        )
        .await;
    assert_eq!(output.exit.code, Some(1));
    assert!(
        output.stdout().contains("a shim is started by"),
        "{}",
        output.stdout()
    );
    assert_eq!(rig.jobs().await[0].phase, LocalPhase::Held);
    rig.tell(start.job, "cancel").await.json::<LocalJob>();
    rig.until_ended(start.job).await;
    assert!(!rig.home.join("runs").exists());
}

/// Records of ended jobs are kept for a week, and then removed with nothing else.
#[tokio::test]
async fn old_records_are_removed() {
    let mut rig = Rig::start().await;
    let (old, young) = (
        rig.local("#!/bin/sh\necho kept\n").await,
        rig.local("#!/bin/sh\n").await,
    );
    for start in [&old, &young] {
        rig.start_local(start).await.json::<LocalJob>();
        rig.tell(start.job, "release").await.json::<LocalJob>();
        rig.until_ended(start.job).await;
    }
    let record = rig.home.join(format!("state/test/local/{}", old.job));
    let status = std::fs::read_to_string(record.join("status.json")).unwrap();
    let mut status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["ended_at"] = "2020-01-01T00:00:00Z".into();
    std::fs::write(record.join("status.json"), status.to_string()).unwrap();
    // What is ended is remembered, so a new one has to look.
    rig.daemon.kill9().await.unwrap();
    rig.restart().await;
    let jobs: Vec<_> = rig.jobs().await.iter().map(|job| job.job).collect();
    assert_eq!(jobs, [young.job]);
    assert!(!record.exists());
    assert_eq!(std::fs::read_to_string(&old.stdout).unwrap(), "kept\n");
}
