//! The steps of a job's life, and where its logs are to be had.

use forebay_wire::{
    JobId, JobState, SiteName,
    api::{EventKind, JobEvent, LogStream},
};
use tokio_postgres::Row;

use crate::{
    Store,
    error::Error,
    sql::{count, get, moment, parsed},
    users::Caller,
};

/// Events of a job after some number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// In order.
    pub items: Vec<JobEvent>,
    /// Whether there are more behind them.
    pub more: bool,
    /// The job's state.
    pub state: JobState,
}

/// Where a job is run, for those who fetch its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlace {
    /// The site that runs it.
    pub site: SiteName,
    /// Its state.
    pub state: JobState,
    /// Whether it may have printed anything: a scheduler has taken it.
    pub printed: bool,
}

/// The end of a log as the site last sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTail {
    /// Where it begins in the file, bytes.
    pub offset: u64,
    /// Its bytes, up to the end of the file.
    pub body: Vec<u8>,
}

impl Store {
    /// At most `limit` events of one of the caller's jobs, those after number `after`.
    pub async fn job_events(
        &self,
        caller: &Caller,
        id: JobId,
        after: i64,
        limit: u32,
    ) -> Result<Events, Error> {
        let client = self.client().await?;
        let rows = client
            .named("job_events.after")
            .query(
                "SELECT j.state, j.event_seq, e.seq, e.at, e.run, e.kind, e.value, e.message
                 FROM jobs j LEFT JOIN LATERAL (
                     SELECT * FROM job_events WHERE job = j.id AND seq > $3 ORDER BY seq LIMIT $4) e ON true
                 WHERE j.id = $1 AND j.owner = $2 ORDER BY e.seq",
                &[&id.uuid(), &caller.user.uuid(), &after, &i64::from(limit)],
            )
            .await?;
        let first = rows.first().ok_or(Error::NotFound("job"))?;
        let newest: i64 = get(first, "event_seq")?;
        let state = parsed("jobs", first, "state")?;
        let items = rows.iter().map(event).collect::<Result<Vec<_>, _>>()?;
        let items: Vec<_> = items.into_iter().flatten().collect();
        let seen = items.last().map_or(after, |event| event.seq);
        Ok(Events {
            more: seen < newest && !items.is_empty(),
            items,
            state,
        })
    }

    /// Where one of the caller's jobs is run.
    pub async fn job_place(&self, caller: &Caller, id: JobId) -> Result<JobPlace, Error> {
        let client = self.client().await?;
        let row = client
            .named("jobs.place")
            .query_opt(
                "SELECT site, state, scheduler_id IS NOT NULL OR started_at IS NOT NULL AS printed FROM jobs WHERE id = $1 AND owner = $2",
                &[&id.uuid(), &caller.user.uuid()],
            )
            .await?
            .ok_or(Error::NotFound("job"))?;
        Ok(JobPlace {
            site: parsed("jobs", &row, "site")?,
            state: parsed("jobs", &row, "state")?,
            printed: get(&row, "printed")?,
        })
    }

    /// The tail that is kept of a log, if one is.
    pub async fn log_tail(
        &self,
        caller: &Caller,
        id: JobId,
        stream: LogStream,
        task: Option<u32>,
    ) -> Result<Option<LogTail>, Error> {
        let client = self.client().await?;
        let row = client
            .named("job_logs.get")
            .query_opt(
                "SELECT l.file_offset, l.body FROM job_logs l JOIN jobs j ON j.id = l.job
                 WHERE l.job = $1 AND j.owner = $2 AND l.stream = $3 AND l.task = $4",
                &[
                    &id.uuid(),
                    &caller.user.uuid(),
                    &stream.as_str(),
                    &task_column(task),
                ],
            )
            .await?;
        row.map(|row| {
            Ok(LogTail {
                offset: get::<i64>(&row, "file_offset")?.unsigned_abs(),
                body: get(&row, "body")?,
            })
        })
        .transpose()
    }
}

/// `job_logs.task`.
pub(crate) fn task_column(task: Option<u32>) -> i64 {
    task.map_or(-1, i64::from)
}

/// An event, from the columns of `job_events`; none where `seq` is null.
pub(crate) fn event(row: &Row) -> Result<Option<JobEvent>, Error> {
    let Some(seq) = get::<Option<i64>>(row, "seq")? else {
        return Ok(None);
    };
    let kind = match get::<&str>(row, "kind")? {
        "state" => EventKind::State {
            state: parsed("job_events", row, "value")?,
        },
        "freshness" => EventKind::Freshness {
            freshness: parsed("job_events", row, "value")?,
        },
        _ => EventKind::CancelWanted,
    };
    Ok(Some(JobEvent {
        seq,
        at: moment(row, "at")?,
        run: count("job_events", row, "run")?,
        kind,
        message: get(row, "message")?,
    }))
}
