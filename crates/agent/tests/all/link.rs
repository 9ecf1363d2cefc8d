//! The link: claims whose answer was lost, a view-server that is away, another agent.

use std::time::Duration;

use forebay_testbed::need;
use forebay_wire::{
    Code, JobId, JobState, Timestamp,
    link::{Observation, Report, Want},
};
use serde_json::json;

use crate::{database::sql, world::World};

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

/// Whatever wrote it, a report that cannot be read stops no other.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_report_is_skipped_and_counted() {
    need!(Postgres);
    let world = World::new().await;
    world.view_server.state().reports_hang = true;
    let agent = world.agent().await;
    let job = world.submit();
    let ended = async {
        while agent.maintainer.has(job) || world.model.runs(job) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("it ends");
    let dragons = "UPDATE outbound SET item = '{\"about\": \"dragons\"}'
                   WHERE item->>'about' = 'cluster'";
    sql(&world.database, dragons).await;
    agent.kill().await;
    world.view_server.state().reports_hang = false;
    let agent = world.agent().await;
    world.ends(job, &["released 1", "succeeded"]).await;
    let count = agent.store.unreadable_reports().get();
    assert!(count >= 1, "{count}");
    let reports = world.view_server.state().reports.clone();
    let nothing = reports
        .iter()
        .filter(|report| **report == Report::nothing());
    // Each reading counts; the row is read again where a batch must be sent again.
    let nothing = u64::try_from(nothing.count()).expect("few");
    assert!((1..=count).contains(&nothing), "{nothing} of {count}");
    world.end(agent).await;
}

/// The site's database was restored from a backup: it has sent less than was applied, and what it
/// wrote since must not be taken for what was sent before.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_site_database_loses_none_of_its_new_reports() {
    need!(Postgres);
    // With fewer and with more new reports than were sent after the backup.
    for new in [1, 20] {
        let world = World::new().await;
        let agent = world.agent().await;
        for _ in 0..3 {
            let job = world.submit();
            world.view_server.until_ended(job).await;
        }
        agent.stop().await;
        let applied = world.view_server.state().reports.len();
        assert!(applied >= 6, "{applied}");
        let report = json!(Report::Job {
            job: JobId::new(),
            at: Timestamp::now(),
            run: 0,
            saw: Observation::Waiting {
                reason: "new".into()
            },
        });
        let restored = format!(
            "DELETE FROM outbound;
             INSERT INTO outbound SELECT n, '{report}' FROM generate_series(3, {}) AS n;
             UPDATE site SET outbound_seq = {};
             UPDATE link SET sent_seq = 2",
            new + 2,
            new + 2
        );
        sql(&world.database, &restored).await;
        let agent = world.agent().await;
        let told = |state: &crate::view_server::State| {
            let told = state.reports.iter().skip(applied);
            let told = told.filter(|told| json!(told) == report);
            (told.count() >= new).then_some(())
        };
        world.view_server.until("all of them", told).await;
        let job = world.submit();
        world.view_server.until_ended(job).await;
        world.end(agent).await;
    }
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

/// A feed that ends does not say why: an agent whose site another has taken meanwhile ends, and
/// does not take it back.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_not_take_the_site_back() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    let job = world.submit();
    world.ends(job, &["released 1", "succeeded"]).await;
    let epoch = {
        let mut state = world.view_server.state();
        state.process = Some(uuid::Uuid::from_u128(99));
        state.epoch += 1;
        state.end_feeds();
        state.epoch
    };
    tokio::time::timeout(Duration::from_secs(15), agent.tasks.stopping().cancelled())
        .await
        .expect("it stops");
    assert!(agent.tasks.fatal_reason().is_some());
    assert_eq!(world.view_server.state().epoch, epoch, "no link since");
    agent.kill().await;
    world.view_server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_kind() {
    need!(Postgres);
    let world = World::new().await;
    let agent = world.agent().await;
    let job = world.submit();
    world.ends(job, &["released 1", "succeeded"]).await;
    let text = agent.metrics.encode();
    for call in ["session", "open", "claim", "desired", "reports"] {
        let line = format!("forebay_link_calls_total{{call=\"{call}\"}}");
        assert!(text.contains(&line), "{line}\n{text}");
    }
    world.end(agent).await;
}
