//! Numbers of the metrics page that are read now and then, not counted.

use forebay_service::metrics::{Gauge, Metrics};

use crate::realtime::Realtime;

/// The gauges; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gauges {
    clients: Gauge,
    subscriptions: Gauge,
    feed_lag_ms: Gauge,
    connections_open: Gauge,
    connections_waiting: Gauge,
}

impl Gauges {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            clients: metrics.gauge("clients", "Readers that are connected"),
            subscriptions: metrics.gauge("subscriptions", "Topics they are subscribed to"),
            feed_lag_ms: metrics.gauge(
                "feed_lag_ms",
                "Age of the oldest feed row that no reader can have yet",
            ),
            connections_open: metrics
                .gauge("database_connections", "Open connections to the database"),
            connections_waiting: metrics
                .gauge("database_waiting", "Callers that wait for a connection"),
        }
    }

    /// Reads them anew.
    pub(crate) async fn read(&self, realtime: &Realtime) -> Result<(), forebay_central::Error> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.clients.set(number(realtime.seats().count()));
        self.subscriptions
            .set(number(realtime.hub().subscriptions()));
        let pool = realtime.store().pool().status();
        self.connections_open.set(number(pool.open));
        self.connections_waiting.set(number(pool.waiting));
        let lag = realtime.store().feed_lag_ms().await?;
        self.feed_lag_ms.set(i64::try_from(lag).unwrap_or(i64::MAX));
        Ok(())
    }
}
