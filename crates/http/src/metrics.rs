//! Requests, counted and timed.

use forebay_service::{
    Metrics,
    metrics::{Counter, Family, Histogram, exponential_buckets},
};
use http::Method;
use std::time::Duration;

type Labels<const N: usize> = [(&'static str, String); N];

#[derive(Clone, Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<Labels<3>, Counter>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
}

fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 4.0, 8))
}

impl HttpMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let requests = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        Self {
            requests: metrics.register("http_requests", "Requests answered", requests),
            seconds: metrics.register(
                "http_request_seconds",
                "From the end of the headers to the begin of the answer",
                seconds,
            ),
        }
    }

    /// `route` is a template, so that the number of series is that of the routes.
    pub(crate) fn observe(&self, method: &Method, route: &str, status: u16, took: Duration) {
        // A client may invent methods; they are one series.
        let known = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::HEAD,
        ];
        let method = if known.contains(method) {
            method.as_str()
        } else {
            "other"
        };
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.to_string()),
        ];
        self.requests.get_or_create(&labels).inc();
        self.seconds
            .get_or_create(&[("route", route.to_owned())])
            .observe(took.as_secs_f64());
    }
}
