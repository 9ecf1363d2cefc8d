//! Sign-ins that failed, counted for each place that calls: guessing tokens is hopeless, and this
//! keeps it from being a load, too. In memory: a bound, not a record; the audit is that.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use forebay_http::{Code, Problem};

/// Failures of one place within [`WINDOW`].
const FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Places remembered. Beyond that all new ones count as one.
const PLACES: usize = 10_000;
const OTHERS: &str = "";

/// The places that failed lately.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<String, Failures>>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Failures {
    fn is_past(self, now: Instant) -> bool {
        now.duration_since(self.since) >= WINDOW
    }
}

impl Attempts {
    /// Whether a sign-in from there may be tried now.
    pub(crate) fn may(&self, from: &str) -> Result<(), Problem> {
        if self.count(from, Instant::now()) < FAILURES {
            return Ok(());
        }
        let message = "Too many sign-ins from here have failed. Wait a minute, then try again.";
        Err(Problem::new(Code::Busy, message))
    }

    /// One has failed.
    pub(crate) fn failed(&self, from: &str) {
        self.note(from, Instant::now());
    }

    fn count(&self, from: &str, now: Instant) -> u32 {
        let places = self.lock();
        let known = if places.contains_key(from) || places.len() < PLACES {
            from
        } else {
            OTHERS
        };
        let found = places.get(known).filter(|found| !found.is_past(now));
        found.map_or(0, |found| found.count)
    }

    fn note(&self, from: &str, now: Instant) {
        let mut places = self.lock();
        if places.len() >= PLACES && !places.contains_key(from) {
            places.retain(|_, failures| !failures.is_past(now));
        }
        let known = if places.contains_key(from) || places.len() < PLACES {
            from
        } else {
            OTHERS
        };
        let fresh = Failures {
            count: 0,
            since: now,
        };
        let failures = places.entry(known.to_owned()).or_insert(fresh);
        if failures.is_past(now) {
            *failures = fresh;
        }
        failures.count = failures.count.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Failures>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_waits_and_others_do_not() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..FAILURES {
            assert!(attempts.may("a").is_ok());
            attempts.note("a", now);
        }
        assert_eq!(attempts.may("a").expect_err("too many").code, Code::Busy);
        assert!(attempts.may("b").is_ok());
        let later = now + WINDOW;
        assert_eq!(attempts.count("a", later), 0);
        attempts.note("a", later);
        assert_eq!(attempts.count("a", later), 1);
    }

    #[test]
    fn the_table_is_bounded() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for place in 0..PLACES + 50 {
            attempts.note(&format!("{place}"), now);
        }
        assert!(attempts.lock().len() <= PLACES + 1);
        // Whoever comes now is one of the others, who have failed too often together.
        assert_eq!(attempts.count("another", now), 50);
        assert_eq!(attempts.count("0", now), 1);
        attempts.note("another", now + WINDOW);
        assert_eq!(attempts.lock().len(), 1);
    }
}
