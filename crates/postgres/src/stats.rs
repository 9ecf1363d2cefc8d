//! What each named query has cost so far: the numbers behind a service's metrics page.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The totals of one named query since the pool was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// How often it ran, failures included.
    pub calls: u64,
    /// How often it failed.
    pub errors: u64,
    /// Time from sending to the whole answer, summed.
    pub total: Duration,
    /// The slowest call.
    pub slowest: Duration,
}

/// One table for all connections of a pool. Names are literals in the program, which bounds it.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<BTreeMap<&'static str, QueryStats>>);

impl Registry {
    pub(crate) fn record(&self, query: &'static str, took: Duration, failed: bool) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stats = table.entry(query).or_default();
        stats.calls += 1;
        stats.errors += u64::from(failed);
        stats.total += took;
        stats.slowest = stats.slowest.max(took);
    }

    pub(crate) fn snapshot(&self) -> Vec<(&'static str, QueryStats)> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(name, stats)| (*name, *stats)).collect()
    }
}
