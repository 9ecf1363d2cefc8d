//! `GET /rt/v1/events`: the event stream.

use std::time::Duration;

use forebay_central::feeds::Source;
use forebay_http::{
    Code, Problem, Request, Response,
    sse::{self, Event},
};
use forebay_wire::feed::{HEARTBEAT_S, Topic};
use futures_util::stream;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    auth,
    client::{Client, Out, TOPICS_MAX, refusal},
    realtime::{Realtime, told},
    seats::Seat,
    socket::cursor,
};

const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_S);

/// What it takes.
#[derive(Debug, Deserialize)]
struct Query {
    /// The topics, at least one.
    #[serde(default)]
    topic: Vec<String>,
    /// Where an earlier stream of these topics broke off.
    after: Option<String>,
}

pub(crate) async fn events(realtime: Realtime, request: Request) -> Result<Response, Problem> {
    let caller = auth::caller(&realtime, &request).await?;
    let query: Query = request.query()?;
    let topics = topics(&query.topic)?;
    let after = request.header("last-event-id").map(str::trim);
    let after = after.or(query.after.as_deref()).map(cursor).transpose()?;
    let sources: Vec<_> = topics
        .iter()
        .map(|topic| Source::of(topic, caller.user))
        .collect();
    // What one may not read is a problem, and not a stream.
    let readable = realtime.store().may_read(&sources).await.map_err(told)?;
    if let Some((topic, _)) = topics.iter().zip(readable).find(|(_, may)| !may) {
        let what = match topic {
            Topic::Cluster(_) => "cluster",
            _ => "job",
        };
        return Err(Problem::not_found(what).with_detail("topic", topic.to_string()));
    }
    let seat = realtime.seats().take(caller)?;
    let mut client = Client::new(&realtime, seat.user());
    for topic in &topics {
        client.subscribe(topic, after)?;
    }
    let stream = Stream {
        client,
        seat,
        said: Instant::now(),
        ended: false,
    };
    let events = stream::unfold(stream, |mut stream| async move {
        Some((stream.next().await?, stream))
    });
    // Our own heartbeats come sooner than the stream's.
    Ok(sse::reply(
        events,
        realtime.tasks().stopping(),
        2 * HEARTBEAT,
    ))
}

fn topics(given: &[String]) -> Result<Vec<Topic>, Problem> {
    if given.is_empty() {
        return Err(Problem::invalid(
            "topic",
            "At least one topic is needed, such as topic=jobs.",
        ));
    }
    if given.len() > TOPICS_MAX {
        return Err(Problem::new(
            Code::Busy,
            format!("A stream has at most {TOPICS_MAX} topics."),
        ));
    }
    let parse = |text: &String| {
        text.parse()
            .map_err(|error: forebay_wire::feed::UnknownTopic| {
                Problem::invalid("topic", error.to_string())
            })
    };
    given.iter().map(parse).collect()
}

struct Stream {
    client: Client,
    seat: Seat,
    said: Instant,
    ended: bool,
}

impl Stream {
    /// The next event; none when the credentials are no longer good.
    async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let ended = self.seat.ended().clone();
        let out = loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => {
                    self.ended = true;
                    let message = "The credentials are no longer good. Sign in again.";
                    break refusal(None, Problem::new(Code::Unauthenticated, message))?;
                }
                out = self.client.next() => break out,
                () = sleep_until(self.said + HEARTBEAT) => {
                    if let Some(out) = self.client.heartbeat() {
                        break out;
                    }
                    self.said = Instant::now();
                }
            }
        };
        self.said = Instant::now();
        Some(event(&out))
    }
}

fn event(out: &Out) -> Event {
    Event {
        id: out.cursor.map(|cursor| cursor.to_string()),
        event: Some(out.kind.to_owned()),
        data: out.text.to_string(),
    }
}
