//! One connection, from its first byte to its end.

use crate::{
    activity::{Activity, Busy, BusyBody},
    app::{App, Incoming},
    limits::Limits,
    peer::Peer,
    unparsed::{HEAD_BYTES_MAX, Unparsed},
};
use forebay_service::Tasks;
use hyper::{rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// What a connection's requests need.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) app: App,
    pub(crate) limits: Arc<Limits>,
    pub(crate) peer: Peer,
    pub(crate) tasks: Tasks,
}

/// After being asked to close: time for the last frames to leave.
const CLOSING: Duration = Duration::from_secs(1);

/// The same over TLS. The handshake has the time of a first request's headers.
#[cfg(feature = "tls")]
pub(crate) async fn run_tls(
    acceptor: tokio_rustls::TlsAcceptor,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    context: Context,
) {
    let stop = context.tasks.stopping();
    let handshake = tokio::time::timeout(context.limits.header_timeout, acceptor.accept(io));
    let shaken = tokio::select! {
        () = stop.cancelled() => return,
        shaken = handshake => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => run(stream, context).await,
        Ok(Err(error)) => {
            tracing::debug!(peer = %context.peer, %error, "a TLS handshake failed");
        }
        Err(_) => tracing::debug!(peer = %context.peer, "a TLS handshake took too long"),
    }
}

/// Serve one connection until either side ends it.
pub(crate) async fn run(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    context: Context,
) {
    let (limits, stop) = (context.limits.clone(), context.tasks.stopping());
    let activity = Arc::new(Activity::default());
    let service = {
        let (context, activity) = (context.clone(), activity.clone());
        service_fn(move |request: http::Request<Incoming>| {
            let (context, activity) = (context.clone(), activity.clone());
            let busy = Busy::new(&activity);
            async move {
                let response = context.app.answer(request, &context).await;
                if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
                    activity.leave_http1();
                }
                Ok::<_, Infallible>(response.map(|body| BusyBody::new(body, busy)))
            }
        })
    };
    let late = CancellationToken::new();
    let io = Unparsed::new(io, activity.clone(), context.peer, late.clone());
    let mut builder = auto::Builder::new(OnTasks(context.tasks.clone()));
    builder.http1().max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(32 << 10)
        .adaptive_window(true)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));

    // When an idle connection ends. hyper's own timeouts begin only behind the first bytes, so a
    // peer that sends none, or half a header, is watched from here.
    let mut idle_end = Instant::now() + limits.header_timeout;
    let mut closing = false;
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = stop.cancelled(), if !closing => {
                connection.as_mut().graceful_shutdown();
                closing = true;
                idle_end = Instant::now() + CLOSING;
            }
            () = activity.changed.notified() => {
                idle_end = Instant::now() + if closing { CLOSING } else { limits.idle_timeout };
            }
            () = sleep_until(idle_end), if !activity.is_busy() => {
                if activity.is_cut_off() && !late.is_cancelled() {
                    // Told before it is closed.
                    late.cancel();
                    closing = true;
                    idle_end = Instant::now() + CLOSING;
                    continue;
                }
                if closing || !activity.began() {
                    tracing::debug!(peer = %context.peer, "closed an idle connection");
                    return;
                }
                connection.as_mut().graceful_shutdown();
                closing = true;
                idle_end = Instant::now() + CLOSING;
            }
        }
    };
    if let Err(error) = result {
        // Peers that vanish, and garbage: theirs, not ours.
        tracing::debug!(peer = %context.peer, error = %forebay_service::logs::chain(error.as_ref()), "connection failed");
    }
}

/// Runs the streams of HTTP/2 as tasks of the service.
#[derive(Clone)]
pub(crate) struct OnTasks(pub(crate) Tasks);

impl<F> Executor<F> for OnTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("http2 stream", future);
    }
}
