//! Tasks that must not end: restarted with backoff when they do, counted and visible.

use crate::{
    backoff::Backoff,
    logs,
    status::{Row, TaskKind},
    tasks::{Tasks, panic_message},
};
use futures_util::FutureExt as _;
use std::{error::Error, future::Future, panic::AssertUnwindSafe};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Stops one background task without stopping the service. Dropping it does nothing.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    pub(crate) stop: CancellationToken,
    pub(crate) ended: CancellationToken,
}

impl TaskHandle {
    /// Ask the task to end; it leaves [`Tasks::status`] when it has.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Wait until it has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Tasks {
    /// Keep a task running until the service stops.
    ///
    /// `make` is called for each start with the token that ends it; the future watches that token
    /// and returns `Ok` once it is cancelled. Any other end — `Err`, a panic, or `Ok` too early —
    /// is unexpected: it is logged, counted, shown in [`status`](Self::status), and the task is
    /// started again after a delay. Having run for longer than `backoff.max`, it begins again with
    /// the shortest delay.
    pub fn supervise<F, Fut, E>(&self, name: &str, backoff: Backoff, mut make: F) -> TaskHandle
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let row = self.board().add(name, TaskKind::Supervised);
        self.background(row, name, move |row, stop| async move {
            let mut retry = backoff.retry();
            loop {
                row.started();
                let started = Instant::now();
                // `make` itself may panic, so it runs inside the caught future.
                let attempt = AssertUnwindSafe(async { make(stop.clone()).await }).catch_unwind();
                let ending = match attempt.await {
                    _ if stop.is_cancelled() => return,
                    Ok(Ok(())) => "ended although it was not asked to".to_owned(),
                    Ok(Err(error)) => logs::chain(error.into().as_ref()),
                    Err(payload) => format!("panicked: {}", panic_message(payload.as_ref())),
                };
                if started.elapsed() > backoff.max {
                    retry.reset();
                    row.recovered();
                }
                let failing = row.failed(ending.clone());
                let delay = retry.next_delay();
                tracing::warn!(error = %ending, failing, ?delay, "a task ended; restarting it");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(delay) => {}
                }
            }
        })
    }

    /// Runs the loop of a supervised or periodic task: own token, row, span, cut at the deadline.
    pub(crate) fn background<F, Fut>(&self, row: Row, name: &str, body: F) -> TaskHandle
    where
        F: FnOnce(std::sync::Arc<Row>, CancellationToken) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let handle = TaskHandle {
            stop: self.stopping().child_token(),
            ended: CancellationToken::new(),
        };
        let ended = handle.ended.clone().drop_guard();
        let cut = self.cut_token();
        // The row goes when the task goes, however it goes.
        let row = std::sync::Arc::new(row);
        let span = tracing::info_span!(parent: None, "task", name);
        let body = body(row, handle.stop.clone());
        let whole = async move {
            let _ended = ended;
            tokio::select! {
                biased;
                () = body => {}
                () = cut.cancelled() => tracing::warn!("cut at the drain's deadline"),
            }
        };
        // Detached on purpose: the tracker holds it.
        drop(self.start(whole.instrument(span)));
        handle
    }
}
