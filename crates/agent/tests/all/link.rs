//! The link: claims whose answer was lost, a view-server that is away, another agent.

use std::time::Duration;

use forebay_testbed::need;
use forebay_wire::{Code, JobState, link::Want};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_repeated_and_runs_once() {
    need!(Postgres);
    let world = World::new().await;
    world.view_server.state().lose_claims = 1;
    let agent = world.agent().await;
    let job = world.submit();
    // Something makes the site look for work again.
    world
        .view_server
        .until("claimed", |state| {
            state.held.contains_key(&job).then_some(())
        })
        .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    agent.maintainer.work_waits();
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_claim_does_not_run_what_has_ended_meanwhile() {
    need!(Postgres);
    let world = World::new().await;
    world.view_server.state().lose_claims = u32::MAX;
    let agent = world.agent().await;
    let job = world.submit();
    world
        .view_server
        .until("claimed", |state| {
            (state.held.contains_key(&job) && !state.feeds.is_empty()).then_some(())
        })
        .await;
    // The end stays unknown to the view-server, so that it repeats the job.
    world.view_server.state().reports_hang = true;
    world.view_server.want(Want::Resync);
    let ended = async {
        while agent.maintainer.has(job) || world.model.runs(job) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("it ends");
    world.view_server.state().lose_claims = 0;
    agent.maintainer.work_waits();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.view_server.state().reports_hang = false;
    world.ends(job, &["released 1", "succeeded"]).await;
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_goes_on_without_the_view_server_and_tells_later() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "released 1").await;
    world.view_server.state().away = true;
    while world.model.runs(job) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.model.end_all(JobState::Succeeded);
    let ended = async {
        while agent.maintainer.has(job) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("it ends");
    world.view_server.state().away = false;
    let story = world.view_server.until_ended(job).await;
    assert_eq!(
        story.last().map(String::as_str),
        Some("succeeded"),
        "{story:?}"
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_are_refused_do_not_make_the_link_spin() {
    need!(Postgres);
    let world = World::new().await;
    world.view_server.state().refuse_reports = Some(Code::Invalid);
    let agent = world.agent().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sessions = world.view_server.state().sessions;
    assert!(sessions <= 12, "{sessions} sessions in three seconds");
    world.view_server.state().refuse_reports = None;
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_live_for_no_time_do_not_make_the_link_spin() {
    need!(Postgres);
    let world = World::new().await;
    for session_s in [0, u64::MAX] {
        world.view_server.state().session_s = session_s;
        world.view_server.state().sessions = 0;
        let agent = world.agent().await;
        let job = world.submit();
        world.view_server.until_ended(job).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let sessions = world.view_server.state().sessions;
        assert!(sessions <= 4, "{sessions} sessions");
        agent.stop().await;
    }
    world.view_server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_agent_ends() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    let job = world.submit();
    world.ends(job, &["released 1", "succeeded"]).await;
    world.view_server.state().epoch += 1;
    // The next thing that it says.
    world.view_server.want(Want::Resync);
    tokio::time::timeout(Duration::from_secs(5), agent.tasks.stopping().cancelled())
        .await
        .expect("it stops");
    let reason = agent.tasks.fatal_reason().expect("it says why").to_owned();
    assert!(reason.contains("another agent"), "{reason}");
    assert!(!agent.link.is_up());
    agent.kill().await;
    world.view_server.end().await;
}
