//! Jobs that go well, and jobs that their owners cancel.

use forebay_testbed::need;
use forebay_wire::{JobState, link::Want};
use serde_json::json;
use std::time::Duration;

use crate::{model::Submit, world::World};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_once_and_is_reported_in_order() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world.model.end_all(JobState::Failed);
    world.ends(job, &["released 1", "started", "failed"]).await;
    assert_eq!(world.model.runs(job), 1);
    assert_eq!(
        world.model.state().found,
        0,
        "looked up only where an earlier try may exist"
    );
    assert!(!agent.maintainer.has(job));
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_run_once_each() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    let jobs: Vec<_> = (0..200).map(|_| world.submit()).collect();
    for job in jobs {
        let story = world.view_server.until_ended(job).await;
        assert_eq!(
            story.last().map(String::as_str),
            Some("succeeded"),
            "{story:?}"
        );
        assert_eq!(story.len(), 2, "{story:?}");
        assert_eq!(world.model.runs(job), 1);
    }
    assert_eq!(world.model.state().submitted, 200);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_job_says_so() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.submits.push_back(Submit::Refused));
    let agent = world.agent().await;
    let job = world.submit();
    world.ends(job, &["refused"]).await;
    assert_eq!(world.model.runs(job), 0);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_does_not_exist_is_a_refusal() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    let mut work = world.work(None);
    work.owner.identity = "no-such-account".into();
    let job = work.job;
    world.view_server.queue(work);
    world.ends(job, &["refused"]).await;
    assert_eq!(world.model.state().submitted, 0);
    world.end(agent).await;
}

/// A newer view-server passes on what this agent does not know. Run without it, it would be
/// another job than was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_not_wholly_understood_is_a_refusal() {
    need!(Postgres);
    let world = World::new().await;
    let newer = || {
        let mut work = world.work(Some(json!({"qos": "high", "qpus": 2})));
        work.spec["novelty"] = json!(true);
        work
    };
    let agent = world.agent().await;
    let (claimed, plain) = (newer(), world.work(None));
    let jobs = [claimed.job, plain.job];
    world.view_server.queue(claimed);
    world.view_server.queue(plain);
    world.ends(jobs[0], &["refused"]).await;
    world.ends(jobs[1], &["released 1", "succeeded"]).await;
    let told = world.view_server.refusal(jobs[0]).expect("a sentence");
    assert!(told.starts_with("spec.novelty: "), "{told}");

    // The same where the claim's answer was lost, and the job is found at the start of a link: over
    // a restart in between, too.
    world.view_server.state().lose_claims = u32::MAX;
    let lost = newer();
    let job = lost.job;
    world.view_server.queue(lost);
    world
        .view_server
        .until("claimed", |state| {
            state.held.contains_key(&job).then_some(())
        })
        .await;
    agent.kill().await;
    world.with(|model| model.silent = true);
    let agent = world.agent().await;
    let tracked = || async { agent.store.tracked_job(job).await.expect("read").is_some() };
    let kept = async {
        while !tracked().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), kept)
        .await
        .expect("it is taken up");
    agent.kill().await;
    {
        let mut state = world.view_server.state();
        state.held.clear();
        state.lose_claims = 0;
    }
    world.with(|model| model.silent = false);
    let agent = world.agent().await;
    world.ends(job, &["refused"]).await;
    assert_eq!((world.model.runs(jobs[0]), world.model.runs(job)), (0, 0));
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_scheduler_is_asked_again() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model
            .submits
            .extend([Submit::Full, Submit::Away, Submit::Full]);
    });
    let agent = world.agent().await;
    let job = world.submit();
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(world.model.runs(job), 1);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_wait_for_room_do_not_hold_up_others() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    // More than may be submitted at once, and more than may be on their way.
    let full: Vec<_> = (0..150).map(|_| world.work(None)).collect();
    world.with(|model| model.full.extend(full.iter().map(|work| work.job)));
    let jobs: Vec<_> = full.iter().map(|work| work.job).collect();
    for work in full {
        world.view_server.queue(work);
    }
    world
        .model
        .until("refused for room", |model| model.submitted >= 150)
        .await;
    let other = world.submit();
    world.ends(other, &["released 1", "succeeded"]).await;
    world.with(|model| model.full.clear());
    for job in jobs {
        world.view_server.until_ended(job).await;
        assert_eq!(world.model.runs(job), 1);
    }
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_hold_is_not_released() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    let work = world.work(Some(json!({"hold": true})));
    let job = work.job;
    world.view_server.queue(work);
    world.view_server.until_told(job, "released 1").await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().released),
        (0, 0)
    );
    world.model.start_all();
    world.ends(job, &["released 1", "succeeded"]).await;
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_cancelled_before_it_was_submitted_never_is() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    let mut work = world.work(None);
    work.cancel_wanted = true;
    let job = work.job;
    world.view_server.queue(work);
    world.ends(job, &["cancelled"]).await;
    assert_eq!(world.model.state().submitted, 0);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_cancelled_while_its_submission_waits_is_cancelled() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.submits.extend(vec![Submit::Full; 100]));
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("refused for room", |model| model.submitted >= 2)
        .await;
    world.cancel(job);
    world.ends(job, &["cancelled"]).await;
    assert_eq!(world.model.runs(job), 0);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_is_cancelled() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    let began = std::time::Instant::now();
    world.cancel(job);
    world
        .ends(job, &["released 1", "started", "cancelled"])
        .await;
    assert!(
        began.elapsed().as_secs() < 10,
        "at once, not at the next round"
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_hangs_holds_up_nobody_elses() {
    need!(Root, Postgres);
    let world = World::new().await;
    let other = forebay_testbed::accounts::test_account(2).expect("a test account");
    world.with(|model| {
        model.endless = true;
        model.cancels_hang.insert(other.uid);
    });
    let agent = world.agent().await;
    let mut hangs = world.work(None);
    hangs.owner.identity = other.name;
    let (hanging, job) = (hangs.job, world.submit());
    world.view_server.queue(hangs);
    world.view_server.until_told(hanging, "started").await;
    world.view_server.until_told(job, "started").await;
    world.cancel(hanging);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    world.cancel(job);
    let story = world.view_server.until_ended(job).await;
    assert_eq!(story.last().map(String::as_str), Some("cancelled"));
    assert_eq!(world.model.open(hanging), 1);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_the_scheduler_did_not_hear_is_repeated() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world.with(|model| model.silent = true);
    world.cancel(job);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(
        world.view_server.story(job),
        ["released 1", "started"],
        "nothing is guessed"
    );
    world.with(|model| model.silent = false);
    world
        .ends(job, &["released 1", "started", "cancelled"])
        .await;
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_told_only_among_the_open_jobs_is_done() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world
        .view_server
        .state()
        .held
        .get_mut(&job)
        .expect("held")
        .cancel_wanted = true;
    world.view_server.want(Want::Resync);
    world
        .ends(job, &["released 1", "started", "cancelled"])
        .await;
    world.end(agent).await;
}
