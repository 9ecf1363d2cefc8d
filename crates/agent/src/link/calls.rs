//! How many calls the link makes: what a job costs there.

use forebay_service::{
    Metrics,
    metrics::{Counter, Family},
};

/// `link_calls_total{call=…}`.
#[derive(Clone, Debug)]
pub(super) struct Calls(Family<[(&'static str, &'static str); 1], Counter>);

impl Calls {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(metrics.register(
            "link_calls",
            "Calls to the view-server, whatever became of them",
            Family::default(),
        ))
    }

    pub(super) fn count(&self, call: &'static str) {
        self.0.get_or_create(&[("call", call)]).inc();
    }
}
