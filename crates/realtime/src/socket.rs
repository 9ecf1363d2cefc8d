//! `GET /rt/v1/ws`: the WebSocket.
//!
//! The upgrade is done here, and not by warp, for the sake of memory: the library's own buffers are 128 KiB for each
//! connection. Here a connection at rest has a read buffer of 1 KiB, and a write buffer that never held more than a
//! fragment.

use std::{ops::ControlFlow, time::Duration};

use forebay_http::{Code, Problem, Request, Response, UpgradedIo};
use forebay_postgres::feed::Cursor;
use forebay_wire::feed::{Command, FRAME_BYTES_MAX, HEARTBEAT_S};
use futures_util::{SinkExt as _, StreamExt as _};
use http::HeaderValue;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message as Ws, Utf8Bytes,
        error::{CapacityError, ProtocolError},
        handshake::derive_accept_key,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

use crate::{
    auth,
    client::{Client, Out, refusal},
    realtime::Realtime,
    seats::Seat,
};

const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_S);
/// A reader that answers no ping for so long is gone.
const SILENCE: Duration = Duration::from_secs(4 * HEARTBEAT_S);
/// Longer messages are sent in pieces of this many bytes, since the library keeps a buffer of the largest.
const FRAGMENT: usize = 4 << 10;
/// For the goodbye.
const CLOSE: Duration = Duration::from_secs(1);

pub(crate) async fn socket(realtime: Realtime, request: Request) -> Result<Response, Problem> {
    let caller = auth::caller(&realtime, &request).await?;
    auth::origin(&realtime, &request)?;
    let accept = accept(&request)?;
    let seat = realtime.seats().take(caller)?;
    let tasks = realtime.tasks().clone();
    let mut response = request.upgrade(&tasks, "websocket", move |io| serve(realtime, io, seat))?;
    response
        .headers_mut()
        .insert("sec-websocket-accept", accept);
    Ok(response)
}

/// The answer to the handshake's key.
fn accept(request: &Request) -> Result<HeaderValue, Problem> {
    let wrong = |message: &str| Err(Problem::new(Code::Version, message));
    if request.header("sec-websocket-version") != Some("13") {
        return wrong("This path answers only WebSockets of version 13.");
    }
    // Sixteen bytes in base64.
    let Some(key) = request
        .header("sec-websocket-key")
        .filter(|key| key.len() == 24)
    else {
        return wrong("The header Sec-WebSocket-Key is missing, or is none.");
    };
    HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .or_else(|_| wrong("The header Sec-WebSocket-Key is none."))
}

async fn serve(realtime: Realtime, io: UpgradedIo, seat: Seat) {
    let config = WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * FRAGMENT)
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_message_size(Some(FRAME_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let now = Instant::now();
    let mut connection = Connection {
        client: Client::new(&realtime, seat.user()),
        socket,
        heard: now,
        said: now,
        pinged: now,
    };
    let stopping = realtime.tasks().stopping();
    let goodbye = tokio::select! {
        biased;
        () = stopping.cancelled() => Some((CloseCode::Away, "the service stops")),
        () = seat.ended().cancelled() => {
            let message = "The credentials are no longer good. Sign in again.";
            if let Some(out) = refusal(None, Problem::new(Code::Unauthenticated, message)) {
                let _ = tokio::time::timeout(CLOSE, connection.send(out.text)).await;
            }
            Some((CloseCode::Policy, "the credentials are no longer good"))
        }
        goodbye = connection.run() => goodbye,
    };
    // Whatever its reader does: that is all the time it gets.
    let close = async {
        if let Some((code, reason)) = goodbye {
            let reason = Utf8Bytes::from_static(reason);
            let _ = connection
                .socket
                .close(Some(CloseFrame { code, reason }))
                .await;
        }
        // So that it is not lost in a reset, the other side's goodbye is read.
        while let Some(Ok(_)) = connection.socket.next().await {}
    };
    let _ = tokio::time::timeout(CLOSE, close).await;
}

type Goodbye = Option<(CloseCode, &'static str)>;

struct Connection {
    client: Client,
    socket: WebSocketStream<UpgradedIo>,
    heard: Instant,
    said: Instant,
    pinged: Instant,
}

impl Connection {
    /// Until either side has had enough.
    async fn run(&mut self) -> Goodbye {
        loop {
            let next = self.said.min(self.pinged) + HEARTBEAT;
            let done = tokio::select! {
                // While topics are to be begun, nothing more is asked for.
                frame = self.socket.next(), if !self.client.is_owed() => self.frame(frame).await,
                out = self.client.next() => self.out(out).await,
                () = sleep_until(next) => self.tick().await,
            };
            if let ControlFlow::Break(goodbye) = done {
                return goodbye;
            }
        }
    }

    async fn tick(&mut self) -> ControlFlow<Goodbye> {
        let now = Instant::now();
        if self.client.is_owed() {
            // The database is away, and meanwhile nothing is read: its answers wait.
            self.heard = now;
        }
        if now.duration_since(self.heard) >= SILENCE {
            return ControlFlow::Break(Some((CloseCode::Away, "no answer to pings")));
        }
        if now.duration_since(self.pinged) >= HEARTBEAT {
            self.pinged = now;
            if self
                .socket
                .send(Ws::Ping(bytes::Bytes::new()))
                .await
                .is_err()
            {
                return ControlFlow::Break(None);
            }
        }
        if now.duration_since(self.said) >= HEARTBEAT {
            self.said = now;
            if let Some(out) = self.client.heartbeat() {
                return self.out(out).await;
            }
        }
        ControlFlow::Continue(())
    }

    async fn out(&mut self, out: Out) -> ControlFlow<Goodbye> {
        match self.send(out.text).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                tracing::debug!(%error, "a reader has gone");
                ControlFlow::Break(None)
            }
        }
    }

    async fn send(&mut self, text: Utf8Bytes) -> Result<(), WsError> {
        self.said = Instant::now();
        if text.len() <= FRAGMENT {
            return self.socket.send(Ws::Text(text)).await;
        }
        let bytes = bytes::Bytes::from(text);
        let mut from = 0;
        while from < bytes.len() {
            let to = bytes.len().min(from + FRAGMENT);
            let data = if from == 0 {
                Data::Text
            } else {
                Data::Continue
            };
            let frame =
                Frame::message(bytes.slice(from..to), OpCode::Data(data), to == bytes.len());
            self.socket.send(Ws::Frame(frame)).await?;
            from = to;
        }
        Ok(())
    }

    async fn frame(&mut self, frame: Option<Result<Ws, WsError>>) -> ControlFlow<Goodbye> {
        self.heard = Instant::now();
        match frame {
            Some(Ok(Ws::Text(text))) => self.command(&text).await,
            Some(Ok(Ws::Binary(_))) => {
                ControlFlow::Break(Some((CloseCode::Unsupported, "frames are text")))
            }
            Some(Ok(Ws::Ping(_) | Ws::Pong(_) | Ws::Frame(_))) => ControlFlow::Continue(()),
            Some(Ok(Ws::Close(_))) | None => ControlFlow::Break(None),
            Some(Err(WsError::Capacity(CapacityError::MessageTooLong { .. }))) => {
                ControlFlow::Break(Some((CloseCode::Size, "the frame is too large")))
            }
            Some(Err(WsError::Utf8(_))) => {
                ControlFlow::Break(Some((CloseCode::Invalid, "the frame is not UTF-8")))
            }
            Some(Err(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                ControlFlow::Break(None)
            }
            Some(Err(WsError::Protocol(_))) => {
                ControlFlow::Break(Some((CloseCode::Protocol, "not as WebSockets are")))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a reader has gone");
                ControlFlow::Break(None)
            }
        }
    }

    async fn command(&mut self, text: &str) -> ControlFlow<Goodbye> {
        let (topic, done) = match serde_json::from_str::<Command>(text) {
            Ok(Command::Subscribe { topic, after }) => {
                let done = after
                    .map(|after| cursor(&after))
                    .transpose()
                    .and_then(|after| self.client.subscribe(&topic, after));
                (Some(topic), done)
            }
            Ok(Command::Unsubscribe { topic }) => {
                self.client.unsubscribe(&topic);
                (None, Ok(()))
            }
            Err(error) => {
                let message = format!("This is no command: {error}");
                (None, Err(Problem::new(Code::Malformed, message)))
            }
        };
        match done.err().and_then(|problem| refusal(topic, problem)) {
            Some(out) => self.out(out).await,
            None => ControlFlow::Continue(()),
        }
    }
}

/// A cursor as a reader gives it back.
pub(crate) fn cursor(text: &str) -> Result<Cursor, Problem> {
    text.parse().map_err(|_| {
        Problem::new(Code::Malformed, "The cursor is not one of this feed.")
            .with_detail("after", "not a cursor")
    })
}
