//! Very many readers in one process.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use forebay_wire::feed::{Command, Topic};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::sleep,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

use super::Failure;

/// How many connect at the same time.
const AT_ONCE: usize = 64;
/// Connecting, and the first snapshot.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a stalled reader lets the system hold for it, bytes.
const STALLED_BUFFER: u32 = 4_096;

/// What a reader does once it has its snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reads,
    /// Takes nothing any more.
    Stalls,
}

type Heard = Arc<Mutex<HashMap<String, Vec<Instant>>>>;

/// The readers; they end when this is dropped.
pub(super) struct Readers {
    address: String,
    token: String,
    tasks: JoinSet<()>,
    /// By mark, when each reader heard of it.
    heard: Heard,
}

impl Readers {
    pub(super) fn new(address: &str, token: &str) -> Self {
        Self {
            address: address.to_owned(),
            token: token.to_owned(),
            tasks: JoinSet::new(),
            heard: Heard::default(),
        }
    }

    /// Opens so many more, and waits until each has the snapshots of its topics, or is stalled.
    pub(super) async fn open(
        &mut self,
        count: usize,
        topics: &[Topic],
        kind: Kind,
    ) -> Result<(), Failure> {
        let commands: Arc<[String]> = topics
            .iter()
            .map(|topic| {
                serde_json::to_string(&Command::Subscribe {
                    topic: topic.clone(),
                    after: None,
                })
            })
            .collect::<Result<_, _>>()?;
        let mut opening = JoinSet::new();
        let mut begun = 0;
        while begun < count || !opening.is_empty() {
            while begun < count && opening.len() < AT_ONCE {
                let (address, token) = (self.address.clone(), self.token.clone());
                let commands = Arc::clone(&commands);
                let number = begun;
                opening.spawn(async move {
                    let opened = open(number, &address, &token, &commands, kind);
                    tokio::time::timeout(PATIENCE, opened).await?
                });
                begun += 1;
            }
            if let Some(opened) = opening.join_next().await {
                let (socket, heard) = (opened??, Arc::clone(&self.heard));
                self.tasks.spawn(async move {
                    match kind {
                        Kind::Reads => read(socket, &heard).await,
                        Kind::Stalls => {
                            std::future::pending::<()>().await;
                            drop(socket);
                        }
                    }
                });
            }
        }
        Ok(())
    }

    /// When each of so many readers heard of a change.
    pub(super) async fn heard(
        &self,
        mark: &str,
        count: usize,
        patience: Duration,
    ) -> Result<Vec<Instant>, Failure> {
        let began = Instant::now();
        loop {
            let heard = {
                let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
                match all.get(mark).map(Vec::len) {
                    Some(len) if len >= count => return Ok(all.remove(mark).unwrap_or_default()),
                    len => len.unwrap_or(0),
                }
            };
            if began.elapsed() > patience {
                return Err(format!("only {heard} of {count} readers heard of {mark}").into());
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
}

async fn open(
    number: usize,
    address: &str,
    token: &str,
    commands: &[String],
    kind: Kind,
) -> Result<WebSocketStream<TcpStream>, Failure> {
    let socket = TcpSocket::new_v4()?;
    // Several addresses of our own, so that ports suffice.
    let host = Ipv4Addr::new(127, 0, 0, u8::try_from(2 + number % 8)?);
    socket.bind(SocketAddr::from((host, 0)))?;
    if kind == Kind::Stalls {
        socket.set_recv_buffer_size(STALLED_BUFFER)?;
    }
    let stream = socket.connect(address.parse()?).await?;
    let mut request = format!("ws://{address}/rt/v1/ws").into_client_request()?;
    let bearer = format!("Bearer {token}").parse()?;
    request.headers_mut().insert("authorization", bearer);
    let small = WebSocketConfig::default()
        .read_buffer_size(2 << 10)
        .write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(request, stream, Some(small)).await?;
    for command in commands {
        socket.send(Message::Text(command.into())).await?;
        if kind == Kind::Reads {
            next(&mut socket)
                .await
                .ok_or("closed before the snapshot")?;
        }
    }
    Ok(socket)
}

/// The next text; pings are answered by the library.
async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    loop {
        match socket.next().await? {
            Ok(message @ Message::Text(_)) => return Some(message),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

async fn read(mut socket: WebSocketStream<TcpStream>, heard: &Heard) {
    while let Some(message) = next(&mut socket).await {
        let at = Instant::now();
        let Some(mark) = message.to_text().ok().and_then(mark) else {
            continue;
        };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get_mut(mark) {
            Some(moments) => moments.push(at),
            None => {
                heard.insert(mark.to_owned(), vec![at]);
            }
        }
    }
}

/// The change's mark, `mark-<n>-`, without reading all of the text.
fn mark(text: &str) -> Option<&str> {
    let from = text.find("\"mark-")? + 1;
    let length = text[from..].find('"')?;
    Some(&text[from..from + length])
}
