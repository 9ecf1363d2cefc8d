//! Server-sent events, with a heartbeat and an end.

use crate::reply::{Response, Shared};
use forebay_service::CancellationToken;
use futures_util::{Stream, StreamExt as _};
use http::header::HeaderValue;
use serde::Serialize;
use std::{convert::Infallible, time::Duration};
use warp::Reply as _;

/// The pause after which a comment shows that the connection lives.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Where to resume: a browser sends the last one back as `Last-Event-ID`.
    pub id: Option<String>,
    /// Its kind; without one, a browser calls it `message`.
    pub event: Option<String>,
    /// What it says; several lines are allowed.
    pub data: String,
}

impl Event {
    /// An event of a kind, with JSON. The error says that `data` cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(event: &str, data: &T) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: None,
            event: Some(event.to_owned()),
            data: serde_json::to_string(data)?,
        })
    }

    /// With the place to resume from.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }
}

impl From<Event> for warp::sse::Event {
    fn from(event: Event) -> Self {
        // A carriage return ends a line too, which warp does not know; a line end in a kind or an
        // id would begin another field.
        let data = event.data.replace("\r\n", "\n").replace('\r', "\n");
        let one_line = |text: String| text.replace(['\r', '\n', '\0'], " ");
        let mut out = Self::default().data(data);
        if let Some(id) = event.id {
            out = out.id(one_line(id));
        }
        if let Some(kind) = event.event {
            out = out.event(one_line(kind));
        }
        out
    }
}

/// Send `events` as they come, a comment each `heartbeat` without any (see [`HEARTBEAT`]), until
/// they end or `stop` is cancelled: give it the token of the service, so that a drain ends it.
pub fn reply<S>(events: S, stop: CancellationToken, heartbeat: Duration) -> Response
where
    S: Stream<Item = Event> + Send + 'static,
{
    let events = events
        .take_until(stop.cancelled_owned())
        .map(|event| Ok::<_, Infallible>(event.into()));
    let events = warp::sse::keep_alive().interval(heartbeat).stream(events);
    let events = Shared::new(futures_util::TryStreamExt::into_stream(events));
    let mut response = warp::sse::reply(events).into_response();
    // Proxies that collect answers would hold events back.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
