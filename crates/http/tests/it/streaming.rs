//! Event streams and JSON lines.

use super::{Site, read_to_end, read_until, short, table};
use forebay_http::{
    Limits, Problem, Request, Response, ndjson, reply,
    routes::{Access, Route, Table},
    sse::{self, Event},
};
use forebay_service::Tasks;
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use std::time::{Duration, Instant};
use tokio::{io::AsyncWriteExt as _, time::sleep};

/// Three events, then silence.
fn events(stop: forebay_service::CancellationToken) -> Response {
    let first = stream::iter([
        Event::json("job", &serde_json::json!({"text": "two\nlines\rand more"}))
            .unwrap()
            .with_id("1.2.3"),
        Event {
            data: "a\r\nb\rc\nd".to_owned(),
            ..Event::default()
        },
        Event {
            id: Some("x\nevent: forged".to_owned()),
            event: Some("k\rdata: forged".to_owned()),
            data: String::new(),
        },
    ]);
    sse::reply(first.chain(stream::pending()), stop, short(50))
}

#[tokio::test]
async fn events_heartbeat_and_the_end_at_the_drain() {
    let tasks = Tasks::new();
    let mut routes = Table::new();
    routes.add(Route::with(
        &tasks,
        Method::GET,
        "/events",
        Access::Public,
        |tasks: Tasks, _request| async move { Ok::<_, Problem>(events(tasks.stopping())) },
    ));
    let listener = forebay_http::Listener::tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let addr = listener.tcp_address().unwrap();
    tasks.spawn(
        "http",
        forebay_http::serve(listener, routes, Limits::default(), tasks.clone()),
    );
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = read_until(&mut stream, "\n:\n").await;
    assert!(
        answer.contains("content-type: text/event-stream"),
        "{answer}"
    );
    assert!(answer.contains("x-accel-buffering: no"), "{answer}");
    let text = answer.replace("\r\n", "\n");
    assert!(
        text.contains("event:job\ndata:{\"text\":\"two\\nlines\\rand more\"}\nid:1.2.3\n\n"),
        "{text}"
    );
    assert!(
        text.contains("data:a\ndata:b\ndata:c\ndata:d\n\n"),
        "{text}"
    );
    assert!(
        text.contains("event:k data: forged\ndata:\nid:x event: forged\n\n"),
        "{text}"
    );

    let started = Instant::now();
    tasks.drain(Duration::from_secs(10)).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    let rest = read_to_end(&mut stream).await;
    assert!(rest.ends_with("0\r\n\r\n"), "a proper end: {rest:?}");
}

#[tokio::test]
async fn json_lines_arrive_as_they_are_written() {
    let lines = |_request: Request| async {
        let items = stream::unfold(0, |n| async move {
            sleep(short(if n == 2 { 120 } else { 0 })).await;
            (n < 4).then_some((n, n + 1))
        });
        Ok(ndjson::reply(
            items,
            forebay_service::CancellationToken::new(),
            short(50),
        ))
    };
    let site = Site::start(table([(Method::GET, "/feed", lines)]), Limits::default()).await;
    let answer = site
        .client()
        .call(Method::GET, "/feed")
        .stream()
        .await
        .unwrap();
    assert_eq!(answer.header("content-type"), Some(ndjson::CONTENT_TYPE));
    let mut reader = answer.lines(1000, Duration::from_secs(5));
    let (mut items, mut heartbeats) = (Vec::new(), 0);
    while let Some(line) = reader.next::<u32>().await.unwrap() {
        match line {
            ndjson::Line::Item(item) => items.push(item),
            ndjson::Line::Heartbeat => heartbeats += 1,
        }
    }
    assert_eq!(items, [0, 1, 2, 3]);
    assert!(heartbeats >= 1);
    site.drain().await;
}

#[tokio::test]
async fn a_feed_that_breaks_or_falls_silent_is_told() {
    let silent = |_request: Request| async {
        Ok(reply::stream(
            StatusCode::OK,
            ndjson::CONTENT_TYPE,
            stream::iter([Ok("1\n2".into())]).chain(stream::pending()),
        ))
    };
    let limits = Limits {
        drain_deadline: short(100),
        ..Limits::default()
    };
    let site = Site::start(table([(Method::GET, "/feed", silent)]), limits).await;
    let open = || async {
        site.client()
            .call(Method::GET, "/feed")
            .stream()
            .await
            .unwrap()
    };
    let mut reader = open().await.lines(1000, short(50));
    assert_eq!(
        reader.next::<u32>().await.unwrap(),
        Some(ndjson::Line::Item(1))
    );
    assert!(matches!(
        reader.next::<u32>().await,
        Err(ndjson::LineError::Silent(_))
    ));
    let mut reader = open().await.lines(1000, Duration::from_secs(10));
    assert_eq!(
        reader.next::<u32>().await.unwrap(),
        Some(ndjson::Line::Item(1))
    );
    // The server goes away in the middle of a line.
    let (broken, drained) = tokio::join!(
        reader.next::<u32>(),
        site.tasks.drain(Duration::from_secs(5))
    );
    assert!(
        matches!(broken, Err(ndjson::LineError::Broken(_))),
        "{broken:?}"
    );
    drained.unwrap();
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_stream() {
    let dropped = std::sync::Arc::new(());
    let held = dropped.clone();
    let endless = move |_request: Request| {
        let held = held.clone();
        async move {
            let items = stream::unfold(held, |held| async move {
                sleep(short(5)).await;
                Some((1, held))
            });
            Ok(ndjson::reply(
                items,
                forebay_service::CancellationToken::new(),
                short(50),
            ))
        }
    };
    let site = Site::start(table([(Method::GET, "/feed", endless)]), Limits::default()).await;
    let mut reader = site
        .client()
        .call(Method::GET, "/feed")
        .stream()
        .await
        .unwrap()
        .lines(1000, short(1000));
    reader.next::<u32>().await.unwrap();
    assert_eq!(std::sync::Arc::strong_count(&dropped), 3);
    drop(reader);
    super::until("the stream is dropped", || {
        std::sync::Arc::strong_count(&dropped) == 2
    })
    .await;
    site.drain().await;
}
