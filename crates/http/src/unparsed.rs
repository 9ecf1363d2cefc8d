//! Problems for requests that never become one.
//!
//! hyper answers a head that it cannot parse, or that is too large, by itself, with a status and
//! nothing more; there is no hook for it. What it writes while no answer of ours can be on its way
//! is such an answer, so it is taken out here and a [`Problem`] put in its place. A head that does
//! not come to its end gets one too, which hyper would not do at all. HTTP/2 has its own errors for
//! these cases, and is left alone.
//!
//! A peer that is still writing when its connection is closed may never see what was said: so our
//! side is closed first, and what still comes is read and thrown away for a moment.

use crate::{activity::Activity, peer::Peer, request::RequestId};
use forebay_wire::{Code, Problem};
use std::{
    fmt::Write as _,
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The largest head of a request, bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 64 << 10;
/// What is read and thrown away after such an answer, and for how long.
const DISCARD_BYTES_MAX: usize = 1 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_millis(500);
/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI ";

/// A connection that says a problem where hyper would say less.
pub(crate) struct Unparsed<S> {
    inner: S,
    activity: Arc<Activity>,
    peer: Peer,
    /// The time for a request's head is over.
    late: Pin<Box<WaitForCancellationFutureOwned>>,
    /// How the connection begins, as far as it is needed to tell HTTP/2.
    first: Vec<u8>,
    phase: Phase,
}

enum Phase {
    /// Bytes pass.
    Passing,
    /// The problem is being written.
    Saying { bytes: Vec<u8>, sent: usize },
    /// It has been; our side is being closed.
    Closing,
    /// What still comes is thrown away.
    Discarding { left: usize, until: Pin<Box<Sleep>> },
    /// Nothing more will be read or written.
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Unparsed<S> {
    pub(crate) fn new(
        inner: S,
        activity: Arc<Activity>,
        peer: Peer,
        late: CancellationToken,
    ) -> Self {
        Self {
            inner,
            activity,
            peer,
            late: Box::pin(late.cancelled_owned()),
            first: Vec::new(),
            phase: Phase::Passing,
        }
    }

    fn is_passing(&self) -> bool {
        matches!(self.phase, Phase::Passing)
    }

    fn say(&mut self, problem: Problem) {
        let id = RequestId::new();
        let status = problem.code.status();
        tracing::info!(target: "forebay_http::access", %id, status, peer = %self.peer, "no request");
        self.phase = Phase::Saying {
            bytes: written(problem, &id),
            sent: 0,
        };
    }

    /// If these bytes are an answer of hyper's own, begin with ours instead.
    fn replace(&mut self, bytes: &[u8]) {
        let may_be = self.is_passing() && self.activity.is_http1() && !self.activity.is_answering();
        if may_be && let Some(problem) = of_bare(bytes) {
            self.say(problem);
        }
    }

    /// Say what is to be said, and end.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            self.phase = match &mut self.phase {
                Phase::Passing | Phase::Over => return Poll::Ready(()),
                Phase::Saying { bytes, sent } if *sent < bytes.len() => {
                    let rest = bytes.get(*sent..).unwrap_or_default();
                    match ready!(Pin::new(&mut self.inner).poll_write(context, rest)) {
                        Ok(0) | Err(_) => Phase::Over,
                        Ok(count) => {
                            *sent += count;
                            continue;
                        }
                    }
                }
                Phase::Saying { .. } => Phase::Closing,
                Phase::Closing => match ready!(Pin::new(&mut self.inner).poll_shutdown(context)) {
                    Err(_) => Phase::Over,
                    Ok(()) => Phase::Discarding {
                        left: DISCARD_BYTES_MAX,
                        until: Box::pin(sleep(DISCARD_TIME_MAX)),
                    },
                },
                Phase::Discarding { left, until } => {
                    if until.as_mut().poll(context).is_ready() {
                        self.phase = Phase::Over;
                        continue;
                    }
                    let mut buffer = [0; 4096];
                    let mut buffer = ReadBuf::new(&mut buffer);
                    let read = Pin::new(&mut self.inner).poll_read(context, &mut buffer);
                    let count = buffer.filled().len();
                    match ready!(read) {
                        Ok(()) if count > 0 && count < *left => {
                            *left -= count;
                            continue;
                        }
                        _ => Phase::Over,
                    }
                }
            };
        }
    }
}

/// What hyper's own answer means: a status and no more.
fn of_bare(bytes: &[u8]) -> Option<Problem> {
    let status = bytes
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    match status.get(..3)? {
        b"400" => Some(Problem::new(
            Code::Malformed,
            "The request is not valid HTTP.",
        )),
        b"414" | b"431" => {
            let message = format!(
                "The address and the headers of the request are larger than the {HEAD_BYTES_MAX} \
                 bytes, or the hundred headers, allowed here."
            );
            Some(Problem::new(Code::TooLarge, message))
        }
        _ => None,
    }
}

fn written(mut problem: Problem, id: &RequestId) -> Vec<u8> {
    id.as_str().clone_into(&mut problem.request_id);
    let status =
        http::StatusCode::from_u16(problem.code.status()).unwrap_or(http::StatusCode::BAD_REQUEST);
    // A problem is text alone, which can always be written.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{}: {id}\r\n\
         connection: close\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        body.len(),
        RequestId::HEADER,
    );
    if problem.retry == forebay_wire::Retry::After {
        // Writing to a String cannot fail.
        _ = write!(head, "retry-after: 1\r\n");
    }
    head.push_str("\r\n");
    [head.into_bytes(), body].concat()
}

fn late() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the request's head came too slowly",
    )
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Unparsed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_passing() && this.late.as_mut().poll(context).is_ready() {
            if !this.activity.is_cut_off() {
                return Poll::Ready(Err(late()));
            }
            let message = "The request did not come to the end of its headers in time.";
            this.say(Problem::new(Code::Deadline, message));
        }
        if !this.is_passing() {
            ready!(this.poll_end(context));
            return Poll::Ready(Err(late()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            let missing = PREFACE.len() - this.first.len();
            if missing > 0 {
                this.first.extend(read.iter().take(missing));
                if this.first == PREFACE {
                    this.activity.leave_http1();
                }
            }
            this.activity.hear();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Unparsed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.replace(bytes);
        if !self.is_passing() {
            // Instead of them; sent with the flush that follows.
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = pieces.iter().find(|piece| !piece.is_empty()) {
            self.replace(first);
        }
        if !self.is_passing() {
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_passing() {
            ready!(self.poll_end(context));
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_passing() {
            ready!(self.poll_end(context));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
