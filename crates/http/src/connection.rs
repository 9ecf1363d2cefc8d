//! One connection, from its first byte to its end.

use crate::{
    app::{App, Incoming},
    limits::Limits,
    peer::Peer,
};
use forebay_service::Tasks;
use hyper::{
    body::{Body, Frame, SizeHint},
    rt::Executor,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{self, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    time::{Instant, sleep_until},
};

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
            let (context, busy) = (context.clone(), Busy::new(&activity));
            async move {
                let response = context.app.answer(request, &context).await;
                Ok::<_, Infallible>(response.map(|body| BusyBody { body, _busy: busy }))
            }
        })
    };
    let mut builder = auto::Builder::new(OnTasks(context.tasks.clone()));
    builder.http1().max_buf_size(64 << 10);
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

/// Whether requests are under way on a connection.
#[derive(Debug, Default)]
struct Activity {
    busy: AtomicUsize,
    began: AtomicBool,
    /// Woken when the connection becomes busy, and when it becomes idle.
    changed: Notify,
}

impl Activity {
    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    fn began(&self) -> bool {
        self.began.load(Ordering::SeqCst)
    }
}

/// A request under way, until its answer has been sent whole.
#[derive(Debug)]
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.began.store(true, Ordering::SeqCst);
        if activity.busy.fetch_add(1, Ordering::SeqCst) == 0 {
            activity.changed.notify_one();
        }
        Self(activity.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.changed.notify_one();
        }
    }
}

/// An answer's body that keeps its request under way until it is sent or dropped.
struct BusyBody<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for BusyBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
