//! What all of the service's parts work with.

use std::sync::Arc;

use forebay_central::{
    Store,
    feeds::{Cursor, Source},
};
use forebay_http::{Code, Problem};
use forebay_service::{
    Metrics, Tasks, logs,
    metrics::{Counter, Gauge},
};
use forebay_streams::hub::Hub;
use tokio::sync::{Semaphore, watch};

use crate::{config::Config, seats::Seats, told::Told};

/// How many connections read the database at once for what they are owed. With the feed's reader and the checks of
/// rights that stays below the pool's default.
const TURNS: usize = 8;

/// The service's own state: clones are cheap and the same.
#[derive(Clone, Debug)]
pub struct Realtime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    config: Config,
    hub: Hub<Source, Told>,
    position: watch::Sender<Option<Cursor>>,
    turns: Semaphore,
    seats: Seats,
    tasks: Tasks,
    metrics: Metrics,
    counters: Counters,
}

/// What is counted as it happens.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    pub(crate) deltas: Counter,
    pub(crate) snapshots: Counter,
    pub(crate) resumed: Counter,
    pub(crate) lagged: Counter,
    pub(crate) skipped: Counter,
    pub(crate) held_back: Gauge,
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        Self {
            deltas: metrics.counter("feed_deltas_sent", "Deltas sent to readers"),
            snapshots: metrics.counter("feed_snapshots_sent", "Snapshots sent to readers"),
            resumed: metrics.counter("feed_resumed", "Topics resumed from a cursor"),
            lagged: metrics.counter("feed_lagged", "Readers that were too slow and began anew"),
            skipped: metrics.counter("feed_rows_skipped", "Feed rows that could not be read"),
            held_back: metrics.gauge(
                "feed_held_back",
                "Whether an older transaction holds newer rows of the feed back",
            ),
        }
    }
}

impl Realtime {
    /// Of these parts.
    pub fn new(store: Store, config: Config, tasks: Tasks, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            store,
            hub: Hub::new(),
            position: watch::Sender::new(None),
            turns: Semaphore::new(TURNS.min(config.database.connections.saturating_sub(1).max(1))),
            seats: Seats::new(config.limits),
            config,
            counters: Counters::new(&metrics),
            tasks,
            metrics,
        }))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn hub(&self) -> &Hub<Source, Told> {
        &self.0.hub
    }

    /// Up to where the feed was read and given out; none until the reader has begun.
    pub(crate) fn position(&self) -> &watch::Sender<Option<Cursor>> {
        &self.0.position
    }

    pub(crate) fn turns(&self) -> &Semaphore {
        &self.0.turns
    }

    pub(crate) fn seats(&self) -> &Seats {
        &self.0.seats
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

/// What the caller is told of an error; the log gets its causes.
pub(crate) fn told(error: forebay_central::Error) -> Problem {
    let problem = error.problem();
    match problem.code {
        Code::Internal => tracing::error!(error = logs::chain(&error), "a call failed"),
        Code::Unavailable => {
            tracing::warn!(error = logs::chain(&error), "a call could not be served");
        }
        _ => {}
    }
    problem
}
