//! Copies that should not be there, and a controller that forgets what it let go.

use std::time::Duration;

use forebay_testbed::need;
use forebay_wire::JobId;

use crate::{model::Submit, world::World};

/// Long enough for several sweeps.
const SWEEPS: Duration = Duration::from_millis(500);

async fn until_none_is_open(world: &World, job: JobId) {
    let none = async {
        while world.model.open(job) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), none)
        .await
        .expect("the copy is reaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_arrives_after_its_job_ran_is_cancelled() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.submits.push_back(Submit::Late));
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_ended(job).await;
    world.model.arrive();
    assert_eq!(world.model.open(job), 1);
    until_none_is_open(&world, job).await;
    assert_eq!(world.model.runs(job), 1);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_arrives_while_the_recorded_one_runs_is_cancelled() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model.submits.push_back(Submit::Late);
        model.endless = true;
    });
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world.model.arrive();
    assert_eq!(world.model.open(job), 2);
    let one = async {
        while world.model.open(job) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), one)
        .await
        .expect("the copy is reaped");
    tokio::time::sleep(SWEEPS).await;
    assert_eq!(
        (world.model.open(job), world.model.runs(job)),
        (1, 1),
        "the recorded one goes on"
    );
    world.with(|model| model.endless = false);
    world.model.end_all(forebay_wire::JobState::Succeeded);
    world
        .ends(job, &["released 2", "started", "succeeded"])
        .await;
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restarted_controller_holds_again_is_let_go_again() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.busy = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "released 1").await;
    world.model.restart_and_hold_again();
    world.with(|model| model.busy = false);
    world.view_server.until_ended(job).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    assert_eq!(world.model.open(job), 0);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_started_is_not_run_again_by_a_restarted_controller() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    world.model.restart_and_hold_again();
    let story = world.view_server.until_ended(job).await;
    assert_eq!(story, ["released 1", "started", "vanished"]);
    until_none_is_open(&world, job).await;
    assert_eq!(world.model.runs(job), 1);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_may_hold_a_waiting_job() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| {
        model.busy = true;
        let hour_ago = time::OffsetDateTime::now_utc() - Duration::from_secs(3_600);
        model.since = Some(hour_ago.into());
    });
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "released 1").await;
    world.model.hold_all();
    tokio::time::sleep(SWEEPS).await;
    let released = world.model.state().released;
    assert_eq!(
        (released, world.model.open(job)),
        (1, 1),
        "it stays as its owner wants it"
    );
    world.with(|model| model.busy = false);
    world.model.start_all();
    world.view_server.until_ended(job).await;
    assert_eq!(world.model.runs(job), 1);
    world.end(agent).await;
}
