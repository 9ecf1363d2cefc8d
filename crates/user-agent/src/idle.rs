//! Knowing when nobody has called for a while.

use std::time::Duration;

use tokio::sync::watch;

/// Counts the calls under way. Clones count together.
#[derive(Clone, Debug)]
pub struct Activity {
    open: watch::Sender<usize>,
}

/// One call under way, until it is dropped; a streamed answer holds it to its end.
#[derive(Debug)]
pub struct Open {
    open: watch::Sender<usize>,
}

impl Activity {
    /// No calls yet.
    pub fn new() -> Self {
        Self {
            open: watch::Sender::new(0),
        }
    }

    /// A call begins.
    pub fn begin(&self) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open {
            open: self.open.clone(),
        }
    }

    /// Returns once no call was under way for so long.
    pub async fn idle(&self, long: Duration) {
        let mut open = self.open.subscribe();
        loop {
            // Its sender is here, so it cannot end.
            let _ = open.wait_for(|open| *open == 0).await;
            if tokio::time::timeout(long, open.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_from_the_end_of_the_last_call() {
        let activity = Activity::new();
        let begun = Instant::now();
        let calls = async {
            tokio::time::sleep(Duration::from_secs(9)).await;
            let long = activity.begin();
            let short = activity.begin();
            drop(short);
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(long);
            tokio::time::sleep(Duration::from_secs(9)).await;
            drop(activity.begin());
        };
        tokio::join!(calls, activity.idle(Duration::from_secs(10)));
        assert_eq!(begun.elapsed().as_secs(), 9 + 100 + 9 + 10);
    }
}
