//! The tasks of an array.

use forebay_wire::{
    JobId,
    api::{JobTask, Page},
};

use super::row::task_row;
use crate::{Store, error::Error, sql::get, users::Caller};

impl Store {
    /// At most `limit` tasks of one of the caller's jobs, by index; none for a job
    /// that is no array.
    pub async fn job_tasks(
        &self,
        caller: &Caller,
        id: JobId,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<JobTask>, Error> {
        let after: i64 = match cursor {
            Some(text) => text.parse::<u32>().map_err(|_| Error::Cursor)?.into(),
            None => -1,
        };
        let client = self.client().await?;
        let rows = client
            .named("job_tasks.after")
            .query(
                "SELECT t.* FROM jobs j LEFT JOIN LATERAL (
                     SELECT * FROM job_tasks WHERE job = j.id AND index > $3 ORDER BY index LIMIT $4) t ON true
                 WHERE j.id = $1 AND j.owner = $2 ORDER BY t.index",
                &[&id.uuid(), &caller.user.uuid(), &after, &(i64::from(limit) + 1)],
            )
            .await?;
        if rows.is_empty() {
            return Err(Error::NotFound("job"));
        }
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            if get::<Option<i64>>(row, "index")?.is_some() {
                items.push(task_row(row)?);
            }
        }
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items
            .last()
            .filter(|_| more)
            .map(|task| task.index.to_string());
        Ok(Page { items, next })
    }
}
