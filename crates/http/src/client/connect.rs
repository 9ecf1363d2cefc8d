//! Connections of a client: to a host and port, or to a unix socket whose owner is checked.

use crate::io::Stream;
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use std::{
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tower_service::Service;

/// Opens connections to one server, whatever the URL says.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    target: Arc<Target>,
    connect_timeout: Duration,
}

#[derive(Debug)]
enum Target {
    Tcp {
        host: String,
        port: u16,
    },
    #[cfg(feature = "tls")]
    Tls {
        host: String,
        port: u16,
        tls: crate::tls::TlsTarget,
    },
    Unix {
        path: PathBuf,
        expected_uid: Option<u32>,
    },
}

/// Another account than expected listens on the socket.
#[derive(Debug, thiserror::Error)]
#[error("the server runs as uid {found}, not as uid {expected}")]
pub(crate) struct WrongUid {
    pub(crate) expected: u32,
    pub(crate) found: u32,
}

impl Connector {
    pub(crate) fn tcp(host: String, port: u16, connect_timeout: Duration) -> Self {
        Self {
            target: Arc::new(Target::Tcp { host, port }),
            connect_timeout,
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(
        host: String,
        port: u16,
        tls: crate::tls::TlsTarget,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            target: Arc::new(Target::Tls { host, port, tls }),
            connect_timeout,
        }
    }

    pub(crate) fn unix(
        path: PathBuf,
        expected_uid: Option<u32>,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            target: Arc::new(Target::Unix { path, expected_uid }),
            connect_timeout,
        }
    }
}

impl Target {
    async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp { host, port } => Ok(Stream::Tcp(tcp(host, *port).await?)),
            #[cfg(feature = "tls")]
            Self::Tls { host, port, tls } => {
                let stream = tls.connect(tcp(host, *port).await?).await?;
                Ok(Stream::Tls(Box::new(stream)))
            }
            Self::Unix { path, expected_uid } => {
                let stream = UnixStream::connect(path).await?;
                let found = stream.peer_cred()?.uid();
                match *expected_uid {
                    Some(expected) if expected != found => {
                        Err(io::Error::other(WrongUid { expected, found }))
                    }
                    _ => Ok(Stream::Unix(stream)),
                }
            }
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let (target, connect_timeout) = (self.target.clone(), self.connect_timeout);
        Box::pin(async move {
            match timeout(connect_timeout, target.connect()).await {
                Ok(connected) => connected.map(TokioIo::new),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "connecting took too long",
                )),
            }
        })
    }
}
