//! Everything a reader can do too much of.

use std::time::Duration;

use forebay_http::Code;
use forebay_wire::{
    JobId,
    feed::{Message, Object, Topic},
};
use futures_util::SinkExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::{Message as Ws, protocol::frame::coding::CloseCode};

use crate::{reader::Socket, rig::Rig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_and_topics_are_counted() {
    let rig = Rig::new().await;
    let server = rig
        .realtime("[limits]\nclients = 3\nclients_per_user = 2")
        .await;
    let (ann, bob) = (rig.user("ann").await, rig.user("bob").await);
    let mut first = Socket::open(&server, &ann).await;
    let _second = Socket::open(&server, &ann).await;
    let (bearer, his) = (ann.bearer(), bob.bearer());
    let open = |bearer: String| {
        let server = &server;
        async move { Socket::try_open(server, &[("authorization", &bearer)]).await }
    };
    assert_eq!(open(bearer.clone()).await.err().map(|r| r.0), Some(429));
    let third = open(his.clone()).await.expect("his first");
    assert_eq!(open(his.clone()).await.err().map(|r| r.0), Some(429));
    drop(third);
    // Soon after it is gone, there is room again.
    while open(his.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..64 {
        first.subscribe(&Topic::Job(JobId::new()), None).await;
    }
    first.subscribe(&Topic::Jobs, None).await;
    // Those of jobs that are not there are refused, and do not count for longer.
    let mut refused = 0;
    loop {
        match first.news().await {
            Message::Problem(refusal) if refusal.problem.code == Code::NotFound => refused += 1,
            Message::Snapshot(snapshot) => {
                assert_eq!(snapshot.topic, Topic::Jobs);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 64);
    let topics: Vec<_> = (0..65).map(|n| format!("topic=cluster/c{n}")).collect();
    let path = format!("/rt/v1/events?{}", topics.join("&"));
    let answer = server.client_of(&bob).get::<serde_json::Value>(&path).await;
    assert!(
        answer
            .expect_err("too many")
            .to_string()
            .contains("64 topics")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_small_and_text() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let mut socket = Socket::open(&server, &ann).await;
    for text in [
        "",
        "{}",
        "[1]",
        "\"jobs\"",
        r#"{"type":"subscribe","topic":"everything"}"#,
    ] {
        socket.say(text).await;
        let Message::Problem(refusal) = socket.news().await else {
            panic!("{text} is no command");
        };
        assert_eq!(refusal.problem.code, Code::Malformed, "{text}");
    }
    // It goes on.
    socket.subscribe(&Topic::Jobs, None).await;
    socket.snapshot().await;
    socket.say("x".repeat(5_000)).await;
    assert_eq!(socket.goodbye().await, Some(CloseCode::Size));
    let mut socket = Socket::open(&server, &ann).await;
    let binary = Ws::Binary(bytes::Bytes::from_static(b"{}"));
    socket.ws.send(binary).await.expect("sent");
    assert_eq!(socket.goodbye().await, Some(CloseCode::Unsupported));
    // Not as WebSockets are: a frame without a mask, a reserved bit, noise.
    for bytes in [&b"\x81\x02{}"[..], b"\xf1\x80\0\0\0\0", &[0xff; 64]] {
        let mut socket = Socket::open(&server, &ann).await;
        socket.ws.get_mut().write_all(bytes).await.expect("written");
        assert_eq!(
            socket.goodbye().await,
            Some(CloseCode::Protocol),
            "{bytes:?}"
        );
    }
}

/// One reader takes nothing while very much happens: others hear all of it, and it finds the present.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_a_snapshot_and_delays_nobody() {
    let rig = Rig::new().await;
    let server = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let _link = rig.world.linked().await;
    let (mut slow, mut quick) = (
        Socket::open(&server, &ann).await,
        Socket::open(&server, &ann).await,
    );
    for socket in [&mut slow, &mut quick] {
        socket.subscribe(&Topic::Jobs, None).await;
        socket.snapshot().await;
    }
    let before = server.daemon.memory().expect("it runs").rss;
    // Told again and again, with long names: more than the system's buffers between us take.
    let long = "n".repeat(20_000);
    let jobs: Vec<_> = (0..600)
        .map(|_| (ann.caller.user, long.clone(), 0))
        .collect();
    rig.world.bulk(&jobs).await;
    let mut told = 0;
    for _ in 0..3 {
        told += rig.tell_all(&ann).await;
    }
    let last = rig.submit(&ann, "last").await;
    let mut heard = 0;
    loop {
        match quick.news().await {
            Message::Delta(delta) if delta.item.key == last.to_string() => break,
            Message::Delta(_) => heard += 1,
            Message::Snapshot(snapshot) => {
                // On a busy machine even the quick one may fall behind; then the present is in here.
                if snapshot
                    .items
                    .iter()
                    .any(|item| item.key == last.to_string())
                {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{told} rows told, the quick reader heard {heard} before the last");
    let grown = server
        .daemon
        .memory()
        .expect("it runs")
        .rss
        .saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "{grown} bytes more for one that does not read"
    );
    let mut snapshots = 0;
    loop {
        let (items, whole) = match slow.news().await {
            Message::Delta(delta) => (vec![delta.item], false),
            Message::Snapshot(snapshot) => (snapshot.items, true),
            other => panic!("{other:?}"),
        };
        snapshots += u32::from(whole);
        let is_last = |item: &forebay_wire::feed::Item| matches!(&item.object, Object::Job(Some(job)) if job.id == last);
        if items.iter().any(is_last) {
            break;
        }
    }
    assert!(snapshots >= 1, "it was too slow and began anew");
}
