//! Answers that do not come, copies that should not be, jobs that are forgotten.

use std::time::Duration;

use forebay_testbed::need;
use forebay_wire::JobState;

use crate::{
    database::sql,
    model::{Accounting, Let, Submit},
    world::World,
};

/// A job whose copy was forgotten before its release, and what accounting says then.
async fn forgotten_while_held(accounting: Accounting, world: &World) -> forebay_wire::JobId {
    world.with(|model| {
        model.accounting = accounting;
        model.submits.push_back(Submit::Hangs { taken: true });
    });
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("submitted", |model| model.submitted == 1)
        .await;
    agent.kill().await;
    // As if the id had been recorded.
    let held = "UPDATE tracked_jobs SET phase = 'held', scheduler_id = '1', submitted_at = now()";
    sql(&world.database, held).await;
    world.model.forget_all();
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_answer_was_lost_is_adopted() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.submits.push_back(Submit::AnswerLost));
    let agent = world.agent().await;
    let job = world.submit();
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    // Its outputs can be read although its receipt was lost.
    let reports = format!("{:?}", world.view_server.state().reports);
    let stdout = format!("stdout_path: Some(\"/adopted/{job}/stdout\")");
    assert!(reports.contains(&stdout), "{reports}");
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_copy_does_not_wait_for_its_logs() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model.outputs_hang = true;
        model.submits.push_back(Submit::AnswerLost);
    });
    let agent = world.agent().await;
    let job = world.submit();
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_arrives_late_never_runs() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model.endless = true;
        model.submits.push_back(Submit::Late);
    });
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world.model.arrive();
    world.model.end_all(JobState::Succeeded);
    assert_eq!(
        world.view_server.until_ended(job).await,
        ["released 2", "started", "succeeded"]
    );
    assert_eq!(world.model.runs(job), 1);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_copies_one_runs_and_the_others_are_cancelled() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.submits.push_back(Submit::Hangs { taken: true }));
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("submitted", |model| model.submitted == 1)
        .await;
    agent.kill().await;
    world.model.add_copy(job);
    world.model.add_copy(job);
    let agent = world.agent().await;
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_copies_the_started_one_is_kept() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model.endless = true;
        model.submits.push_back(Submit::Hangs { taken: true });
    });
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("submitted", |model| model.submitted == 1)
        .await;
    agent.kill().await;
    world.model.start_all();
    world.model.add_copy(job);
    let agent = world.agent().await;
    world.view_server.until_told(job, "started").await;
    assert_eq!(world.model.open(job), 1);
    world.model.end_all(JobState::Succeeded);
    world
        .ends(job, &["released 1", "started", "succeeded"])
        .await;
    assert_eq!(world.model.runs(job), 1);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_scheduler_says_nothing_about_jobs() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let running = world.submit();
    world.view_server.until_told(running, "started").await;
    world.with(|model| model.silent = true);
    let waiting = world.submit();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(world.view_server.story(running), ["released 1", "started"]);
    assert_eq!(world.view_server.story(waiting), [] as [String; 0]);
    world.with(|model| model.silent = false);
    world.view_server.until_told(waiting, "started").await;
    world.model.end_all(JobState::Succeeded);
    world
        .ends(running, &["released 1", "started", "succeeded"])
        .await;
    world.view_server.until_ended(waiting).await;
    assert_eq!(
        (world.model.runs(running), world.model.runs(waiting)),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_without_an_answer_is_repeated() {
    need!(Postgres);
    for how in [Let::AnswerLost, Let::Unknown] {
        let world = World::new().await;
        world.with(|model| model.releases.push_back(how));
        let agent = world.agent().await;
        let job = world.submit();
        world.ends(job, &["released 1", "succeeded"]).await;
        assert_eq!(world.model.runs(job), 1);
        world.end(agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_lost_before_any_release_is_submitted_again() {
    need!(Postgres);
    // What accounting calls pending has not run either.
    for accounting in [Accounting::None, Accounting::Empty, Accounting::Pending] {
        let world = World::new().await;
        let job = forgotten_while_held(accounting, &world).await;
        let agent = world.agent().await;
        world.ends(job, &["released 2", "succeeded"]).await;
        assert_eq!(
            (world.model.runs(job), world.model.state().submitted),
            (1, 2)
        );
        world.end(agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_copy_that_ended_elsewhere_ends_so() {
    need!(Postgres);
    let world = World::new().await;
    let job = forgotten_while_held(Accounting::Ended(JobState::Cancelled), &world).await;
    let agent = world.agent().await;
    world.ends(job, &["cancelled"]).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (0, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_accounting_decides_nothing() {
    need!(Postgres);
    let world = World::new().await;
    let job = forgotten_while_held(Accounting::Silent, &world).await;
    let agent = world.agent().await;
    world
        .model
        .until("released", |model| model.released >= 1)
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.view_server.story(job), [] as [String; 0]);
    world.with(|model| model.accounting = Accounting::Ended(JobState::NodeFailed));
    world.ends(job, &["nodefailed"]).await;
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_lost_after_a_release_may_have_run_and_is_not_submitted_again() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model.accounting = Accounting::Empty;
        model.releases.push_back(Let::Hangs { done: true });
    });
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("released", |model| model.released == 1)
        .await;
    agent.kill().await;
    world.model.forget_all();
    let agent = world.agent().await;
    world.ends(job, &["vanished"]).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_that_the_controller_forgets_is_missing_until_accounting_tells() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model.endless = true;
        model.accounting = Accounting::Silent;
    });
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world.model.forget_all();
    world.view_server.until_told(job, "missing").await;
    world.with(|model| model.accounting = Accounting::Ended(JobState::OutOfMemory));
    world
        .ends(
            job,
            &["released 1", "started", "missing", "live", "outofmemory"],
        )
        .await;
    world.end(agent).await;
}

/// Whoever runs its owner's jobs does not answer. Others' go on, and it is not denied either.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_nobody_speaks_of_is_stale_and_neither_missing_nor_lost() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let (job, other) = (world.submit(), world.submit());
    world.view_server.until_told(job, "started").await;
    world.view_server.until_told(other, "started").await;
    // It was missing for long: who is silent does not deny it again.
    world.model.forget_all();
    world.view_server.until_told(job, "missing").await;
    world.with(|model| {
        model.unheard.insert(job);
    });
    world.view_server.until_told(job, "stale").await;
    let row = agent.store.tracked_job(job).await.expect("read");
    assert_eq!(row.expect("kept").told.absent_since, None);
    // Of the other it is still said that it is not there.
    assert_eq!(
        world.view_server.story(other).last().map(String::as_str),
        Some("missing")
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_denied_for_long_enough_is_lost() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world.model.forget_all();
    world.view_server.until_told(job, "missing").await;
    agent.stop().await;
    // A quarter of an hour passes.
    let since = (time::OffsetDateTime::now_utc() - Duration::from_secs(901)).unix_timestamp();
    let since = forebay_wire::Timestamp::from_unix(since).expect("in the calendar");
    let since = serde_json::to_string(&since).expect("text");
    sql(
        &world.database,
        &format!("UPDATE tracked_jobs SET told = jsonb_set(told, '{{absent_since}}', '{since}')"),
    )
    .await;
    let agent = world.agent().await;
    assert_eq!(
        world.view_server.until_ended(job).await,
        ["released 1", "started", "missing", "vanished"]
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_for_one_owner_holds_up_nobody_else() {
    need!(Postgres, Root);
    let world = World::new().await;
    let other = forebay_testbed::accounts::test_account(2).expect("a test account");
    let own = forebay_testbed::accounts::test_account(1).expect("a test account");
    assert_eq!(world.identity, own.name);
    let agent = world.agent().await;
    let submit = |identity: &str| {
        let mut work = world.work(None);
        work.owner.identity = identity.to_owned();
        let job = work.job;
        world.view_server.queue(work);
        job
    };
    // More than may be submitted at once, and more than may be on their way.
    world.with(|model| model.hung = Some(own.uid));
    let hung: Vec<_> = (0..150).map(|_| submit(&own.name)).collect();
    world
        .model
        .until("hangs", |model| model.submitted >= 16)
        .await;
    let free = submit(&other.name);
    world.ends(free, &["released 1", "succeeded"]).await;
    world.with(|model| model.hung = None);
    for job in hung {
        world.view_server.until_ended(job).await;
        assert_eq!(world.model.runs(job), 1);
    }
    world.end(agent).await;
}
