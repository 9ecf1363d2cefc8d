//! Snapshots and deltas of each topic, and who gets them.

use forebay_http::{ClientError, Code};
use forebay_wire::{
    Freshness, JobId, JobState,
    feed::{JOBS_MAX, Message, Object, Topic},
};

use crate::{
    reader::{Events, Known, Socket},
    rig::Rig,
};

fn state(object: &Object) -> JobState {
    match object {
        Object::Job(Some(job)) => job.status.state,
        other => panic!("no job: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_followed_from_its_snapshot_to_its_end() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let link = rig.world.linked().await;
    let job = rig.submit(&ann, "relax").await;
    let topic = Topic::Job(job);
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&topic, None).await;
    let mut events = Events::open(&server, &ann, &format!("topic={topic}"), None).await;
    let snapshot = socket.snapshot().await;
    assert_eq!((snapshot.topic.clone(), snapshot.more), (topic, false));
    let Object::Job(Some(item)) = &snapshot.items[0].object else {
        panic!("{snapshot:?}");
    };
    assert_eq!((item.name.as_str(), item.owner.as_str()), ("relax", "ann"));
    assert_eq!(item.status.state, JobState::Queued);
    let mut known = Known::default();
    known.hear(&Message::Snapshot(snapshot));
    rig.world.claim(&link, 1).await;
    rig.runs(&link, job).await;
    rig.ends(&link, job).await;
    while known.state != "succeeded" {
        known.hear(&socket.news().await);
    }
    assert_eq!(known.events, [1, 2, 3, 4, 5]);
    assert_eq!(known.told.values().copied().max(), Some(1), "{known:?}");
    // The same by the other way.
    let mut known = Known::default();
    while known.state != "succeeded" {
        known.hear(&events.next().await.expect("a message"));
    }
    assert_eq!(known.events, [1, 2, 3, 4, 5]);
    assert!(events.last_id.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_is_its_readers_alone() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let (ann, bob) = (rig.user("ann").await, rig.user("bob").await);
    let _link = rig.world.linked().await;
    let hers = rig.submit(&ann, "hers").await;
    let mut socket = Socket::open(&server, &bob).await;
    for job in [hers, JobId::new()] {
        for after in [None, Some("1.1.1")] {
            socket.subscribe(&Topic::Job(job), after).await;
            let Message::Problem(refusal) = socket.news().await else {
                panic!("{job} is refused");
            };
            assert_eq!(refusal.topic, Some(Topic::Job(job)));
            assert_eq!(refusal.problem.code, Code::NotFound);
        }
        let query = format!("/rt/v1/events?topic=job/{job}");
        let answer = server
            .client_of(&bob)
            .get::<serde_json::Value>(&query)
            .await;
        match answer {
            Err(ClientError::Problem(problem)) => assert_eq!(problem.code, Code::NotFound),
            other => panic!("{other:?}"),
        }
    }
    socket.subscribe(&Topic::Jobs, None).await;
    assert!(socket.snapshot().await.items.is_empty());
    // Of all that happens to hers nothing comes; of his, all.
    rig.cancel(&ann, hers).await;
    rig.submit(&ann, "hers too").await;
    let his = rig.submit(&bob, "his").await;
    let delta = socket.delta().await;
    assert_eq!(delta.item.key, his.to_string());
    rig.cancel(&bob, his).await;
    let delta = socket.delta().await;
    assert_eq!(delta.item.key, his.to_string());
    assert_eq!(state(&delta.item.object), JobState::Cancelled);
    // Events are for those who follow the job itself.
    let Object::Job(Some(job)) = &delta.item.object else {
        panic!("{delta:?}");
    };
    assert!(job.events.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn my_jobs_are_the_newest_and_the_rest_is_said_to_be_there() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let _link = rig.world.linked().await;
    let many = JOBS_MAX as usize + 5;
    let jobs: Vec<_> = (0..many)
        .map(|n| (ann.caller.user, format!("job {n}"), 0))
        .collect();
    rig.world.bulk(&jobs).await;
    let newest = rig.submit(&ann, "newest").await;
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&Topic::Jobs, None).await;
    let snapshot = socket.snapshot().await;
    assert!(snapshot.more);
    assert_eq!(snapshot.items.len(), JOBS_MAX as usize);
    assert_eq!(snapshot.items[0].key, newest.to_string());
    // Unsubscribed, nothing comes any more: the next that does is of another topic.
    socket.say(r#"{"type":"unsubscribe","topic":"jobs"}"#).await;
    socket.subscribe(&Topic::Announcements, None).await;
    socket.snapshot().await;
    rig.cancel(&ann, newest).await;
    socket.subscribe(&Topic::Job(newest), None).await;
    assert_eq!(
        state(&socket.snapshot().await.items[0].object),
        JobState::Cancelled
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_falls_silent_is_told_and_one_that_goes_is_too() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let _link = rig.world.linked().await;
    let topic: Topic = "cluster/hpc".parse().expect("a topic");
    let mut socket = Socket::open(&server, &ann).await;
    socket
        .subscribe(&"cluster/none".parse().expect("a topic"), None)
        .await;
    let Message::Problem(refusal) = socket.news().await else {
        panic!("there is no such cluster");
    };
    assert_eq!(refusal.problem.code, Code::NotFound);
    socket.subscribe(&topic, None).await;
    assert_eq!(socket.snapshot().await.items[0].key, "hpc");
    // A site that is heard no more writes nothing.
    rig.sql("UPDATE clusters SET status = status || '{\"freshness\": \"live\"}'; UPDATE sites SET seen_at = now()")
        .await;
    let until = async |socket: &mut Socket, wanted: Freshness| {
        loop {
            match socket.delta().await.item.object {
                Object::Cluster(Some(cluster)) if cluster.status.freshness == wanted => return,
                Object::Cluster(Some(_)) => {}
                other => panic!("no cluster: {other:?}"),
            }
        }
    };
    until(&mut socket, Freshness::Live).await;
    rig.sql("UPDATE sites SET seen_at = now() - interval '1 hour'")
        .await;
    until(&mut socket, Freshness::Stale).await;
    rig.sql("UPDATE clusters SET withdrawn_at = now()").await;
    loop {
        match socket.news().await {
            Message::Delta(_) => {}
            Message::Problem(refusal) => {
                assert_eq!(refusal.topic, Some(topic));
                break;
            }
            other => panic!("it is gone: {other:?}"),
        }
    }
}
