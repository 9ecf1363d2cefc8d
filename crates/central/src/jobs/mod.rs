//! Jobs: created, read, listed and cancelled by their owners alone. Every
//! function here takes the caller; there is no other way to a job but the site's
//! (`claims`, `reports`).

mod cancel;
mod create;
mod cursor;
mod events;
mod list;
mod row;
mod tasks;
mod write;

pub use create::{Created, NewJob};
pub use events::{Events, JobPlace, LogTail};
pub use list::{JobFilter, JobSort};

pub(crate) use events::{event, task_column};
pub(crate) use row::{
    ITEM_COLUMNS, JOB_TABLES, LIFE_COLUMNS, life, shown_freshness, status, task_row,
};
pub(crate) use write::{Change, Guard, raw, write};

use forebay_wire::{JobId, api::Job};

use row::JobRow;

use crate::{Store, error::Error, users::Caller};

impl Store {
    /// One of the caller's jobs.
    pub async fn job(&self, caller: &Caller, id: JobId) -> Result<Job, Error> {
        let client = self.client().await?;
        let sql = format!(
            "SELECT {} FROM {} WHERE j.id = $1 AND j.owner = $2",
            row::JOB_COLUMNS,
            row::JOB_TABLES
        );
        let row = client
            .named("jobs.get")
            .query_opt(&sql, &[&id.uuid(), &caller.user.uuid()])
            .await?
            .ok_or(Error::NotFound("job"))?;
        JobRow::read(&row)?.job()
    }
}
