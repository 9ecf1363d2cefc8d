//! Metrics of a service: one registry with the prefix `forebay_`, rendered as `OpenMetrics` text.
//!
//! A thin layer over `prometheus-client`, whose types are re-exported where a caller needs them.

use crate::{process, tasks::Tasks};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{MetricType, TypedMetric, counter::ConstCounter, gauge::ConstGauge},
    registry::{Metric, Registry},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use prometheus_client::metrics::{
    counter::Counter,
    family::Family,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};

/// The `Content-Type` of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry of one service; clones are the same registry.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry that holds the metrics of the process: resident memory, processor time, open
    /// descriptors, start time.
    pub fn new() -> Self {
        let metrics = Self(Arc::new(Mutex::new(Registry::with_prefix("forebay"))));
        metrics.collect_from(process::ProcessCollector::new());
        metrics
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add `metric` under `forebay_<name>` and give it back: metrics are handles, a clone counts
    /// into the same value. Counters are rendered with `_total` behind their name.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry().register(name, help, metric.clone());
        metric
    }

    /// A new counter.
    pub fn counter(&self, name: &str, help: &str) -> Counter {
        self.register(name, help, Counter::default())
    }

    /// A new gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, help, Gauge::default())
    }

    /// A new histogram of seconds, from 1 ms to 32 s in doubling steps.
    pub fn seconds(&self, name: &str, help: &str) -> Histogram {
        self.register(
            name,
            help,
            Histogram::new(exponential_buckets(0.001, 2.0, 16)),
        )
    }

    /// Add values that are read anew at each scrape.
    pub fn collect_from(&self, collector: impl Collector) {
        self.registry().register_collector(Box::new(collector));
    }

    /// All metrics as `OpenMetrics` text; see [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if text::encode(&mut text, &self.registry()).is_err() {
            // Writing to a String does not fail; a collector of a caller might.
            tracing::warn!("metrics could not be rendered whole");
        }
        text
    }
}

/// Renders one value without labels.
pub(crate) fn encode_one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &(impl EncodeMetric + ?Sized),
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, value.metric_type())?;
    value.encode(metric)
}

/// Restarts and states of a service's background tasks.
#[derive(Debug)]
pub(crate) struct TaskCollector(pub(crate) Tasks);

impl Collector for TaskCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Tasks of one name (one per cluster, say) are added up.
        let mut by_name: BTreeMap<String, (u64, i64)> = BTreeMap::new();
        for task in self.0.status() {
            let sums = by_name.entry(task.name).or_default();
            sums.0 += task.restarts;
            sums.1 += i64::from(task.failing > 0);
        }
        let mut restarts = encoder.encode_descriptor(
            "task_restarts",
            "Unexpected ends of background tasks",
            None,
            <ConstCounter<u64> as TypedMetric>::TYPE,
        )?;
        for (name, (count, _)) in &by_name {
            let labels = [("task", name.as_str())];
            ConstCounter::new(*count).encode(restarts.encode_family(&labels)?)?;
        }
        let mut failing = encoder.encode_descriptor(
            "tasks_failing",
            "Background tasks whose last run failed",
            None,
            MetricType::Gauge,
        )?;
        for (name, (_, count)) in &by_name {
            let labels = [("task", name.as_str())];
            ConstGauge::new(*count).encode(failing.encode_family(&labels)?)?;
        }
        let count = i64::try_from(self.0.count()).unwrap_or(i64::MAX);
        encode_one(
            &mut encoder,
            "tasks",
            "Tasks under way, of any kind",
            &ConstGauge::new(count),
        )
    }
}
