//! Numbers for the metrics page.

use std::collections::BTreeMap;

use crate::{Store, error::Error, sql::get};

impl Store {
    /// How many jobs are in each state that is no end.
    pub async fn jobs_by_state(&self) -> Result<BTreeMap<String, i64>, Error> {
        let client = self.client().await?;
        let rows = client
            .named("jobs.by_state")
            .query(
                "SELECT state, count(*) AS jobs FROM jobs WHERE ended_at IS NULL GROUP BY state",
                &[],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((get(row, "state")?, get(row, "jobs")?)))
            .collect()
    }

    /// The age of the oldest feed row that no reader can have yet, milliseconds.
    pub async fn feed_lag_ms(&self) -> Result<u64, Error> {
        Ok(self.feed.lag_ms().await?)
    }
}
