//! The link, as an agent uses it.

use std::time::{Duration, Instant};

use forebay_http::{
    Code,
    ndjson::{Line, Reader},
};
use forebay_wire::{
    JobId, JobState,
    link::{Desired, OpenJobs, OpenSession, Session, Want},
};
use http::Method;

use crate::{
    server::{Agent, Server, open_session, problem},
    work::{ended, released, started},
};

/// The desired feed from where the session says.
async fn desired(agent: &Agent, after: &str) -> Reader {
    let call = agent
        .call(Method::GET, "/link/v1/desired")
        .query("after", after);
    call.stream()
        .await
        .expect("a feed")
        .lines(64 << 10, Duration::from_secs(30))
}

async fn next(feed: &mut Reader) -> Option<Desired> {
    loop {
        match tokio::time::timeout(Duration::from_secs(20), feed.next::<Desired>())
            .await
            .expect("a line")
        {
            Ok(Some(Line::Item(item))) => return Some(item),
            Ok(Some(Line::Heartbeat)) => {}
            Ok(None) => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wanted_is_told_within_milliseconds() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let agent = server.agent().await;
    let mut feed = desired(&agent, &agent.session.desired_after).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut took = Vec::new();
    for number in 0..10 {
        let began = Instant::now();
        ann.submit(&format!("{number}")).await;
        let line = next(&mut feed).await.expect("a line");
        assert!(
            matches!(&line.want, Want::Work { cluster } if cluster.as_str() == "hpc"),
            "{line:?}"
        );
        took.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    took.sort_unstable();
    println!(
        "from POST to the desired line: median {:?}, slowest {:?}",
        took[5], took[9]
    );
    assert!(took[5] < Duration::from_millis(60), "{took:?}");
    let job = agent.claim(1).await.jobs[0].job;
    let cancel = ann
        .client
        .call(Method::POST, &format!("/api/v1/jobs/{job}/cancel"))
        .send()
        .await;
    cancel.expect("accepted");
    let line = next(&mut feed).await.expect("a line");
    assert_eq!(line.want, Want::Cancel { job });
    // Going on behind that line brings nothing again.
    ann.submit("last").await;
    let mut again = desired(&agent, &line.cursor).await;
    assert!(matches!(
        next(&mut again).await.expect("a line").want,
        Want::Work { .. }
    ));
    // From the beginning: one line for all that was queued, and the cancel.
    let mut all = desired(&agent, &agent.session.desired_after).await;
    let first = next(&mut all).await.expect("a line");
    assert!(matches!(first.want, Want::Work { .. }));
    assert_eq!(
        next(&mut all).await.expect("a line").want,
        Want::Cancel { job }
    );
    // Cut between the two, the site goes on and still hears the second.
    let mut cut = desired(&agent, &first.cursor).await;
    assert!(matches!(
        next(&mut cut).await.expect("a line").want,
        Want::Work { .. }
    ));
    assert_eq!(
        next(&mut cut).await.expect("a line").want,
        Want::Cancel { job }
    );
    // A cursor of another feed.
    let mut lost = desired(&agent, "5.6.7").await;
    let line = next(&mut lost).await.expect("a line");
    assert_eq!(line.want, Want::Resync);
    assert_ne!(line.cursor, "5.6.7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_shows_that_it_lives_and_ends_with_its_link() {
    let server = Server::start().await;
    let agent = server.agent().await;
    let mut feed = desired(&agent, &agent.session.desired_after).await;
    let began = Instant::now();
    assert_eq!(next(&mut feed).await.expect("a line").want, Want::Heartbeat);
    assert!(
        (9..13).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    let newer = agent.again(&server).await;
    assert_eq!(newer.session.epoch, agent.session.epoch + 1);
    let began = Instant::now();
    assert_eq!(next(&mut feed).await, None, "superseded");
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn only_the_newest_link_counts() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let mut agent = server.agent().await;
    let job = ann.submit("x").await.id;
    assert_eq!(agent.claim(5).await.jobs.len(), 1);
    agent.report(vec![released(job)]).await;
    let newer = agent.again(&server).await;
    assert_eq!(newer.session.acked_seq, 1);
    let old = [
        problem(agent.try_claim(1).await),
        problem(agent.try_report(2, vec![started(job)]).await),
        problem(agent.call(Method::GET, "/link/v1/open").send().await),
        problem(
            agent
                .call(Method::GET, "/link/v1/desired?after=1.2.3")
                .send()
                .await,
        ),
        // A newer token with the older number, and the other way round.
        problem(
            newer
                .client
                .call(Method::GET, "/link/v1/open")
                .header("forebay-epoch", "1")
                .expect("a header")
                .send()
                .await,
        ),
        problem(
            agent
                .client
                .call(Method::GET, "/link/v1/open")
                .header("forebay-epoch", "2")
                .expect("a header")
                .send()
                .await,
        ),
    ];
    for problem in old {
        assert_eq!(problem.code, Code::Superseded, "{problem:?}");
    }
    let bare = problem(newer.client.call(Method::GET, "/link/v1/open").send().await);
    assert_eq!(bare.code, Code::Malformed);
    let open = newer
        .call(Method::GET, "/link/v1/open")
        .send()
        .await
        .expect("open jobs");
    let open: OpenJobs = open.json().expect("open jobs");
    assert_eq!(
        (open.jobs[0].work.job, open.jobs[0].state),
        (job, JobState::Pending)
    );
    assert_eq!(open.jobs[0].work.owner.identity, "ann");

    // A gap is told with what is expected; a repeat is no-op.
    let gap = problem(newer.try_report(5, vec![started(job)]).await);
    assert_eq!(
        (gap.code, gap.details[0].field.as_str()),
        (Code::Conflict, "from_seq")
    );
    let many = vec![started(JobId::new()); 1_001];
    assert_eq!(
        problem(newer.try_report(2, many).await).code,
        Code::TooLarge
    );
    assert_eq!(
        newer
            .try_report(1, vec![ended(job, JobState::Failed, 1)])
            .await
            .expect("known")
            .acked_seq,
        1
    );
    assert_eq!(ann.job(job).await.status.state, JobState::Pending);
}

#[tokio::test]
async fn a_session_needs_a_common_version_and_the_sites_own_clusters() {
    let server = Server::start().await;
    let agent = server.agent().await;
    let dial = server.anonymous();
    let open = |open: OpenSession| {
        let (dial, assertion) = (dial.clone(), agent.key.assertion(open));
        async move {
            dial.post::<_, Session>("/link/v1/session", &assertion)
                .await
        }
    };
    let future = OpenSession {
        version_min: 99,
        version_max: 100,
        ..open_session()
    };
    assert_eq!(problem(open(future).await).code, Code::Version);
    let foreign = OpenSession {
        installation: Some(uuid::Uuid::new_v4()),
        ..open_session()
    };
    assert_eq!(problem(open(foreign).await).code, Code::Conflict);
    let pinned = OpenSession {
        installation: Some(agent.session.installation),
        ..open_session()
    };
    open(pinned).await.expect("its own installation");
    let (_, there) = server.enrolled("there").await;
    let stolen = dial
        .post::<_, Session>("/link/v1/session", &there.assertion(open_session()))
        .await;
    let stolen = problem(stolen);
    assert_eq!(stolen.code, Code::Conflict);
    assert!(stolen.message.contains("hpc"), "{stolen:?}");
    let audit = server
        .store
        .audit_list(Some("site:there"), 10)
        .await
        .expect("the audit");
    assert_eq!(
        (audit[0].action.as_str(), audit[0].result.as_str()),
        ("link.open", "conflict")
    );
}
