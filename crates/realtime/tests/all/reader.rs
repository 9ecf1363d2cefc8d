//! Readers: over a WebSocket, and over an event stream as browsers read them.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use forebay_wire::feed::{Command, Delta, Message, Object, Snapshot, Topic};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use http::Method;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error as WsError, Message as Ws,
        client::IntoClientRequest as _,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::rig::{Server, User};

const PATIENCE: Duration = Duration::from_secs(60);

/// A WebSocket's reader.
pub(crate) struct Socket {
    pub(crate) ws: WebSocketStream<TcpStream>,
}

/// How a WebSocket was refused: the status, and the answer's text.
pub(crate) type Refused = (u16, String);

impl Socket {
    pub(crate) async fn open(server: &Server, user: &User) -> Self {
        let opened = Self::try_open(server, &[("authorization", &user.bearer())]).await;
        opened.expect("a socket")
    }

    pub(crate) async fn try_open(
        server: &Server,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let url = format!("ws://{}/rt/v1/ws", server.address);
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            let value = value.parse().expect("a header");
            request.headers_mut().insert(*name, value);
        }
        let stream = TcpStream::connect(&server.address)
            .await
            .map_err(|error| (0, error.to_string()))?;
        match timeout(PATIENCE, client_async(request, stream))
            .await
            .expect("an answer")
        {
            Ok((ws, _)) => Ok(Self { ws }),
            Err(WsError::Http(answer)) => {
                let body = answer.body().clone().unwrap_or_default();
                let text = String::from_utf8_lossy(&body).into_owned();
                Err((answer.status().as_u16(), text))
            }
            Err(error) => Err((0, error.to_string())),
        }
    }

    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        let text: String = text.into();
        self.ws.send(Ws::Text(text.into())).await.expect("sent");
    }

    pub(crate) async fn command(&mut self, command: &Command) {
        self.say(serde_json::to_string(command).expect("JSON"))
            .await;
    }

    pub(crate) async fn subscribe(&mut self, topic: &Topic, after: Option<&str>) {
        self.command(&Command::Subscribe {
            topic: topic.clone(),
            after: after.map(str::to_owned),
        })
        .await;
    }

    /// The next message; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match timeout(PATIENCE, self.ws.next()).await.expect("something") {
                Some(Ok(Ws::Text(text))) => {
                    return Some(serde_json::from_str(&text).expect("a message"));
                }
                Some(Ok(Ws::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// How the server says goodbye; what comes before it is passed over.
    pub(crate) async fn goodbye(&mut self) -> Option<CloseCode> {
        loop {
            match timeout(PATIENCE, self.ws.next()).await.expect("something") {
                Some(Ok(Ws::Close(frame))) => {
                    return frame.map(|CloseFrame { code, .. }| code);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next that is no heartbeat of the connection.
    pub(crate) async fn news(&mut self) -> Message {
        loop {
            match self.next().await.expect("a message") {
                Message::Heartbeat(heartbeat) if heartbeat.topic.is_none() => {}
                message => return message,
            }
        }
    }

    pub(crate) async fn snapshot(&mut self) -> Snapshot {
        match self.news().await {
            Message::Snapshot(snapshot) => snapshot,
            other => panic!("no snapshot: {other:?}"),
        }
    }

    pub(crate) async fn delta(&mut self) -> Delta {
        match self.news().await {
            Message::Delta(delta) => delta,
            other => panic!("no delta: {other:?}"),
        }
    }
}

/// An event stream's reader.
pub(crate) struct Events {
    pieces: Box<dyn Stream<Item = std::io::Result<Bytes>> + Send + Unpin>,
    text: String,
    /// What a browser would send back.
    pub(crate) last_id: Option<String>,
}

impl Events {
    pub(crate) async fn open(
        server: &Server,
        user: &User,
        query: &str,
        last: Option<&str>,
    ) -> Self {
        let mut call = server
            .client_of(user)
            .call(Method::GET, &format!("/rt/v1/events?{query}"));
        if let Some(last) = last {
            call = call.header("last-event-id", last).expect("a header");
        }
        let answer = call.stream().await.expect("a stream");
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        Self {
            pieces: Box::new(answer.into_bytes()),
            text: String::new(),
            last_id: last.map(str::to_owned),
        }
    }

    /// The next message; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let (mut data, mut kind) = (String::new(), String::new());
                for line in block.lines() {
                    match line.split_once(':') {
                        Some(("id", value)) => self.last_id = Some(value.trim().to_owned()),
                        Some(("event", value)) => value.trim().clone_into(&mut kind),
                        Some(("data", value)) => data.push_str(value.trim_start()),
                        _ => {}
                    }
                }
                if !data.is_empty() {
                    let value: serde_json::Value = serde_json::from_str(&data).expect("JSON");
                    assert_eq!(value["type"], kind.as_str());
                    return Some(serde_json::from_value(value).expect("a message"));
                }
            }
            match timeout(PATIENCE, self.pieces.next())
                .await
                .expect("something")
            {
                Some(Ok(piece)) => self
                    .text
                    .push_str(std::str::from_utf8(&piece).expect("text")),
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// What a reader of one job knows by the rules of the protocol, and how often it was told.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) cursor: Option<String>,
    pub(crate) rev: i64,
    pub(crate) state: String,
    /// Each number with how often it came outside of snapshots.
    pub(crate) told: BTreeMap<i64, u32>,
    /// Numbers in the order in which they became known.
    pub(crate) events: Vec<i64>,
    pub(crate) snapshots: u32,
}

impl Known {
    pub(crate) fn hear(&mut self, message: &Message) {
        let (cursor, items, whole) = match message {
            Message::Snapshot(snapshot) => (&snapshot.cursor, snapshot.items.as_slice(), true),
            Message::Delta(delta) => (&delta.cursor, std::slice::from_ref(&delta.item), false),
            Message::Heartbeat(heartbeat) => {
                if let Some(cursor) = &heartbeat.cursor {
                    self.cursor = Some(cursor.clone());
                }
                return;
            }
            Message::Problem(refusal) => panic!("{refusal:?}"),
        };
        self.cursor = Some(cursor.clone());
        self.snapshots += u32::from(whole);
        for item in items {
            let Object::Job(Some(job)) = &item.object else {
                panic!("no job: {item:?}");
            };
            assert_eq!(item.rev, job.rev);
            if item.rev >= self.rev {
                self.rev = item.rev;
                self.state = job.status.state.to_string();
            }
            for event in &job.events {
                if !whole {
                    *self.told.entry(event.seq).or_default() += 1;
                }
                if self.events.last().is_none_or(|last| event.seq > *last) {
                    self.events.push(event.seq);
                }
            }
        }
    }
}
