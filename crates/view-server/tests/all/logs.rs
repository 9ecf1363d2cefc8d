//! Logs through the tunnel, from an agent that is not one.

use std::{sync::atomic::Ordering, time::Duration};

use forebay_http::{Code, Problem};
use forebay_service::Tasks;
use forebay_wire::{
    JobId, JobState,
    api::{LogItem, LogStream},
    link::Report,
};
use futures_util::StreamExt as _;
use http::Method;

use crate::{
    fake_agent::{files, serve},
    server::{Agent, Server, problem},
    stream::Sse,
    work::{ended, released, started},
};

async fn get(
    client: &forebay_http::Client,
    path: &str,
    range: Option<&str>,
) -> Result<(u16, String, Vec<(String, String)>), Problem> {
    let mut call = client.call(Method::GET, path);
    if let Some(range) = range {
        call = call.header("range", range).expect("a header");
    }
    match call.send().await {
        Ok(answer) => {
            let headers = answer.headers.iter();
            let headers = headers.map(|(name, value)| {
                (
                    name.to_string(),
                    value.to_str().unwrap_or_default().to_owned(),
                )
            });
            let headers = headers.collect();
            Ok((
                answer.status.as_u16(),
                String::from_utf8_lossy(&answer.body).into_owned(),
                headers,
            ))
        }
        Err(error) => Err(error.problem().cloned().expect("a problem")),
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

struct Setting {
    server: Server,
    ann: crate::server::Caller,
    agent: Agent,
    job: JobId,
    path: String,
    tasks: Tasks,
}

impl Setting {
    /// A running job whose site has no tunnel yet.
    async fn new() -> Self {
        let server = Server::start().await;
        let ann = server.user("ann").await;
        let mut agent = server.agent().await;
        let job = ann.submit("x").await.id;
        agent.claim(1).await;
        agent.report(vec![released(job), started(job)]).await;
        Self {
            server,
            ann,
            agent,
            job,
            path: format!("/api/v1/jobs/{job}/logs/stdout"),
            tasks: Tasks::new(),
        }
    }

    fn tail(&self, offset: u64, text: &str) -> Report {
        Report::LogTail {
            job: self.job,
            stream: LogStream::Stdout,
            task: None,
            offset,
            text: text.into(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_come_through_the_tunnel() {
    let at = Setting::new().await;
    let client = &at.ann.client;
    assert_eq!(
        get(client, &at.path, None)
            .await
            .expect_err("no tunnel")
            .code,
        Code::Unavailable
    );
    let files = files("0123456789");
    serve(&at.agent, &at.server, files.clone(), &at.tasks).await;

    let (status, body, headers) = get(client, &at.path, None).await.expect("the log");
    assert_eq!((status, body.as_str()), (200, "0123456789"));
    assert_eq!(
        header(&headers, "content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(header(&headers, "forebay-log-size"), Some("10"));
    assert_eq!(header(&headers, "x-content-type-options"), Some("nosniff"));
    let (status, body, headers) = get(client, &at.path, Some("bytes=2-4"))
        .await
        .expect("a piece");
    assert_eq!((status, body.as_str()), (206, "234"));
    assert_eq!(header(&headers, "content-range"), Some("bytes 2-4/10"));
    assert_eq!(
        get(client, &at.path, Some("bytes=-3"))
            .await
            .expect("the end")
            .1,
        "789"
    );
    assert_eq!(
        get(client, &at.path, Some("bytes=10-"))
            .await
            .expect_err("beyond")
            .code,
        Code::RangeNotSatisfiable
    );
    assert_eq!(
        get(client, &at.path, Some("lines=1-2"))
            .await
            .expect("the whole")
            .0,
        200
    );
    let other = at.path.replace("stdout", "stdlog");
    assert_eq!(
        get(client, &other, None)
            .await
            .expect_err("no such log")
            .code,
        Code::NotFound
    );
    // Before the site has it, a job has printed nothing.
    let young = at.ann.submit("young").await.id;
    let (status, body, _) = get(client, &format!("/api/v1/jobs/{young}/logs/stderr"), None)
        .await
        .expect("nothing yet");
    assert_eq!((status, body.as_str()), (200, ""));

    // A reader that goes away ends the agent's call.
    files.dropped.store(false, Ordering::SeqCst);
    let answer = client
        .call(Method::GET, &at.path)
        .query("task", "9")
        .stream()
        .await
        .expect("a stream");
    let mut pieces = answer.into_bytes();
    assert_eq!(
        pieces.next().await.expect("a piece").expect("bytes").len(),
        10
    );
    assert!(!files.dropped.load(Ordering::SeqCst));
    drop(pieces);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if files.dropped.load(Ordering::SeqCst) {
            break;
        }
    }
    assert!(
        files.dropped.load(Ordering::SeqCst),
        "the agent's call was dropped"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kept_tail_stands_in_for_a_lost_file() {
    let mut at = Setting::new().await;
    let client = at.ann.client.clone();
    let tail = at.tail(100, "the end\n");
    at.agent.report(vec![tail]).await;
    let path = at.path.clone();
    assert_eq!(
        get(&client, &path, None)
            .await
            .expect_err("it still runs")
            .code,
        Code::Unavailable
    );
    let job = at.job;
    at.agent.report(vec![ended(job, JobState::Failed, 1)]).await;
    for away in [true, false] {
        if !away {
            let files = files("x");
            files.there.store(false, Ordering::SeqCst);
            serve(&at.agent, &at.server, files, &at.tasks).await;
        }
        let (status, body, headers) = get(&client, &path, None).await.expect("the tail");
        assert_eq!((status, body.as_str()), (206, "the end\n"));
        assert_eq!(header(&headers, "forebay-log-source"), Some("tail"));
        assert_eq!(header(&headers, "content-range"), Some("bytes 100-107/108"));
        assert_eq!(
            get(&client, &path, Some("bytes=-4"))
                .await
                .expect("its end")
                .1,
            "end\n"
        );
    }
    let stderr = path.replace("stdout", "stderr");
    assert_eq!(
        get(&client, &stderr, None).await.expect_err("no tail").code,
        Code::Unavailable
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_to_its_end() {
    let at = Setting::new().await;
    let files = files("héllo\nworld\n");
    let mut waiting = Sse::open(&at.ann.client, &at.path, None).await;
    serve(&at.agent, &at.server, files.clone(), &at.tasks).await;
    let item = |event: crate::stream::SseEvent| {
        assert_eq!(event.event, "log");
        (
            event.id,
            serde_json::from_str::<LogItem>(&event.data).expect("an item"),
        )
    };
    // Opened before there was a tunnel, and found it.
    let (id, first) = item(waiting.next().await.expect("a piece"));
    assert_eq!(id, "13");
    assert_eq!(
        first,
        LogItem::Text {
            offset: 0,
            next: 13,
            text: "héllo\nworld\n".into()
        }
    );
    let (id, skipped) = item(waiting.next().await.expect("a gap"));
    assert_eq!(
        (id.as_str(), skipped),
        (
            "18",
            LogItem::Skipped {
                offset: 13,
                next: 18
            }
        )
    );
    assert_eq!(
        item(waiting.next().await.expect("the end")).1,
        LogItem::End { offset: 18 }
    );
    assert_eq!(waiting.next().await, None);
    let mut resumed = Sse::open(&at.ann.client, &format!("{}?from=1", at.path), Some("7")).await;
    let (_, piece) = item(resumed.next().await.expect("a piece"));
    assert_eq!(
        piece,
        LogItem::Text {
            offset: 7,
            next: 13,
            text: "world\n".into()
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_a_job_that_ended_out_of_reach_gives_the_tail() {
    let mut at = Setting::new().await;
    let (tail, job) = (at.tail(100, "the end\n"), at.job);
    at.agent
        .report(vec![tail, ended(job, JobState::Succeeded, 0)])
        .await;
    let mut events = Sse::open(&at.ann.client, &format!("{}?from=50", at.path), None).await;
    let mut items = Vec::new();
    while let Some(event) = events.next().await {
        items.push(serde_json::from_str::<LogItem>(&event.data).expect("an item"));
    }
    assert_eq!(
        items,
        [
            LogItem::Skipped {
                offset: 50,
                next: 100
            },
            LogItem::Text {
                offset: 100,
                next: 108,
                text: "the end\n".into()
            },
            LogItem::End { offset: 108 },
        ]
    );
    // Cancelled before a scheduler had it: the end, at once.
    let never = at.ann.submit("never").await.id;
    at.ann
        .client
        .call(Method::POST, &format!("/api/v1/jobs/{never}/cancel"))
        .send()
        .await
        .expect("cancelled");
    let mut events = Sse::open(
        &at.ann.client,
        &format!("/api/v1/jobs/{never}/logs/stdout"),
        None,
    )
    .await;
    let event = events.next().await.expect("the end");
    assert_eq!(
        serde_json::from_str::<LogItem>(&event.data).expect("an item"),
        LogItem::End { offset: 0 }
    );
    assert_eq!(events.next().await, None);
}

/// The newest link's tunnel is used, and calls under way on the older one go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_tunnel_is_used() {
    let at = Setting::new().await;
    serve(&at.agent, &at.server, files("old"), &at.tasks).await;
    assert_eq!(
        get(&at.ann.client, &at.path, None)
            .await
            .expect("the log")
            .1,
        "old"
    );
    let newer = at.agent.again(&at.server).await;
    // The old one goes on until the new one is there.
    assert_eq!(
        get(&at.ann.client, &at.path, None)
            .await
            .expect("the log")
            .1,
        "old"
    );
    serve(&newer, &at.server, files("new"), &at.tasks).await;
    assert_eq!(
        get(&at.ann.client, &at.path, None)
            .await
            .expect("the log")
            .1,
        "new"
    );
    assert_eq!(
        problem(at.agent.call(Method::GET, "/link/v1/tunnel").send().await).code,
        Code::Superseded
    );
}

/// A site that may not speak to us any more is not asked either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_sites_tunnel_is_not_used() {
    let at = Setting::new().await;
    serve(&at.agent, &at.server, files("text"), &at.tasks).await;
    assert_eq!(
        get(&at.ann.client, &at.path, None)
            .await
            .expect("the log")
            .1,
        "text"
    );
    let site = "here".parse().expect("a name");
    let operator = crate::server::operator();
    at.server
        .store
        .site_revoke(&site, None, &operator)
        .await
        .expect("revoked");
    assert_eq!(
        problem(at.agent.try_claim(1).await).code,
        Code::Unauthenticated
    );
    for _ in 0..80 {
        if get(&at.ann.client, &at.path, None).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the tunnel is still used");
}
