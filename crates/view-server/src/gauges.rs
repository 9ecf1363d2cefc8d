//! Numbers of the metrics page that are read now and then, not counted.

use forebay_central::Error;
use forebay_service::metrics::{Family, Gauge, Metrics};
use forebay_wire::JobState;

use crate::view::View;

type ByState = Family<[(&'static str, &'static str); 1], Gauge>;
type ByQuery = ByState;

/// The gauges; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gauges {
    jobs: ByState,
    feed_lag_ms: Gauge,
    tunnels: Gauge,
    connections_open: Gauge,
    connections_waiting: Gauge,
    queries: ByQuery,
    query_errors: ByQuery,
    query_ms: ByQuery,
}

impl Gauges {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            jobs: metrics.register(
                "jobs",
                "Jobs that have not ended, by state",
                ByState::default(),
            ),
            feed_lag_ms: metrics.gauge(
                "feed_lag_ms",
                "Age of the oldest feed row that no reader can have yet",
            ),
            tunnels: metrics.gauge("tunnels", "Sites whose tunnel ends here"),
            connections_open: metrics
                .gauge("database_connections", "Open connections to the database"),
            connections_waiting: metrics
                .gauge("database_waiting", "Callers that wait for a connection"),
            queries: metrics.register(
                "database_queries",
                "Queries since the start",
                ByQuery::default(),
            ),
            query_errors: metrics.register(
                "database_query_errors",
                "Queries that failed since the start",
                ByQuery::default(),
            ),
            query_ms: metrics.register(
                "database_query_ms",
                "Milliseconds spent on queries since the start",
                ByQuery::default(),
            ),
        }
    }

    /// Reads them anew.
    pub(crate) async fn read(&self, view: &View) -> Result<(), Error> {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.tunnels.set(number(view.tunnels().count()));
        let pool = view.store().pool().status();
        self.connections_open.set(number(pool.open));
        self.connections_waiting.set(number(pool.waiting));
        for (name, stats) in view.store().pool().query_stats() {
            let labels = [("query", name)];
            let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.queries.get_or_create(&labels).set(count(stats.calls));
            self.query_errors
                .get_or_create(&labels)
                .set(count(stats.errors));
            let ms = u64::try_from(stats.total.as_millis()).unwrap_or(u64::MAX);
            self.query_ms.get_or_create(&labels).set(count(ms));
        }
        let counts = view.store().jobs_by_state().await?;
        for state in JobState::ALL.iter().filter(|state| !state.is_end()) {
            let count = counts.get(state.as_str()).copied().unwrap_or(0);
            self.jobs
                .get_or_create(&[("state", state.as_str())])
                .set(count);
        }
        let lag = view.store().feed_lag_ms().await?;
        self.feed_lag_ms.set(i64::try_from(lag).unwrap_or(i64::MAX));
        Ok(())
    }
}
