//! Events and logs: whole, in ranges, and as they come.

use std::{io, ops::Range, time::Duration};

use bytes::Bytes;
use forebay_http::{Problem, Request, Response, reply, sse};
use forebay_wire::{
    Code,
    api::{EventKind, JobEvent, LogItem, Page},
};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde::Deserialize;

use super::{
    objects::status,
    routes::{Answer, Shared},
};

#[derive(Deserialize)]
struct EventsQuery {
    after: Option<i64>,
    limit: Option<usize>,
}

pub(super) async fn events(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    let query: EventsQuery = request.query()?;
    let job = state.job(&request)?;
    let after = query.after.unwrap_or(0);
    let events: Vec<JobEvent> = job
        .events
        .iter()
        .filter(|event| event.seq > after)
        .cloned()
        .collect();
    if !wants_stream(&request) {
        let limit = query.limit.unwrap_or(50);
        let next = (events.len() > limit).then(|| "more".to_owned());
        let items = events.into_iter().take(limit).collect();
        return Ok(state.answer(StatusCode::OK, &Page { items, next }));
    }
    let id = job.job.id;
    let ends = job.end.is_some();
    let shared = state.clone();
    let items = events.into_iter().map(move |event| {
        if let (EventKind::State { state: now }, Some(end)) = (event.kind, &job.end) {
            shared.update(id, |known| {
                known.job.status = if now.is_end() {
                    end.clone()
                } else {
                    status(now)
                };
            });
        }
        sse::Event::json("event", &event)
            .expect("JSON")
            .with_id(event.seq.to_string())
    });
    Ok(paced(&state, items, ends))
}

#[derive(Deserialize)]
struct LogsQuery {
    from: Option<u64>,
    task: Option<u32>,
}

pub(super) async fn logs(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    let query: LogsQuery = request.query()?;
    let job = state.job(&request)?;
    let mut file = match request.param_text("stream") {
        Some("stdout") => job.stdout,
        Some("stderr") => job.stderr,
        _ => return Err(Problem::not_found("log")),
    };
    if let Some(task) = query.task {
        file = format!("task {task}\n").into_bytes();
    }
    if wants_stream(&request) {
        let from = usize::try_from(query.from.unwrap_or(0)).expect("small");
        return Ok(follow(&state, &file, from));
    }
    let length = file.len();
    let range = request.header("range").map(|range| range_of(range, length));
    let outside = || Problem::new(Code::RangeNotSatisfiable, "There is nothing in that range.");
    let (mut status, mut range) = match range {
        None => (StatusCode::OK, 0..length),
        Some(Some(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(None) => return Err(outside()),
    };
    if let Some(kept) = state.lock().kept {
        // What is kept of what was asked for, also unasked as a range.
        range.start = range.start.max(length - kept);
        status = StatusCode::PARTIAL_CONTENT;
        if range.is_empty() {
            return Err(outside());
        }
    }
    let bytes = Bytes::copy_from_slice(&file[range.clone()]);
    let cut = state
        .lock()
        .byte_cuts
        .pop_front()
        .filter(|cut| *cut < bytes.len());
    let mut response = match cut {
        Some(cut) => broken(bytes.slice(..cut)),
        None => reply::bytes(status, "text/plain", bytes),
    };
    *response.status_mut() = status;
    let header = format!(
        "bytes {}-{}/{length}",
        range.start,
        range.end.saturating_sub(1)
    );
    if status == StatusCode::PARTIAL_CONTENT {
        response
            .headers_mut()
            .insert("content-range", header.parse().expect("a header"));
    }
    Ok(response)
}

/// `bytes=5-`, `bytes=5-9` and `bytes=-5`, as RFC 9110 has them.
fn range_of(header: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..(last + 1).min(length),
        (Ok(first), Err(_)) => first..length,
        (Err(_), Ok(last)) => length.saturating_sub(last)..length,
        (Err(_), Err(_)) => return None,
    };
    (range.start < range.end).then_some(range)
}

/// A log in small pieces of whole characters, some of them as gaps, and its end.
fn follow(state: &Shared, file: &[u8], from: usize) -> Response {
    let skip_each = state.lock().skip_each;
    let kept = state.lock().kept;
    let mut items = Vec::new();
    let mut at = from.max(kept.map_or(0, |kept| file.len() - kept));
    if at > from {
        let (offset, next) = (from as u64, at as u64);
        items.push(LogItem::Skipped { offset, next });
    }
    while at < file.len() {
        let mut end = (at + 7).min(file.len());
        // Whole characters, as the server promises; bytes that are none go as they are.
        while end < file.len() && file[end] & 0xc0 == 0x80 {
            end += 1;
        }
        let (offset, next) = (at as u64, end as u64);
        let text = String::from_utf8_lossy(&file[at..end]).into_owned();
        items.push(match skip_each {
            Some(each) if items.len() % each == each - 1 => LogItem::Skipped { offset, next },
            _ => LogItem::Text { offset, next, text },
        });
        at = end;
    }
    items.push(LogItem::End {
        offset: file.len() as u64,
    });
    let event = |item: LogItem| sse::Event::json("log", &item).expect("JSON");
    paced(state, items.into_iter().map(event), true)
}

/// Events one after another. Breaks off where the test says; stays open when
/// there is no end.
fn paced(
    state: &Shared,
    events: impl Iterator<Item = sse::Event> + Send + 'static,
    ends: bool,
) -> Response {
    let cut = state.lock().cuts.pop_front();
    // What is not sent has not happened: events are made only when it is their turn.
    let pieces = events.take(cut.unwrap_or(usize::MAX)).map(|event| {
        let id = event.id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        let kind = event.event.unwrap_or_default();
        Ok(Bytes::from(format!(
            "event: {kind}\n{id}data: {}\n\n",
            event.data
        )))
    });
    let break_off = cut.map(|_| Err(io::Error::other("cut for the test")));
    let pieces = stream::iter(pieces.chain(break_off)).then(|piece| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        piece
    });
    let rest = if ends {
        stream::empty().boxed()
    } else {
        stream::pending().boxed()
    };
    reply::stream(StatusCode::OK, "text/event-stream", pieces.chain(rest))
}

/// An answer that breaks off behind `bytes`.
pub(super) fn broken(bytes: Bytes) -> Response {
    let pieces = [Ok(bytes), Err(io::Error::other("broken for the test"))];
    let pieces = stream::iter(pieces).then(|piece| async {
        tokio::time::sleep(Duration::from_millis(5)).await;
        piece
    });
    reply::stream(StatusCode::OK, "application/octet-stream", pieces)
}

fn wants_stream(request: &Request) -> bool {
    request.header("accept") == Some("text/event-stream")
}
