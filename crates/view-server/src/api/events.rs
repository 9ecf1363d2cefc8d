//! The steps of a job's life, as a page or as they happen.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use forebay_central::Caller;
use forebay_http::{
    Problem, Request, Response, reply,
    sse::{self, Event},
};
use forebay_postgres::doorbell::Bell;
use forebay_service::logs;
use forebay_wire::{
    JobId, JobState,
    api::{JobEvent, Page},
};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{limit, resume_from, wants_events};
use crate::view::{View, told};

/// Without the doorbell, look this often.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How often a stream's caller is asked for again: rights may end.
pub(super) const RIGHTS: Duration = Duration::from_secs(5);
/// Events in one read of a stream.
const READ: u32 = 200;

/// What `GET /api/v1/jobs/{id}/events` takes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Only events after this number; 0 if left out.
    after: Option<i64>,
    /// At most so many, 1 to 200; 50 if left out. Not for a stream.
    limit: Option<u32>,
}

/// The steps of a job's life.
///
/// With `Accept: text/event-stream` each is sent as it happens, as an `event` whose id is its number, until the job has
/// ended.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/events", tag = "jobs", operation_id = "list_job_events",
    params(
        ("id" = JobId, Path, description = "The job's id."), EventsQuery,
        ("Last-Event-ID" = Option<i64>, Header, description = "Of a stream: where it broke off, instead of `after`."),
    ),
    responses(
        (status = 200, content((Page<JobEvent> = "application/json"), (JobEvent = "text/event-stream"))),
        (status = "default", body = Problem),
    ),
)]
pub(super) async fn events(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    let id: JobId = request.param("id", "job")?;
    let query: EventsQuery = request.query()?;
    let streamed = wants_events(&request);
    let after = if streamed {
        resume_from(&request, query.after)?
    } else {
        query.after
    };
    let after = after.unwrap_or(0);
    if after < 0 {
        return Err(Problem::invalid("after", "Must not be negative."));
    }
    if streamed {
        let feed = Feed::begin(&view, caller, id, after).await?;
        let events = stream::unfold(
            feed,
            |mut feed| async move { Some((feed.next().await?, feed)) },
        );
        return Ok(sse::reply(events, view.tasks().stopping(), sse::HEARTBEAT));
    }
    let limit = limit(query.limit)?;
    let events = view
        .store()
        .job_events(&caller, id, after, limit)
        .await
        .map_err(told)?;
    let next = events
        .items
        .last()
        .filter(|_| events.more)
        .map(|event| event.seq.to_string());
    Ok(reply::ok(&Page {
        items: events.items,
        next,
    }))
}

/// The events of one job for one subscriber.
struct Feed {
    view: View,
    caller: Caller,
    id: JobId,
    after: i64,
    bell: Bell,
    read: VecDeque<JobEvent>,
    state: JobState,
    asked: Instant,
}

impl Feed {
    /// Reads once, so that a job that is not there is a problem and not a stream.
    async fn begin(view: &View, caller: Caller, id: JobId, after: i64) -> Result<Self, Problem> {
        // Before the read: what rings during it is seen.
        let bell = view.store().bell();
        let events = view
            .store()
            .job_events(&caller, id, after, READ)
            .await
            .map_err(told)?;
        Ok(Self {
            view: view.clone(),
            caller,
            id,
            after,
            bell,
            read: events.items.into(),
            state: events.state,
            asked: Instant::now(),
        })
    }

    /// The next event; none when the job has ended and all was sent, or the
    /// caller may no longer see it.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = event.seq;
                match Event::json("event", &event) {
                    Ok(line) => return Some(line.with_id(event.seq.to_string())),
                    Err(error) => tracing::error!(%error, "an event cannot be written as JSON"),
                }
                continue;
            }
            if self.asked.elapsed() >= RIGHTS {
                match self.view.store().still_good(&self.caller).await {
                    Ok(true) => self.asked = Instant::now(),
                    Ok(false) => return None,
                    // Nothing can be read either: wait for the database.
                    Err(error) => {
                        tracing::warn!(error = logs::chain(&error), "rights could not be checked");
                    }
                }
            }
            let ended = self.state.is_end();
            if !ended {
                self.bell.wait(LOOK).await;
            }
            match self
                .view
                .store()
                .job_events(&self.caller, self.id, self.after, READ)
                .await
            {
                // Twice an end and nothing new: the first read may have come between.
                Ok(events) if ended && events.items.is_empty() => return None,
                Ok(events) => {
                    self.state = events.state;
                    self.read.extend(events.items);
                }
                Err(forebay_central::Error::NotFound(_)) => return None,
                Err(error) => {
                    tracing::warn!(error = logs::chain(&error), "events could not be read");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}
