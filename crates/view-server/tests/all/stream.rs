//! Server-sent events, as a browser reads them; and events of jobs through them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_http::Client;
use forebay_wire::{
    JobState,
    api::{EventKind, JobEvent},
};
use futures_util::{Stream, StreamExt as _};
use http::Method;

use crate::{
    server::{Server, operator},
    work::{ended, released, started},
};

/// An event stream, read event by event.
pub(crate) struct Sse {
    pieces: Box<dyn Stream<Item = std::io::Result<Bytes>> + Send + Unpin>,
    text: String,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct SseEvent {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Sse {
    pub(crate) async fn open(client: &Client, path: &str, last: Option<&str>) -> Self {
        let mut call = client
            .call(Method::GET, path)
            .header("accept", "text/event-stream")
            .expect("a header");
        if let Some(last) = last {
            call = call.header("last-event-id", last).expect("a header");
        }
        let answer = call.stream().await.expect("a stream");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        Self {
            pieces: Box::new(answer.into_bytes()),
            text: String::new(),
        }
    }

    /// The next event; none at the end. Comments are passed over.
    pub(crate) async fn next(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let mut event = SseEvent::default();
                for line in block.lines() {
                    match line.split_once(':') {
                        Some(("id", value)) => event.id = value.trim_start().into(),
                        Some(("event", value)) => event.event = value.trim_start().into(),
                        Some(("data", value)) => event.data.push_str(value.trim_start()),
                        _ => {}
                    }
                }
                if !event.data.is_empty() {
                    return Some(event);
                }
            }
            let piece = tokio::time::timeout(Duration::from_secs(20), self.pieces.next()).await;
            match piece.expect("something within 20 s") {
                Some(Ok(piece)) => self
                    .text
                    .push_str(std::str::from_utf8(&piece).expect("text")),
                Some(Err(error)) => panic!("the stream broke: {error}"),
                None => return None,
            }
        }
    }

    async fn state(&mut self) -> Option<(String, JobState)> {
        let event = self.next().await?;
        assert_eq!(event.event, "event");
        let told: JobEvent = serde_json::from_str(&event.data).expect("an event");
        match told.kind {
            EventKind::State { state } => Some((event.id, state)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_as_they_happen_until_the_end() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let mut agent = server.agent().await;
    let job = ann.submit("x").await.id;
    let path = format!("/api/v1/jobs/{job}/events");
    let mut events = Sse::open(&ann.client, &path, None).await;
    assert_eq!(events.state().await, Some(("1".into(), JobState::Queued)));
    let mut slowest = Duration::ZERO;
    for (seq, want) in [
        (2, JobState::Submitting),
        (3, JobState::Pending),
        (4, JobState::Running),
    ] {
        let began = Instant::now();
        match want {
            JobState::Submitting => drop(agent.claim(1).await),
            JobState::Pending => agent.report(vec![released(job)]).await,
            _ => agent.report(vec![started(job)]).await,
        }
        assert_eq!(events.state().await, Some((seq.to_string(), want)));
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    println!("slowest event, from before the call that causes it: {slowest:?}");
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
    // Resumed where it broke off, from the header or the query.
    let mut again = Sse::open(&ann.client, &path, Some("2")).await;
    assert_eq!(again.state().await, Some(("3".into(), JobState::Pending)));
    let mut query = Sse::open(&ann.client, &format!("{path}?after=3"), None).await;
    assert_eq!(query.state().await, Some(("4".into(), JobState::Running)));
    agent.report(vec![ended(job, JobState::Succeeded, 0)]).await;
    for events in [&mut events, &mut query] {
        assert_eq!(
            events.state().await,
            Some(("5".into(), JobState::Succeeded))
        );
        assert_eq!(events.next().await, None, "it ends with the job");
    }
    // Of a job that has ended: all of it, and the end.
    let mut late = Sse::open(&ann.client, &path, None).await;
    let mut count = 0;
    while late.next().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_the_right_to_it() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let _agent = server.agent().await;
    let job = ann.submit("x").await.id;
    let mut events = Sse::open(&ann.client, &format!("/api/v1/jobs/{job}/events"), None).await;
    assert_eq!(events.state().await, Some(("1".into(), JobState::Queued)));
    server
        .store
        .user_disable("ann", &operator())
        .await
        .expect("disabled");
    let began = Instant::now();
    assert_eq!(events.next().await, None);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}
