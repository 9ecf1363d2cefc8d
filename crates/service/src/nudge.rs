//! A wake-up that coalesces: many nudges before the sleeper looks are one.

use std::sync::Arc;
use tokio::sync::Notify;

/// Wakes one background task; clones wake the same task.
///
/// A nudge given while the task is busy is kept, so work that arrived during a run is seen by the
/// next one. It carries no input: the task looks for itself what there is to do.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    /// A nudge nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wake the task now, or as soon as it has finished what it is doing.
    pub fn nudge(&self) {
        self.0.notify_one();
    }

    /// Wait for a nudge, and take it. Cancel-safe. Meant for one waiter: with several, each nudge
    /// wakes one of them.
    pub async fn nudged(&self) {
        self.0.notified().await;
    }
}
