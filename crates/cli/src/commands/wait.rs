//! Staying with a job until it ends.

use std::time::Duration;

use forebay_wire::{
    JobId, JobState, Timestamp,
    api::{Job, JobEvent},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    api::{Api, ApiError, Patience},
    clock,
    console::Console,
    exit,
    failure::Failure,
    view,
};

/// How often the progress line moves.
const TICK: Duration = Duration::from_secs(1);
/// How often the job is read anew for the line: reasons change without an event.
const LOOK: Duration = Duration::from_secs(10);

/// A job that is watched.
pub(super) struct Watch<'a> {
    api: &'a Api,
    console: &'a Console,
    id: JobId,
    patience: Patience<'a>,
    job: Job,
    raw: Value,
    /// The last event seen.
    after: i64,
    looked_at: Instant,
}

/// As much of an event as must be understood to go on.
#[derive(Deserialize)]
struct Seen {
    seq: i64,
}

impl<'a> Watch<'a> {
    /// Begins with what the server said last about the job.
    pub(super) fn new(
        api: &'a Api,
        console: &'a Console,
        raw: Value,
        patience: Patience<'a>,
    ) -> Result<Self, ApiError> {
        let job: Job = api.read(raw.clone())?;
        Ok(Self {
            api,
            console,
            id: job.id,
            patience,
            job,
            raw,
            after: 0,
            looked_at: Instant::now(),
        })
    }

    /// The job's id.
    pub(super) fn id(&self) -> JobId {
        self.id
    }

    /// Whether the job is known to be an array.
    pub(super) fn is_array(&self) -> bool {
        self.job.status.tasks.is_some()
    }

    /// Waits for the end; answers the job as it is then, also as it came.
    ///
    /// A cut connection, or a server that is away for a while, is taken up again
    /// behind the last event seen. Failures say that the job goes on.
    pub(super) async fn until_end(mut self) -> Result<(Job, Value), Failure> {
        while !self.job.status.state.is_end() {
            if let Err(error) = self.follow_events().await {
                self.console.clear();
                let id = self.id;
                return Err(Failure::from(error).exiting(exit::LOST_SIGHT).hint(format!(
                    "The job goes on. Look at it with: forebay show {id}"
                )));
            }
        }
        self.console.clear();
        Ok((self.job, self.raw))
    }

    /// One connection's worth of events, and a look at the job behind it.
    async fn follow_events(&mut self) -> Result<(), ApiError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let cut = match self.api.events(self.id, self.after).await {
            Err(error) => error,
            Ok(mut events) => loop {
                tokio::select! {
                    event = events.next() => match event {
                        Ok(Some(data)) => {
                            self.patience.reset();
                            if self.note(&data) {
                                break ApiError::Cut;
                            }
                        }
                        Ok(None) => break ApiError::Cut,
                        Err(error) => break error,
                    },
                    _ = ticks.tick(), if self.console.shows_progress() => {
                        self.console.progress(&progress(&self.job, Timestamp::now()));
                        if self.looked_at.elapsed() >= LOOK {
                            // The stream is what counts; this look is for the eye.
                            self.look().await.ok();
                        }
                    }
                }
            },
        };
        match self.look().await {
            Ok(()) if self.job.status.state.is_end() => Ok(()),
            Ok(()) => self.patience.after(cut).await,
            Err(error) => self.patience.after(error).await,
        }
    }

    /// Takes an event in; answers whether it is an end. What a newer server
    /// sends beyond our understanding is passed over.
    fn note(&mut self, data: &str) -> bool {
        if let Ok(Seen { seq }) = serde_json::from_str(data) {
            self.after = self.after.max(seq);
        }
        let event: Option<JobEvent> = serde_json::from_str(data).ok();
        let state = event.and_then(|event| match event.kind {
            forebay_wire::api::EventKind::State { state } => Some(state),
            _ => None,
        });
        if let Some(state) = state {
            self.job.status.state = state;
            self.job.status.reason = None;
            // Read nodes and reason soon.
            self.looked_at = Instant::now().checked_sub(LOOK).unwrap_or(self.looked_at);
        }
        state.is_some_and(JobState::is_end)
    }

    async fn look(&mut self) -> Result<(), ApiError> {
        self.looked_at = Instant::now();
        let raw: Value = self.api.get(&format!("/api/v1/jobs/{}", self.id)).await?;
        self.job = self.api.read(raw.clone())?;
        self.raw = raw;
        Ok(())
    }
}

/// One line about a job that is waited for.
fn progress(job: &Job, now: Timestamp) -> String {
    let status = &job.status;
    let nodes = status
        .nodes
        .as_deref()
        .filter(|_| status.state == JobState::Running);
    let place = nodes
        .map(|nodes| format!(" on {nodes}"))
        .unwrap_or_default();
    let why = status
        .reason
        .as_deref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    let since = clock::between(status.started_at.unwrap_or(job.created_at), now);
    format!("{since}  {}{place}{why}", view::state(job))
}

/// How a job ended, in one sentence.
pub(super) fn ending(job: &Job) -> String {
    let status = &job.status;
    let how = match (status.state, view::ending(job.status.exit)) {
        (JobState::Succeeded, _) | (_, None) => String::new(),
        (_, Some(how)) => format!(", {how}"),
    };
    let span = super::jobs::elapsed(status, Timestamp::now())
        .map(|span| format!(" after {span}"))
        .unwrap_or_default();
    let why = status
        .reason
        .as_deref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default();
    format!("{} {}{how}{span}{why}", job.id, status.state)
}
