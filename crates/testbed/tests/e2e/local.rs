//! The integration for machines without Slurm: processes on this host.

use std::time::Duration;

use forebay_testbed::need;
use forebay_testbed::site::Scheduler;
use forebay_wire::JobState::{Cancelled, Failed, Pending, Running, Succeeded};
use forebay_wire::{Code, Freshness, JobState};
use serde_json::json;

use crate::worlds::{World, eventually};

#[tokio::test]
async fn a_job_runs_as_its_owner_with_both_outputs() {
    need!(Postgres);
    let world = World::local().await;
    let (api, user) = (world.api(1), world.user(1));
    let id = api
        .script("id -un; pwd; echo \"$GREETING\" >&2; exit 5")
        .await;
    let job = api.ended(&id).await;
    assert_eq!(
        (job.status.state, job.status.exit.map(|exit| exit.code)),
        (Failed, Some(5))
    );
    assert_eq!(
        api.stdout(&id).await,
        format!("{}\n{}\n", user.name, user.home.display())
    );
    assert_eq!(api.log(&id, "stderr").await.unwrap(), b"\n");
    let expected = "a 'b' $c\n日本";
    let spec = json!({
        "command": ["printf", "%s|%s", "one two", expected],
        "environment": { "GREETING": "hello" },
        "directory": "/",
    });
    let id = api.submit(spec).await;
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    assert_eq!(api.stdout(&id).await, format!("one two|{expected}"));
    let shown = world
        .cli(
            1,
            &["submit", "--follow", "--", "sh", "-c", "echo seen; exit 9"],
        )
        .await;
    assert_eq!(
        (shown.exit.code, shown.stdout().as_str()),
        (Some(9), "seen")
    );
    let states = api.states(&id).await;
    assert_eq!(states.last(), Some(&Succeeded));
    assert!(
        states.contains(&JobState::Queued) && states.contains(&Running),
        "{states:?}"
    );
}

#[tokio::test]
async fn no_more_run_at_once_than_there_are_slots() {
    need!(Postgres);
    // Its own: the shared one's slots may be taken.
    let world = World::start(Scheduler::Local { slots: 2 }).await;
    let api = world.api(2);
    let (witness, gate) = (world.witness(2), world.witness(2));
    let (path, open) = (witness.path(), gate.path());
    let script =
        format!("echo + >>{path}; while ! test -e {open}; do sleep 0.1; done; echo - >>{path}");
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(api.script(&script).await);
    }
    eventually("two that run and four that wait", || async {
        let jobs = api.jobs("").await;
        let count = |wanted| jobs.iter().filter(|job| job.status.state == wanted).count();
        (count(Running) == 2 && count(Pending) == 4).then_some(())
    })
    .await;
    std::fs::write(&open, "").unwrap();
    for id in &ids {
        assert_eq!(api.ended(id).await.status.state, Succeeded);
    }
    let (mut running, mut most) = (0_i32, 0);
    for line in witness.lines() {
        running += if line == "+" { 1 } else { -1 };
        most = most.max(running);
    }
    assert_eq!((witness.lines().len(), most, running), (12, 2, 0));
    world.site.stop().await.unwrap();
}

#[tokio::test]
async fn what_it_lacks_is_refused_and_cancelling_ends_the_whole_tree() {
    need!(Postgres);
    let world = World::local().await;
    let api = world.api(3);
    let refused = api
        .try_submit(json!({ "command": ["true"], "slurm": { "array": "1-3" } }))
        .await;
    assert_eq!(refused.unwrap_err().code, Code::Invalid);
    let marker = "31415926.5";
    let id = api
        .script(&format!("sleep {marker} & sleep {marker}; wait"))
        .await;
    api.until_state(&id, Running).await;
    let sleepers = || {
        let output = std::process::Command::new("pgrep")
            .args(["-fx", &format!("sleep {marker}")])
            .output();
        String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .lines()
            .count()
    };
    eventually("two sleepers", || async { (sleepers() == 2).then_some(()) }).await;
    api.cancel(&id).await.unwrap();
    assert_eq!(api.ended(&id).await.status.state, Cancelled);
    eventually("no sleepers", || async { (sleepers() == 0).then_some(()) }).await;
}

#[tokio::test]
async fn jobs_outlive_the_agent_and_the_user_agent() {
    need!(Postgres);
    let world = World::start(Scheduler::Local { slots: 4 }).await;
    let (api, user) = (world.api(4), world.user(4));
    let witness = world.witness(4);
    let script = |name: &str| {
        let path = witness.path();
        format!(
            "echo start {name} >>{path}; for n in 1 2 3 4 5 6; do echo $n; sleep 0.5; done; echo end {name} >>{path}"
        )
    };
    let first = api.script(&script("first")).await;
    api.until_state(&first, Running).await;
    assert!(world.site.kill9_user_agent(&user.name).unwrap() >= 1);
    let second = api.script(&script("second")).await;
    api.until_state(&second, Running).await;
    world.site.kill9("agent").await.unwrap();
    world.site.kill9_user_agent(&user.name).unwrap();
    let third = api.script(&script("third")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.site.start_agent().await.unwrap();
    for (id, name) in [(&first, "first"), (&second, "second"), (&third, "third")] {
        let job = api.ended(id).await;
        assert_eq!(job.status.state, Succeeded, "{name}: {:?}", job.status);
        assert_eq!(api.stdout(id).await, "1\n2\n3\n4\n5\n6\n", "{name}");
        let lines = witness.lines();
        for step in ["start", "end"] {
            let count = lines
                .iter()
                .filter(|line| **line == format!("{step} {name}"))
                .count();
            assert_eq!(count, 1, "{step} {name} in {lines:?}");
        }
    }
    world.site.stop().await.unwrap();
}

/// A user can stop his own user-agent. That is his loss alone.
#[tokio::test]
async fn a_user_agent_that_hangs_holds_up_nobody_else() {
    need!(Root, Postgres);
    let world = World::start(Scheduler::Local { slots: 2 }).await;
    let (hung, api) = (world.api(1), world.api(2));
    let mine = hung.script("sleep 300").await;
    hung.until_state(&mine, Running).await;
    let stopped = Stopped::new(&world, world.user(1).uid);
    let wanted = hung.script("true").await;

    // One slot is taken by who does not answer; the other is there for all.
    let gate = world.witness(2);
    let waits = |gate: &str| format!("while ! test -e {gate}; do sleep 0.1; done");
    let first = api.script(&waits(&gate.path())).await;
    api.until_state(&first, Running).await;
    let second = api.script("echo second").await;
    api.until_state(&second, Pending).await;
    // The hung one's cancel is on its way all the time.
    hung.cancel(&mine).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(api.job(&second).await.status.state, Pending, "two slots");
    std::fs::write(gate.path(), "").unwrap();
    assert_eq!(api.ended(&first).await.status.state, Succeeded);
    assert_eq!(api.ended(&second).await.status.state, Succeeded);
    assert_eq!(api.stdout(&second).await, "second\n");
    let third = api.script("sleep 300").await;
    api.until_state(&third, Running).await;
    api.cancel(&third).await.unwrap();
    assert_eq!(api.ended(&third).await.status.state, Cancelled);

    let job = hung.job(&mine).await;
    assert_eq!(
        (job.status.state, job.status.freshness),
        (Running, Freshness::Stale)
    );
    drop(stopped);
    assert_eq!(hung.ended(&mine).await.status.state, Cancelled);
    assert_eq!(hung.ended(&wanted).await.status.state, Succeeded);
    world.site.stop().await.unwrap();
}

/// A user's user-agents, stopped until this is dropped.
struct Stopped(Vec<rustix::process::Pid>);

impl Stopped {
    fn new(world: &World, uid: u32) -> Self {
        let all = world.site.user_agents().into_iter();
        let pids = all.filter(|(_, owner)| *owner == uid);
        let pids: Vec<_> = pids
            .filter_map(|(pid, _)| rustix::process::Pid::from_raw(pid))
            .collect();
        assert!(!pids.is_empty());
        for pid in &pids {
            rustix::process::kill_process(*pid, rustix::process::Signal::STOP).unwrap();
        }
        Self(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = rustix::process::kill_process(*pid, rustix::process::Signal::CONT);
        }
    }
}
