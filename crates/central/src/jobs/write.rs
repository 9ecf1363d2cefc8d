//! What a transition changed, written: row, events and feed, in few statements
//! however many jobs there are.

use forebay_postgres::{Transaction, feed};
use forebay_wire::{
    JobId, JobState, UserId,
    api::{EventKind, JobEvent},
};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use crate::{error::Error, life::Life, sql::time_of};

/// One job before and after.
pub(crate) struct Change {
    pub(crate) id: JobId,
    pub(crate) owner: UserId,
    /// As it was read, under a row lock.
    pub(crate) before: JobState,
    pub(crate) before_rev: i64,
    pub(crate) after: Life,
    pub(crate) events: Vec<JobEvent>,
    /// The report that caused it; unchanged where no report did.
    pub(crate) seq: Option<i64>,
}

impl Change {
    /// The newest event before the change.
    fn before_event_seq(&self) -> i64 {
        let new = i64::try_from(self.events.len()).unwrap_or(i64::MAX);
        self.after.event_seq.saturating_sub(new)
    }
}

/// Who else may have changed the row: nobody, since it is locked. A row that
/// does not pass the guard is a bug, and the transaction is given up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Reports: never twice the same.
    Seq,
    /// The API and the claim.
    Rev,
}

const UPDATE: &str = "
    UPDATE jobs j SET
        state = n.state, run = n.run, freshness = n.freshness, rev = n.rev, event_seq = n.event_seq,
        reason = n.reason, cancel_wanted_at = n.cancel_wanted_at, scheduler_id = n.scheduler_id,
        submitted_at = n.submitted_at, started_at = n.started_at, ended_at = n.ended_at,
        exit_code = n.exit_code, exit_signal = n.exit_signal, nodes = n.nodes,
        stdout_path = n.stdout_path, stderr_path = n.stderr_path, tasks_total = n.tasks_total,
        seq = coalesce(n.seq, j.seq)
    FROM unnest($1::uuid[], $2::text[], $3::int8[], $4::int8[], $5::text[], $6::int8[], $7::text[], $8::int8[],
                $9::int8[], $10::text[], $11::timestamptz[], $12::text[], $13::timestamptz[], $14::timestamptz[],
                $15::timestamptz[], $16::int4[], $17::int4[], $18::text[], $19::text[], $20::text[], $21::int8[])
         AS n (id, before, before_rev, seq, state, run, freshness, rev,
               event_seq, reason, cancel_wanted_at, scheduler_id, submitted_at, started_at,
               ended_at, exit_code, exit_signal, nodes, stdout_path, stderr_path, tasks_total)
    WHERE j.id = n.id AND j.state = n.before AND j.rev = n.before_rev AND (n.seq IS NULL OR j.seq < n.seq)";

const EVENTS: &str = "
    INSERT INTO job_events (job, seq, at, run, kind, value, message)
    SELECT * FROM unnest($1::uuid[], $2::int8[], $3::timestamptz[], $4::int8[], $5::text[], $6::text[], $7::text[])";

/// Writes changes to different jobs. Ring the doorbell after the commit.
pub(crate) async fn write(
    tx: &Transaction<'_>,
    changes: &[Change],
    guard: Guard,
) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    debug_assert!(
        changes
            .iter()
            .all(|change| (guard == Guard::Seq) == change.seq.is_some())
    );
    update(tx, changes).await?;
    events(tx, changes).await?;
    let rows: Vec<feed::Row> = changes
        .iter()
        .flat_map(feed_rows)
        .collect::<Result<_, _>>()?;
    feed::append(tx, &rows).await?;
    Ok(())
}

/// One column of all changes.
macro_rules! column {
    ($changes:ident, $change:ident => $value:expr) => {
        $changes.iter().map(|$change| $value).collect::<Vec<_>>()
    };
}

async fn update(tx: &Transaction<'_>, changes: &[Change]) -> Result<(), Error> {
    let ids = column!(changes, c => c.id.uuid());
    let before = column!(changes, c => c.before.as_str());
    let before_rev = column!(changes, c => c.before_rev);
    let seq = column!(changes, c => c.seq);
    let state = column!(changes, c => c.after.state.as_str());
    let run = column!(changes, c => i64::from(c.after.run));
    let freshness = column!(changes, c => c.after.freshness.as_str());
    let rev = column!(changes, c => c.after.rev);
    let event_seq = column!(changes, c => c.after.event_seq);
    let reason = column!(changes, c => c.after.reason.as_deref());
    let cancel_wanted_at = column!(changes, c => time_of(c.after.cancel_wanted_at));
    let scheduler_id = column!(changes, c => c.after.scheduler_id.as_deref());
    let submitted_at = column!(changes, c => time_of(c.after.submitted_at));
    let started_at = column!(changes, c => time_of(c.after.started_at));
    let ended_at = column!(changes, c => time_of(c.after.ended_at));
    let exit_code = column!(changes, c => c.after.exit.map(|exit| exit.code));
    let exit_signal = column!(changes, c => c.after.exit.and_then(|exit| exit.signal));
    let nodes = column!(changes, c => c.after.nodes.as_deref());
    let stdout_path = column!(changes, c => c.after.stdout_path.as_deref());
    let stderr_path = column!(changes, c => c.after.stderr_path.as_deref());
    let tasks_total = column!(changes, c => c.after.tasks_total.map(i64::from));
    let written = tx
        .named("jobs.write")
        .execute(
            UPDATE,
            &[
                &ids,
                &before,
                &before_rev,
                &seq,
                &state,
                &run,
                &freshness,
                &rev,
                &event_seq,
                &reason,
                &cancel_wanted_at,
                &scheduler_id,
                &submitted_at,
                &started_at,
                &ended_at,
                &exit_code,
                &exit_signal,
                &nodes,
                &stdout_path,
                &stderr_path,
                &tasks_total,
            ],
        )
        .await?;
    if written == changes.len() as u64 {
        return Ok(());
    }
    Err(Error::Row {
        table: "jobs",
        reason: format!(
            "{} rows were to change under their locks, {written} did",
            changes.len()
        ),
    })
}

async fn events(tx: &Transaction<'_>, changes: &[Change]) -> Result<(), Error> {
    let all: Vec<(JobId, &JobEvent)> = changes
        .iter()
        .flat_map(|change| change.events.iter().map(|event| (change.id, event)))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    let jobs = column!(all, e => e.0.uuid());
    let seqs = column!(all, e => e.1.seq);
    let ats: Vec<OffsetDateTime> = column!(all, e => e.1.at.get());
    let runs = column!(all, e => i64::from(e.1.run));
    let kinds = column!(all, e => kind_of(e.1.kind).0);
    let values = column!(all, e => kind_of(e.1.kind).1);
    let messages = column!(all, e => e.1.message.as_deref());
    tx.named("job_events.append")
        .execute(
            EVENTS,
            &[&jobs, &seqs, &ats, &runs, &kinds, &values, &messages],
        )
        .await?;
    Ok(())
}

/// An event's `kind` and `value`.
pub(super) const fn kind_of(kind: EventKind) -> (&'static str, Option<&'static str>) {
    match kind {
        EventKind::State { state } => ("state", Some(state.as_str())),
        EventKind::CancelWanted => ("cancel_wanted", None),
        EventKind::Freshness { freshness } => ("freshness", Some(freshness.as_str())),
    }
}

fn feed_rows(change: &Change) -> [Result<feed::Row, Error>; 2] {
    let topics = [
        format!("user:{}", change.owner),
        format!("job:{}", change.id),
    ];
    topics.map(|topic| {
        Ok(feed::Row {
            topic,
            kind: "job".into(),
            key: change.id.to_string(),
            rev: change.after.rev,
            body: body(
                change.after.state,
                change.owner,
                (change.before_event_seq(), change.after.event_seq),
            )?,
        })
    })
}

/// What a feed row says of a job: whose it is, and which events are new. Readers fetch the rest, once for all who
/// watch.
pub(super) fn body(
    state: JobState,
    owner: UserId,
    (events_from, event_seq): (i64, i64),
) -> Result<Box<RawValue>, Error> {
    raw(&serde_json::json!({
        "state": state.as_str(), "owner": owner, "events_from": events_from, "event_seq": event_seq,
    }))
}

/// A JSON value for a feed row.
pub(crate) fn raw(value: &serde_json::Value) -> Result<Box<RawValue>, Error> {
    serde_json::value::to_raw_value(value).map_err(|error| Error::Row {
        table: "feed",
        reason: error.to_string(),
    })
}
