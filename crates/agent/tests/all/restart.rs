//! Agents that end in any phase of a job: one run, and what happened is told.

use forebay_testbed::need;
use forebay_wire::{JobState, link::Report};

use crate::{
    database::sql,
    model::{Let, Submit},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_claimed() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.submits.push_back(Submit::Hangs { taken: false }));
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("submitted", |model| model.submitted == 1)
        .await;
    agent.kill().await;
    sql(
        &world.database,
        "UPDATE tracked_jobs SET phase = 'claimed', attempt = 0",
    )
    .await;
    let agent = world.agent().await;
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(world.model.runs(job), 1);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_submitting() {
    need!(Postgres);
    for taken in [true, false] {
        let world = World::new().await;
        world.with(|model| model.submits.push_back(Submit::Hangs { taken }));
        let agent = world.agent().await;
        let job = world.submit();
        world
            .model
            .until("submitted", |model| model.submitted == 1)
            .await;
        agent.kill().await;
        let agent = world.agent().await;
        world.ends(job, &["released 1", "succeeded"]).await;
        assert_eq!(world.model.runs(job), 1);
        assert_eq!(world.model.state().submitted, if taken { 1 } else { 2 });
        let row = agent
            .store
            .tracked_job(job)
            .await
            .expect("read")
            .expect("kept");
        assert_eq!(row.attempt, if taken { 1 } else { 2 });
        world.end(agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_held() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.releases.push_back(Let::Hangs { done: false }));
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("released", |model| model.released == 1)
        .await;
    agent.kill().await;
    sql(&world.database, "UPDATE tracked_jobs SET phase = 'held'").await;
    let agent = world.agent().await;
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_releasing() {
    need!(Postgres);
    for done in [true, false] {
        let world = World::new().await;
        world.with(|model| {
            model.endless = true;
            model.releases.push_back(Let::Hangs { done });
        });
        let agent = world.agent().await;
        let job = world.submit();
        world
            .model
            .until("released", |model| model.released == 1)
            .await;
        agent.kill().await;
        let agent = world.agent().await;
        world.view_server.until_told(job, "started").await;
        world.model.end_all(JobState::Succeeded);
        world
            .ends(job, &["released 1", "started", "succeeded"])
            .await;
        assert_eq!(
            (world.model.runs(job), world.model.state().submitted),
            (1, 1)
        );
        world.end(agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_held_and_cancelled_meanwhile() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.releases.push_back(Let::Hangs { done: false }));
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("released", |model| model.released == 1)
        .await;
    agent.kill().await;
    sql(
        &world.database,
        "UPDATE tracked_jobs SET phase = 'held', cancel_wanted = true",
    )
    .await;
    let agent = world.agent().await;
    world.ends(job, &["cancelled"]).await;
    assert_eq!(world.model.runs(job), 0);
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_job_runs_and_the_job_ends_meanwhile() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    agent.kill().await;
    world.model.end_all(JobState::TimedOut);
    let agent = world.agent().await;
    world
        .ends(job, &["released 1", "started", "timedout"])
        .await;
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_site_database_recovers_what_runs() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.endless = true);
    let agent = world.agent().await;
    let job = world.submit();
    world.view_server.until_told(job, "started").await;
    agent.kill().await;
    sql(
        &world.database,
        "DELETE FROM tracked_jobs; DELETE FROM attempts; DELETE FROM outbound",
    )
    .await;
    let agent = world.agent().await;
    world
        .view_server
        .until("adopted", |state| {
            let adopted = state.reports.len() >= 4 && agent.maintainer.watched(job).is_some();
            adopted.then_some(())
        })
        .await;
    world.model.end_all(JobState::Succeeded);
    let story = world.view_server.until_ended(job).await;
    assert_eq!(
        story.last().map(String::as_str),
        Some("succeeded"),
        "{story:?}"
    );
    assert_eq!(
        (world.model.runs(job), world.model.state().submitted),
        (1, 1)
    );
    world.end(agent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_a_jobs_end_and_the_end_of_its_log() {
    need!(Postgres);
    let mut world = World::new().await;
    let stdout = world.file("stdout", "the last line\n");
    world.with(|model| model.stdout = Some(stdout));
    let agent = world.agent().await;
    let job = world.submit();
    // Nobody can read the log: there is no user-agent.
    world.ends(job, &["released 1", "succeeded"]).await;
    agent.kill().await;
    let due = "UPDATE tracked_jobs SET tail_due = now() WHERE tail_due IS NOT NULL";
    sql(&world.database, due).await;
    world.program = forebay_testbed::programs::path("forebay-user-agent").expect("built");
    let agent = world.agent().await;
    let tails = |state: &crate::view_server::State| {
        let text = |report: &Report| match report {
            Report::LogTail { job: of, text, .. } if *of == job => Some(text.clone()),
            _ => None,
        };
        let found: Vec<String> = state.reports.iter().filter_map(text).collect();
        (!found.is_empty()).then_some(found)
    };
    let found = world.view_server.until("its log's end", tails).await;
    assert_eq!(found, ["the last line\n"]);
    agent.stop().await;
    // Once kept it is not wanted any more.
    sql(&world.database, due).await;
    let agent = world.agent().await;
    let another = world.submit();
    world.view_server.until_ended(another).await;
    let of_another = |state: &crate::view_server::State| {
        let is_its =
            |report: &Report| matches!(report, Report::LogTail { job, .. } if *job == another);
        state.reports.iter().any(is_its).then_some(())
    };
    world.view_server.until("the other's", of_another).await;
    assert_eq!(
        tails(&world.view_server.state()).map(|found| found.len()),
        Some(1)
    );
    world.end(agent).await;
}

/// What the view-server was told to be heard is done, also where it cannot say it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_was_heard_outlives_the_agent() {
    need!(Postgres);
    for phase in ["claimed", "intent"] {
        let world = World::new().await;
        world.with(|model| model.submits.push_back(Submit::Hangs { taken: false }));
        let agent = world.agent().await;
        let job = world.submit();
        world
            .model
            .until("submitted", |model| model.submitted == 1)
            .await;
        world.cancel(job);
        let heard = async || {
            let row = agent.store.tracked_job(job).await.expect("read");
            row.expect("kept").cancel_wanted
        };
        let began = std::time::Instant::now();
        while !heard().await {
            assert!(began.elapsed().as_secs() < 15, "the wish is not kept");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        agent.kill().await;
        let as_was = format!("UPDATE tracked_jobs SET phase = '{phase}', attempt = 0");
        sql(&world.database, &as_was).await;
        world.view_server.state().away = true;
        let agent = world.agent().await;
        let began = std::time::Instant::now();
        while agent.maintainer.has(job) {
            assert!(began.elapsed().as_secs() < 15, "it goes on");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.view_server.state().away = false;
        world.ends(job, &["cancelled"]).await;
        assert_eq!(
            (world.model.runs(job), world.model.state().submitted),
            (0, 1),
            "{phase}"
        );
        world.end(agent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_when_the_agent_ends_is_still_recorded() {
    need!(Postgres);
    let world = World::new().await;
    world.with(|model| model.slow = Some(std::time::Duration::from_millis(500)));
    let agent = world.agent().await;
    let job = world.submit();
    world
        .model
        .until("submitted", |model| model.submitted == 1)
        .await;
    let store = agent.store.clone();
    agent.stop().await;
    let row = store.tracked_job(job).await.expect("read").expect("kept");
    assert!(row.copy.is_some(), "{row:?}");
    let agent = world.agent().await;
    world.ends(job, &["released 1", "succeeded"]).await;
    assert_eq!(world.model.state().found, 0, "nothing to look for");
    world.end(agent).await;
}
