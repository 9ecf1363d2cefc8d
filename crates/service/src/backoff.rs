//! Exponential backoff with full jitter: a delay is drawn evenly from zero to a growing ceiling.
//!
//! Full jitter spreads the retries of many callers that failed at the same moment, which a fixed
//! share of jitter does not.

use std::time::Duration;

/// How retries are spaced. The `n`-th delay (from 0) is drawn from `0..=min(max, base·factorⁿ)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// Ceiling of the first delay.
    pub base: Duration,
    /// No ceiling grows beyond this.
    pub max: Duration,
    /// By how much the ceiling grows each time; values below 1, and non-numbers, count as 1.
    pub factor: f64,
}

impl Default for Backoff {
    /// 0.2 s, doubling, to 30 s.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(200),
            max: Duration::from_secs(30),
            factor: 2.0,
        }
    }
}

impl Backoff {
    /// Doubling from `base` to `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            factor: 2.0,
        }
    }

    /// The longest that the delay after `attempt` failed attempts before it (0: none) may be.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let factor = if self.factor > 1.0 { self.factor } else { 1.0 };
        let exponent = i32::try_from(attempt).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * factor.powi(exponent);
        // Overflow makes infinity, and 0·∞ makes NaN; neither is a Duration.
        match Duration::try_from_secs_f64(seconds) {
            Ok(delay) => delay.min(self.max),
            Err(_) if self.base.is_zero() => Duration::ZERO,
            Err(_) => self.max,
        }
    }

    /// The delay for `attempt`, given `random` evenly distributed over `u64`.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let ceiling = u64::try_from(self.ceiling(attempt).as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(ceiling) * u128::from(random)) >> 64;
        // `scaled <= ceiling`, which is a u64.
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(ceiling))
    }

    /// A counter of attempts that draws its own random numbers.
    pub fn retry(self) -> Retry {
        Retry {
            backoff: self,
            attempt: 0,
        }
    }
}

/// Counts the failures of one undertaking and says how long to wait before the next try.
#[derive(Clone, Debug)]
pub struct Retry {
    backoff: Backoff,
    attempt: u32,
}

impl Retry {
    /// The delay before the next try; each call counts a failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.backoff.delay(self.attempt, random_u64());
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// Failures since the start or the last [`reset`](Self::reset).
    pub fn failures(&self) -> u32 {
        self.attempt
    }

    /// Forget the failures: the undertaking works again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// A random number for jitter and identifiers.
///
/// Should the kernel refuse, which it does only before it has been seeded, the clock stands in:
/// jitter needs no more, and nothing secret is made here.
pub fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::from(now.subsec_nanos())
            .wrapping_add(now.as_secs())
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn stays_within_its_ceiling(
            base in 0u64..10_000_000, max in 0u64..10_000_000, factor in -1.0f64..1e9,
            attempt: u32, random: u64,
        ) {
            let backoff = Backoff { base: Duration::from_millis(base), max: Duration::from_millis(max), factor };
            let ceiling = backoff.ceiling(attempt);
            prop_assert!(ceiling <= backoff.max);
            prop_assert!(backoff.delay(attempt, random) <= ceiling);
            prop_assert!(backoff.ceiling(attempt.saturating_add(1)) >= ceiling, "never shrinks");
        }

        #[test]
        fn jitter_covers_the_whole_ceiling(attempt in 0u32..20) {
            let backoff = Backoff::default();
            let ceiling = backoff.ceiling(attempt);
            prop_assert_eq!(backoff.delay(attempt, 0), Duration::ZERO);
            prop_assert!(backoff.delay(attempt, u64::MAX) + Duration::from_nanos(1) >= ceiling);
            let middle = backoff.delay(attempt, u64::MAX / 2);
            prop_assert!(middle.abs_diff(ceiling / 2) < Duration::from_micros(1));
        }
    }

    #[test]
    fn doubles_to_the_maximum() {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(1));
        let ceilings: Vec<_> = (0..5).map(|n| backoff.ceiling(n).as_millis()).collect();
        assert_eq!(ceilings, [200, 400, 800, 1000, 1000]);
        for odd in [f64::NAN, f64::INFINITY, 0.0] {
            assert!(
                Backoff {
                    factor: odd,
                    ..backoff
                }
                .ceiling(7)
                    <= backoff.max
            );
        }
    }
}
