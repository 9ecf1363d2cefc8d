//! Trying again, within bounds, and saying so.

use std::time::Duration;

use forebay_service::{Backoff, Retry};
use tokio::time::Instant;

use super::ApiError;
use crate::console::Console;

const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    max: Duration::from_secs(15),
    factor: 2.0,
};
/// Backoff draws from zero on; a server that is starting is not hammered.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How long one undertaking goes on although the server does not answer.
#[derive(Debug)]
pub struct Patience<'a> {
    console: &'a Console,
    limit: Duration,
    retry: Retry,
    /// Since when nothing has worked.
    failing_since: Option<Instant>,
    said: bool,
}

impl<'a> Patience<'a> {
    /// Goes on for at most `limit` after the last thing that worked.
    pub fn new(console: &'a Console, limit: Duration) -> Self {
        Self {
            console,
            limit,
            retry: BACKOFF.retry(),
            failing_since: None,
            said: false,
        }
    }

    /// Pauses before the next try, or gives the error back: if trying again is
    /// of no use, or has gone on for too long.
    pub async fn after(&mut self, error: ApiError) -> Result<(), ApiError> {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        let left = self.limit.saturating_sub(now - since);
        if !error.may_pass() || left.is_zero() {
            return Err(error);
        }
        // A stream that merely ended is taken up without a word, the first time.
        let silent = matches!(error, ApiError::Cut) && self.retry.failures() == 0;
        if !silent && !self.said {
            self.said = true;
            self.console.note(&format!(
                "{error}; trying again for up to {} s",
                left.as_secs()
            ));
        }
        let pause = self.retry.next_delay().max(PAUSE_MIN).min(left);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Something worked: patience is whole again.
    pub fn reset(&mut self) {
        self.retry.reset();
        self.failing_since = None;
        if std::mem::take(&mut self.said) {
            self.console.note("the server answers again");
        }
    }
}
