//! Crashes on all sides while somebody reads; broken rows; readers that come and go.

use std::{sync::Arc, time::Duration};

use forebay_wire::feed::{Message, Topic};

use crate::{
    instance::Database,
    reader::{Known, Socket},
    rig::{Rig, Server, User},
};

/// Reads a job to its end, coming back after each break from where it was.
async fn follow(server: &Server, user: &User, topic: &Topic, known: &mut Known) {
    while known.state != "succeeded" {
        let opened = Socket::try_open(server, &[("authorization", &user.bearer())]).await;
        let Ok(mut socket) = opened else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        socket.subscribe(topic, known.cursor.as_deref()).await;
        while known.state != "succeeded" {
            match socket.next().await {
                Some(Message::Problem(refusal))
                    if refusal.problem.retry != forebay_wire::Retry::No => {}
                Some(message) => known.hear(&message),
                None => break,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_missing_or_doubled_whatever_is_killed() {
    let rig = Arc::new(Rig::with(Database::alone().await));
    let mut server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let link = rig.world.linked().await;
    let job = rig.submit(&ann, "x").await;
    let topic = Topic::Job(job);
    let postgres = rig.db.own.clone().expect("its own");
    let mut known = Known::default();
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&topic, None).await;
    known.hear(&socket.news().await);

    // realtime is killed; something happens while it is away.
    server.daemon.kill9().await.expect("killed");
    assert_eq!(socket.next().await, None);
    rig.world.claim(&link, 1).await;
    rig.again(&mut server).await;
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&topic, known.cursor.as_deref()).await;
    while known.events.len() < 2 {
        known.hear(&socket.news().await);
    }
    // Postgres is killed while it reads, and killed again right after a change.
    postgres.kill9_server().expect("killed");
    rig.until_written(async |rig: &Rig| rig.try_runs(&link, job).await)
        .await;
    while known.events.len() < 4 {
        known.hear(&socket.news().await);
    }
    postgres.kill9_server().expect("killed");
    rig.until_written(async |rig: &Rig| rig.try_ends(&link, job).await)
        .await;
    server.daemon.kill9().await.expect("killed");
    rig.again(&mut server).await;
    follow(&server, &ann, &topic, &mut known).await;
    assert_eq!(known.events, [1, 2, 3, 4, 5]);
    assert_eq!(known.snapshots, 1, "always resumed: {known:?}");
    let told: Vec<_> = known
        .told
        .iter()
        .map(|(seq, times)| (*seq, *times))
        .collect();
    assert_eq!(told, [(2, 1), (3, 1), (4, 1), (5, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_is_skipped_and_reported() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let _link = rig.world.linked().await;
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&Topic::Jobs, None).await;
    let cursor = socket.snapshot().await.cursor;
    let user = ann.caller.user;
    rig.sql(&format!(
        "INSERT INTO feed (topic, kind, key, rev, body) VALUES
         ('user:{user}', 'job', 'garbage', 1, '{{}}'), ('user:{user}', 'surprise', 'x', 1, '[]'),
         ('nonsense', 'job', 'x', 1, 'null')"
    ))
    .await;
    let job = rig.submit(&ann, "after").await;
    assert_eq!(socket.delta().await.item.key, job.to_string());
    // Resuming passes over them as well.
    socket.subscribe(&Topic::Jobs, Some(&cursor)).await;
    assert_eq!(socket.delta().await.item.key, job.to_string());
    let metrics = server
        .client()
        .call(http::Method::GET, "/metrics")
        .send()
        .await;
    let metrics = String::from_utf8_lossy(&metrics.expect("metrics").body).into_owned();
    let skipped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("forebay_feed_rows_skipped_total "))
        .and_then(|count| count.parse::<u64>().ok());
    assert!(skipped >= Some(3), "{skipped:?}");
    assert!(
        rig.log().contains("a feed row cannot be read"),
        "it is in the log"
    );
}

/// A thousand readers come, read and go, in every manner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reconnects_leave_nothing() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let round = async |count: usize| {
        for n in 0..count {
            let mut socket = Socket::open(&server, &ann).await;
            socket.subscribe(&Topic::Jobs, None).await;
            socket.snapshot().await;
            match n % 3 {
                0 => drop(socket),
                1 => {
                    socket.ws.close(None).await.expect("said goodbye");
                    socket.goodbye().await;
                }
                _ => {
                    let client = server.client_of(&ann);
                    let call = client.call(http::Method::GET, "/rt/v1/events?topic=jobs");
                    drop(call.stream().await.expect("a stream"));
                }
            }
        }
        // Until the server has noticed all of it.
        let mut before = usize::MAX;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = server.descriptors();
            if now == before {
                return (now, server.daemon.memory().expect("it runs").rss);
            }
            before = now;
        }
    };
    let (files, memory) = round(300).await;
    let (files_after, memory_after) = round(1_000).await;
    println!("{files} descriptors, {memory} bytes; after 1,000 more {files_after}, {memory_after}");
    assert!(
        files_after <= files + 4,
        "{files} descriptors became {files_after}"
    );
    let grown = memory_after.saturating_sub(memory);
    assert!(grown < 8 << 20, "{grown} bytes more after 1,000 reconnects");
    let mut socket = Socket::open(&server, &ann).await;
    socket.subscribe(&Topic::Jobs, None).await;
    socket.snapshot().await;
}
