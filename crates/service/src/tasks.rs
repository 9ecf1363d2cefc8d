//! One token and one tracker for everything a service runs.
//!
//! Stopping has two steps. [`Tasks::stop`] asks: supervised tasks see their token, periodic ones
//! finish the run they are in, one-shot tasks go on to their end. [`Tasks::drain`] waits for all
//! of them up to a deadline and then cuts what is left, by dropping its future.

use crate::{
    metrics::Metrics,
    status::{Board, TaskStatus},
};
use futures_util::FutureExt as _;
use std::{
    any::Any,
    borrow::Cow,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// Handle to the tasks of one service; clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    stop: CancellationToken,
    /// Cancelled when the drain's deadline has passed.
    cut: CancellationToken,
    tracker: TaskTracker,
    board: Board,
    fatal: OnceLock<String>,
}

/// Some tasks had not ended when the drain's deadline passed, and were cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} tasks were cut at the deadline")]
pub struct Cut {
    /// How many.
    pub tasks: usize,
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It panicked; the message, as far as it is text.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The service drained and its deadline passed before the task had ended.
    #[error("cut at the drain's deadline")]
    Cut,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the service begins to stop. Long waits and endless streams watch it.
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Whether the service has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// Ask everything to end. Returns at once; see [`drain`](Self::drain).
    pub fn stop(&self) {
        self.inner.stop.cancel();
    }

    /// Stop the whole service because it cannot do its work any more: it drains as after a signal,
    /// and the process ends with a failure that names `reason`. The first reason given is kept.
    pub fn fatal(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(reason, "the service cannot go on");
        // Already set: the first reason explains the rest.
        let _ = self.inner.fatal.set(reason);
        self.stop();
    }

    /// The reason given to [`fatal`](Self::fatal), if any.
    pub fn fatal_reason(&self) -> Option<&str> {
        self.inner.fatal.get().map(String::as_str)
    }

    /// Run `future` to its end, also while the service drains. A panic is caught and logged.
    ///
    /// The result may be awaited or dropped; dropping it does not end the task.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Running<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let name = name.into();
        let cut = self.inner.cut.clone();
        let watched = async move {
            let future = AssertUnwindSafe(future).catch_unwind();
            tokio::select! {
                biased;
                result = future => result.map_err(|payload| {
                    let message = panic_message(payload.as_ref());
                    tracing::error!(task = %name, panic = %message, "a task panicked");
                    Ended::Panicked(message)
                }),
                () = cut.cancelled() => {
                    tracing::warn!(task = %name, "a task was cut at the drain's deadline");
                    Err(Ended::Cut)
                }
            }
        };
        Running(self.start(watched))
    }

    /// Run `future`, without which the service is of no use: when it ends, or panics, before the
    /// service stops, that is [`fatal`](Self::fatal). For what cannot be started again: a server
    /// that listens, a lock that is held.
    pub fn spawn_essential<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = self.spawn(name, future);
        let tasks = self.clone();
        self.spawn("watch over an essential task", async move {
            let ended = running.await;
            if !tasks.is_stopping() {
                let how = ended.map_or_else(|ended| ended.to_string(), |()| "ended".to_owned());
                tasks.fatal(format!("the essential task {name:?} {how}"));
            }
        });
    }

    /// The one place where tasks start: tracked, and in the span of the caller, so that what a
    /// request starts logs that request's id.
    #[allow(
        clippy::disallowed_methods,
        reason = "every other crate spawns through here"
    )]
    pub(crate) fn start<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.inner.tracker.track_future(future.in_current_span()))
    }

    pub(crate) fn cut_token(&self) -> CancellationToken {
        self.inner.cut.clone()
    }

    pub(crate) fn board(&self) -> &Board {
        &self.inner.board
    }

    /// The supervised and periodic tasks, in the order in which they were started.
    pub fn status(&self) -> Vec<TaskStatus> {
        self.inner.board.list()
    }

    /// How many tasks of any kind have not ended.
    pub fn count(&self) -> usize {
        self.inner.tracker.len()
    }

    /// Publish restarts and states of the tasks as metrics.
    pub fn publish(&self, metrics: &Metrics) {
        metrics.collect_from(crate::metrics::TaskCollector(self.clone()));
    }

    /// Stop, wait until every task has ended, and cut what has not when `deadline` has passed.
    pub async fn drain(&self, deadline: Duration) -> Result<(), Cut> {
        self.stop();
        self.inner.tracker.close();
        if tokio::time::timeout(deadline, self.inner.tracker.wait())
            .await
            .is_ok()
        {
            return Ok(());
        }
        let tasks = self.inner.tracker.len();
        self.inner.cut.cancel();
        // Dropping the futures takes a moment; one that blocks its thread cannot be dropped.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.inner.tracker.wait()).await;
        Err(Cut { tasks })
    }
}

/// A task under way. Await it for its result; drop it to let it go on alone.
#[derive(Debug)]
pub struct Running<T>(tokio::task::JoinHandle<Result<T, Ended>>);

impl<T> Running<T> {
    /// End the task now, by dropping its future at its next wait.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| {
            joined.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(payload) => Err(Ended::Panicked(panic_message(payload.as_ref()))),
                Err(_) => Err(Ended::Cut),
            })
        })
    }
}

/// The text of a panic, when it is text.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}
