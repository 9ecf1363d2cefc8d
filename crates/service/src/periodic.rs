//! Work without input: looks what there is to do, at an interval and when nudged.

use crate::{
    backoff::random_u64,
    logs,
    nudge::Nudge,
    status::TaskKind,
    supervise::TaskHandle,
    tasks::{Tasks, panic_message},
};
use futures_util::FutureExt as _;
use std::{error::Error, future::Future, panic::AssertUnwindSafe, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};

/// When a periodic task runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Every {
    /// From the end of one run to the start of the next, without a nudge.
    pub interval: Duration,
    /// The interval is lengthened or shortened by up to this share of itself (0 to 1), so that
    /// many services started together do not stay in step.
    pub jitter: f64,
    /// From the end of one run to the start of the next at least, also when nudged.
    pub gap: Duration,
    /// A run that takes longer is cut and counts as failed.
    pub deadline: Duration,
    /// After failures in a row the wait doubles each time, up to this many intervals. A nudge
    /// shortens it to a quarter of an interval, or to `gap` if that is longer.
    pub slowdown_max: u32,
}

impl Every {
    /// Each `interval`, ± 10 %, no gap, a deadline of 60 s, up to 8 intervals apart when failing.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            jitter: 0.1,
            gap: Duration::ZERO,
            deadline: Duration::from_secs(60),
            slowdown_max: 8,
        }
    }

    /// With at least this between two runs.
    #[must_use]
    pub fn gap(mut self, gap: Duration) -> Self {
        self.gap = gap;
        self
    }

    /// With this deadline for a run.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The wait after a run, after `failing` failures in a row; `random` is even over `u64`.
    fn wait(&self, failing: u32, random: u64) -> Duration {
        let slower = 1u32
            .checked_shl(failing)
            .unwrap_or(u32::MAX)
            .min(self.slowdown_max.max(1));
        let jitter = if self.jitter.is_finite() {
            self.jitter.clamp(0.0, 1.0)
        } else {
            0.0
        };
        // A 53-bit fraction is exact in an f64.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
        let even = (random >> 11) as f64 / (1u64 << 53) as f64;
        let seconds =
            self.interval.as_secs_f64() * f64::from(slower) * (1.0 + jitter * (2.0 * even - 1.0));
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(self.interval)
            .max(self.gap)
    }
}

impl Tasks {
    /// Run `work` now, then at each interval and when nudged, until the service stops.
    ///
    /// `work` takes no input and is idempotent: a nudge says only "look". Failures and panics are
    /// logged when they begin and when they end, counted, and shown in [`status`](Self::status).
    /// When the service stops, a run under way may finish.
    pub fn periodic<F, Fut, E>(
        &self,
        name: &str,
        every: Every,
        nudge: Nudge,
        mut work: F,
    ) -> TaskHandle
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let row = self.board().add(name, TaskKind::Periodic);
        self.background(row, name, move |row, stop| async move {
            let mut failing = 0;
            while !stop.is_cancelled() {
                row.started();
                let run = AssertUnwindSafe(async { work().await }).catch_unwind();
                let result = match timeout(every.deadline, run).await {
                    Ok(Ok(Ok(()))) => Ok(()),
                    Ok(Ok(Err(error))) => Err(logs::chain(error.into().as_ref())),
                    Ok(Err(payload)) => {
                        Err(format!("panicked: {}", panic_message(payload.as_ref())))
                    }
                    Err(_) => Err(format!("took longer than {:?}", every.deadline)),
                };
                match result {
                    Ok(()) => {
                        if failing > 0 {
                            tracing::info!(failures = failing, "works again");
                        }
                        failing = 0;
                        row.finished();
                    }
                    Err(error) => {
                        // Said at 1, 2, 4, 8 … in a row: visible, without filling the disk.
                        failing = row.failed(error.clone());
                        if failing.is_power_of_two() {
                            tracing::warn!(%error, failing, "failed");
                        }
                    }
                }
                let ended = Instant::now();
                // A failing task does not follow every nudge: callers that nudge on each request
                // would otherwise turn an outage into a storm.
                let gap = if failing > 0 {
                    every.gap.max(every.interval / 4)
                } else {
                    every.gap
                };
                let due = ended + every.wait(failing, random_u64()).max(gap);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep_until(due) => {}
                    () = nudge.nudged() => tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep_until((ended + gap).min(due)) => {}
                    },
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_within_bounds(
            interval in 1u64..100_000, jitter in -0.5f64..2.0, failing: u32, slowdown_max in 0u32..100,
            random: u64, gap in 0u64..1000,
        ) {
            let every = Every {
                jitter, slowdown_max, gap: Duration::from_millis(gap),
                ..Every::new(Duration::from_millis(interval))
            };
            let wait = every.wait(failing, random);
            prop_assert!(wait >= every.gap);
            let longest = every.interval * 2 * slowdown_max.max(1);
            prop_assert!(wait <= longest.max(every.gap));
        }
    }

    #[test]
    fn slows_down_when_failing() {
        let every = Every {
            jitter: 0.0,
            ..Every::new(Duration::from_secs(1))
        };
        let waits: Vec<_> = [0, 1, 2, 3, 4, 40]
            .map(|n| every.wait(n, 7).as_secs())
            .into();
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
    }
}
