//! HTTP/2 against the direction in which a connection was opened.
//!
//! The side that dialled (and cannot be dialled) *serves* on the connection; the side that accepted
//! it calls. Dial with [`Client::upgrade`](crate::Client::upgrade), accept with
//! [`Request::upgrade`](crate::Request::upgrade).

use crate::{
    app::App,
    client::{Client, ClientLimits},
    connection::{self, Context, OnTasks},
    limits::Limits,
    peer::Peer,
};
use forebay_service::{CancellationToken, Tasks};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// The two sides could not agree on HTTP/2.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The other side answered with something else, or closed the connection.
    #[error("the other side does not speak HTTP/2")]
    Handshake(#[source] hyper::Error),
    /// The other side said nothing.
    #[error("the other side said nothing for {0:?}")]
    Silent(Duration),
}

/// How the calling side finds out that the other is gone: it asks each `interval`, and ends the
/// link when there is no answer for `timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Between two questions.
    pub interval: Duration,
    /// For an answer, and for the handshake.
    pub timeout: Duration,
}

impl Default for KeepAlive {
    /// 10 s and 10 s.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(10),
        }
    }
}

/// Serve `app` on a connection that this side opened, until either side ends it or `tasks` stop.
/// The [`Peer`] of its requests is neither a uid nor an address.
///
/// An idle link stays: of `limits`, those on bodies, requests and streams hold.
pub async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: impl Into<App>,
    limits: Limits,
    tasks: Tasks,
) {
    // The other side watches it by keep-alive; a call may come after days.
    let forever = Duration::from_secs(u64::from(u32::MAX));
    let limits = Limits {
        header_timeout: forever,
        idle_timeout: forever,
        ..limits
    };
    let context = Context {
        app: app.into(),
        limits: Arc::new(limits),
        peer: Peer::default(),
        tasks,
    };
    connection::run(io, context).await;
}

/// The calling side of a link.
#[derive(Clone, Debug)]
pub struct Link {
    /// Calls the other side. Clones may call at the same time.
    pub client: Client,
    closed: CancellationToken,
}

impl Link {
    /// Begin to call over `io`. The connection is driven by a task that ends with the connection,
    /// and when `tasks` stop and no call is under way.
    pub async fn connect(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        tasks: &Tasks,
        limits: ClientLimits,
        keep_alive: KeepAlive,
    ) -> Result<Self, LinkError> {
        let mut builder = hyper::client::conn::http2::Builder::new(OnTasks(tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(keep_alive.interval)
            .keep_alive_timeout(keep_alive.timeout)
            .keep_alive_while_idle(true)
            .adaptive_window(true);
        let handshake = builder.handshake(TokioIo::new(io));
        let (sender, connection) = match timeout(keep_alive.timeout, handshake).await {
            Ok(shaken) => shaken.map_err(LinkError::Handshake)?,
            Err(_) => return Err(LinkError::Silent(keep_alive.timeout)),
        };
        let closed = CancellationToken::new();
        let (guard, stop) = (closed.clone().drop_guard(), tasks.stopping());
        let client = Client::over_link(sender, limits);
        let idle = client.idle();
        tasks.spawn("link", async move {
            let _guard = guard;
            tokio::select! {
                result = connection => match result {
                    Ok(()) => tracing::debug!("the link ended"),
                    Err(error) => {
                        let error = forebay_service::logs::chain(&error);
                        tracing::info!(%error, "the link broke");
                    }
                },
                () = async { stop.cancelled().await; idle.await } => {}
            }
        });
        Ok(Self { client, closed })
    }

    /// Wait until the link has ended, from either side. Calls fail from then on.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }
}
