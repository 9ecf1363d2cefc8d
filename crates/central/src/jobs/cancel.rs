//! Asking for a job's end.

use forebay_postgres::feed;
use forebay_wire::{JobId, Timestamp, api::Job};

use super::{
    row::{JOB_COLUMNS, JOB_TABLES, JobRow},
    write::{Change, Guard, raw, write},
};
use crate::{
    Store,
    audit::Actor,
    error::Error,
    life::{Cause, transition},
    users::{Caller, record},
};

impl Store {
    /// Cancels one of the caller's jobs: at once while it is queued, otherwise by
    /// asking its site. Asking again is fine; a job that has ended is a conflict.
    pub async fn job_cancel(
        &self,
        caller: &Caller,
        id: JobId,
        actor: &Actor,
    ) -> Result<Job, Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let sql = format!(
            "SELECT {JOB_COLUMNS} FROM {JOB_TABLES} WHERE j.id = $1 AND j.owner = $2 FOR UPDATE OF j"
        );
        let row = tx
            .named("jobs.cancel_get")
            .query_opt(&sql, &[&id.uuid(), &caller.user.uuid()])
            .await?
            .ok_or(Error::NotFound("job"))?;
        let mut job = JobRow::read(&row)?;
        let outcome = transition(&job.life, &Cause::Cancel, Timestamp::now()).map_err(|_| {
            Error::Conflict(format!("The job has ended already: {}.", job.life.state))
        })?;
        let changed = outcome.after != job.life;
        if changed {
            let change = Change {
                id,
                owner: caller.user,
                before: job.life.state,
                before_rev: job.life.rev,
                after: outcome.after.clone(),
                events: outcome.events,
                seq: None,
            };
            write(&tx, &[change], Guard::Rev).await?;
        }
        job.life = outcome.after;
        if !job.life.state.is_end() {
            // Said again at each request: the site may have missed the first.
            let wanted = feed::Row {
                topic: format!("site:{}", job.site),
                kind: "cancel".into(),
                key: id.to_string(),
                rev: job.life.rev,
                body: raw(&serde_json::json!({}))?,
            };
            feed::append(&tx, &[wanted]).await?;
        }
        record(&tx, actor, "job.cancel", &id.to_string()).await?;
        let job = job.job()?;
        tx.commit().await?;
        self.ring();
        Ok(job)
    }
}
