//! An agent that is not one: it serves one log through the tunnel.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use forebay_http::{
    Code, Limits, Problem, Request, Response, link, ndjson, reply,
    routes::{Access, Route, Table},
};
use forebay_service::{CancellationToken, Tasks};
use forebay_streams::range::ByteRange;
use forebay_wire::{
    api::LogItem,
    link::{EPOCH_HEADER, UPGRADE},
};
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};
use serde::Deserialize;

use crate::server::{Agent, Server};

/// What the fake agent has: one log, and a notice when a call of it was dropped.
#[derive(Clone)]
pub(crate) struct Files {
    log: Arc<Vec<u8>>,
    pub(crate) there: Arc<AtomicBool>,
    pub(crate) dropped: Arc<AtomicBool>,
}

struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[derive(Deserialize)]
struct ReadQuery {
    task: Option<u32>,
    from: Option<u64>,
}

async fn read(files: Files, request: Request) -> Result<Response, Problem> {
    let query: ReadQuery = request.query()?;
    if !files.there.load(Ordering::SeqCst) {
        return Err(Problem::not_found("log"));
    }
    let total = files.log.len() as u64;
    let range: Option<ByteRange> = request.header("range").and_then(|range| range.parse().ok());
    let resolved = range.map(|range| range.resolve(total)).transpose();
    let resolved = resolved.map_err(|_| Problem::new(Code::RangeNotSatisfiable, "outside"))?;
    let (status, part) = match resolved {
        Some(part) => (
            StatusCode::PARTIAL_CONTENT,
            part.start..part.start + part.length,
        ),
        None => (StatusCode::OK, 0..total),
    };
    let bytes = files.log[index(part.start)..index(part.end)].to_vec();
    let held = Dropped(files.dropped.clone());
    // Endless behind the last byte for task 9: only a dropped call ends it.
    let endless = query.task == Some(9);
    let pieces: Vec<_> = bytes.chunks(10_000).map(Bytes::copy_from_slice).collect();
    let body = stream::iter(pieces)
        .map(Ok)
        .chain(stream::unfold(held, move |held| async move {
            if endless {
                std::future::pending::<()>().await;
            }
            drop(held);
            None
        }));
    let mut response = reply::stream(status, "application/octet-stream", body);
    response
        .headers_mut()
        .insert("forebay-log-size", total.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{total}", part.start, part.end - 1);
        response
            .headers_mut()
            .insert("content-range", text.parse().expect("a header"));
    }
    Ok(response)
}

async fn follow(files: Files, request: Request) -> Result<Response, Problem> {
    let query: ReadQuery = request.query()?;
    let from = query.from.unwrap_or(0);
    let text = String::from_utf8_lossy(&files.log[index(from)..]).into_owned();
    let total = files.log.len() as u64;
    let items = stream::iter([
        LogItem::Text {
            offset: from,
            next: total,
            text,
        },
        LogItem::Skipped {
            offset: total,
            next: total + 5,
        },
        LogItem::End { offset: total + 5 },
    ]);
    let items = items.then(|item| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        item
    });
    Ok(ndjson::reply(
        items,
        CancellationToken::new(),
        Duration::from_secs(5),
    ))
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a small log")
}

/// Dials the tunnel and serves the files on it until `tasks` stop.
pub(crate) async fn serve(agent: &Agent, server: &Server, files: Files, tasks: &Tasks) {
    let mut table = Table::new();
    let rule = Access::Rule("tunnel");
    table.add(Route::with(
        &files,
        Method::GET,
        "/v1/jobs/{id}/logs/{stream}",
        rule,
        read,
    ));
    table.add(Route::with(
        &files,
        Method::GET,
        "/v1/jobs/{id}/logs/{stream}/follow",
        rule,
        follow,
    ));
    // By hand: the client's upgrade sends no header of ours.
    let io = dial(agent, server).await;
    let (limits, stop) = (Limits::default(), tasks.clone());
    drop(tasks.spawn("fake agent", link::serve(io, table, limits, stop)));
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn dial(
    agent: &Agent,
    server: &Server,
) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = server.base.strip_prefix("http://").expect("an address");
    let mut io = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let head = format!(
        "GET /link/v1/tunnel HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: {UPGRADE}\r\n\
         authorization: Bearer {}\r\n{EPOCH_HEADER}: {}\r\n\r\n",
        agent.session.token, agent.session.epoch
    );
    io.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(io.read_u8().await.expect("an answer"));
    }
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    io
}

pub(crate) fn files(text: &str) -> Files {
    Files {
        log: Arc::new(text.as_bytes().to_vec()),
        there: Arc::new(AtomicBool::new(true)),
        dropped: Arc::new(AtomicBool::new(false)),
    }
}
