//! What is going on on one connection.

use hyper::body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{self, Poll},
};
use tokio::sync::Notify;

/// Whether requests are under way on a connection, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    busy: AtomicUsize,
    began: AtomicBool,
    /// Something of a next request has come.
    heard: AtomicBool,
    /// Bytes of an answer of the app's may still be on their way.
    answering: AtomicBool,
    /// The connection speaks HTTP/2, or was upgraded to something else.
    not_http1: AtomicBool,
    /// Woken when the connection becomes busy, and when it becomes idle.
    pub(crate) changed: Notify,
}

impl Activity {
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) > 0
    }

    /// Whether there was a whole request.
    pub(crate) fn began(&self) -> bool {
        self.began.load(Ordering::SeqCst)
    }

    /// Bytes were read.
    pub(crate) fn hear(&self) {
        if !self.is_busy() {
            self.heard.store(true, Ordering::SeqCst);
        }
    }

    /// Whether a request has begun to come and is not whole.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.heard.load(Ordering::SeqCst) && !self.is_busy() && self.is_http1()
    }

    /// All that was written has been sent.
    pub(crate) fn flushed(&self) {
        if !self.is_busy() {
            self.answering.store(false, Ordering::SeqCst);
        }
    }

    /// Whether what is written may be an answer of the app's.
    pub(crate) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::SeqCst) || self.is_busy()
    }

    pub(crate) fn leave_http1(&self) {
        self.not_http1.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_http1(&self) -> bool {
        !self.not_http1.load(Ordering::SeqCst)
    }
}

/// A request under way, until its answer has been sent whole.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Activity>);

impl Busy {
    pub(crate) fn new(activity: &Arc<Activity>) -> Self {
        activity.began.store(true, Ordering::SeqCst);
        activity.heard.store(false, Ordering::SeqCst);
        activity.answering.store(true, Ordering::SeqCst);
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
pub(crate) struct BusyBody<B> {
    body: B,
    _busy: Busy,
}

impl<B> BusyBody<B> {
    pub(crate) fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
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
