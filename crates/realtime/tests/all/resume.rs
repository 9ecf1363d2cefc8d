//! Resuming: exactly what was missed, or a snapshot; from any replica.

use std::collections::BTreeMap;

use forebay_http::Code;
use forebay_wire::feed::{Message, Topic};

use crate::{
    reader::{Events, Known, Socket},
    rig::Rig,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_back_gets_what_it_missed_and_no_more() {
    let rig = Rig::new().await;
    let (one, two) = (rig.realtime("").await, rig.realtime("").await);
    let ann = rig.user("ann").await;
    let link = rig.world.linked().await;
    let job = rig.submit(&ann, "x").await;
    let topic = Topic::Job(job);
    let query = format!("topic={topic}&topic=jobs");
    let mut socket = Socket::open(&one, &ann).await;
    socket.subscribe(&topic, None).await;
    let cursor = socket.snapshot().await.cursor;
    drop(socket);
    let mut events = Events::open(&one, &ann, &query, None).await;
    for _ in 0..2 {
        let Some(Message::Snapshot(_)) = events.next().await else {
            panic!("two snapshots");
        };
    }
    let last = events.last_id.clone().expect("after the last of them");
    drop(events);
    rig.world.claim(&link, 1).await;
    rig.runs(&link, job).await;

    for server in [&one, &two] {
        let mut socket = Socket::open(server, &ann).await;
        socket.subscribe(&topic, Some(&cursor)).await;
        let mut known = Known::default();
        loop {
            let message = socket.news().await;
            known.hear(&message);
            // It says when it is up to date.
            if let Message::Heartbeat(heartbeat) = message {
                assert_eq!(heartbeat.topic.as_ref(), Some(&topic));
                break;
            }
        }
        assert_eq!(known.snapshots, 0, "{known:?}");
        assert_eq!(known.told, BTreeMap::from([(2, 1), (3, 1), (4, 1)]));
        // What comes now is neither missing nor said twice.
        let mut events = Events::open(server, &ann, &query, Some(&last)).await;
        let mut seen = 0;
        while seen < 2 {
            match events.next().await.expect("a message") {
                Message::Delta(_) => {}
                Message::Heartbeat(_) => seen += 1,
                other => panic!("resumed: {other:?}"),
            }
        }
        // A stream's own place is behind all that it was told.
        let again = events.last_id.clone().expect("an id");
        drop(events);
        let mut events = Events::open(server, &ann, &format!("{query}&after={again}"), None).await;
        for _ in 0..2 {
            match events.next().await.expect("a message") {
                Message::Heartbeat(_) => {}
                other => panic!("nothing new: {other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_too_old_gives_a_snapshot() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let _link = rig.world.linked().await;
    let job = rig.submit(&ann, "x").await;
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&Topic::Jobs, None).await;
    let cursor = socket.snapshot().await.cursor;
    rig.cancel(&ann, job).await;
    socket.delta().await;
    drop(socket);
    let keep = forebay_central::Retention {
        feed: std::time::Duration::ZERO,
        ..forebay_central::Retention::default()
    };
    // Rows that somebody's transaction may still hold back stay: try until they go.
    while rig.world.store.tend(&keep).await.expect("tended") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let epoch_of_another = "1.1.1";
    let mut socket = Socket::open(&server, &ann).await;
    for cursor in [cursor.as_str(), epoch_of_another] {
        socket.subscribe(&Topic::Jobs, Some(cursor)).await;
        assert_eq!(socket.snapshot().await.items.len(), 1, "{cursor}");
    }
    // The server's own reader was not disturbed: news still comes.
    let second = rig.submit(&ann, "y").await;
    assert_eq!(socket.delta().await.item.key, second.to_string());
    for cursor in ["", "x", "1.2", "9999999999999999999.1.1"] {
        socket.subscribe(&Topic::Jobs, Some(cursor)).await;
        let Message::Problem(refusal) = socket.news().await else {
            panic!("{cursor} is none");
        };
        assert_eq!(refusal.problem.code, Code::Malformed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_replica_tells_of_what_any_program_wrote() {
    let rig = Rig::new().await;
    let (one, two) = (rig.realtime("").await, rig.realtime("").await);
    let ann = rig.user("ann").await;
    let _link = rig.world.linked().await;
    let mut sockets = [
        Socket::open(&one, &ann).await,
        Socket::open(&two, &ann).await,
    ];
    for socket in &mut sockets {
        socket.subscribe(&Topic::Jobs, None).await;
        socket.snapshot().await;
    }
    for round in 0..5 {
        let job = rig.submit(&ann, &format!("job {round}")).await;
        for socket in &mut sockets {
            assert_eq!(socket.delta().await.item.key, job.to_string());
        }
    }
}
