//! A job's life as one pure function: what it is, and what happened to it, give
//! what it becomes. Nothing here knows a database or a clock.
//!
//! [`STEPS`] is the whole law: a [`transition`] is a walk of legal steps, and
//! whatever would need another step is [`Refused`]. Observations may skip
//! states (the site slept while the job started); the walk then inserts the
//! steps between with the best times known.

mod array;
mod saw;
mod steps;
#[cfg(test)]
mod tests;

pub use array::{Derived, Tasks, derive};
pub use steps::{STEPS, reachable, step_is_legal};

use forebay_wire::{
    Freshness, JobState, Timestamp,
    api::{EventKind, Exit, JobEvent},
    link::Observation,
};

/// All of a job that its life changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Where it is.
    pub state: JobState,
    /// How often the scheduler started it anew.
    pub run: u32,
    /// How well `state` is known.
    pub freshness: Freshness,
    /// Rises with every change.
    pub rev: i64,
    /// The newest event's number.
    pub event_seq: i64,
    /// Why it waits, was refused or ended.
    pub reason: Option<String>,
    /// When somebody first asked to cancel it.
    pub cancel_wanted_at: Option<Timestamp>,
    /// The scheduler's id.
    pub scheduler_id: Option<String>,
    /// When the scheduler took it.
    pub submitted_at: Option<Timestamp>,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How its program ended.
    pub exit: Option<Exit>,
    /// The nodes it was given.
    pub nodes: Option<String>,
    /// The file of its standard output.
    pub stdout_path: Option<String>,
    /// The file of its standard error.
    pub stderr_path: Option<String>,
    /// Of an array: how many tasks it has.
    pub tasks_total: Option<u32>,
}

impl Life {
    /// A job nobody has done anything with.
    pub const fn new(state: JobState) -> Self {
        Self {
            state,
            run: 0,
            freshness: Freshness::Live,
            rev: 0,
            event_seq: 0,
            reason: None,
            cancel_wanted_at: None,
            scheduler_id: None,
            submitted_at: None,
            started_at: None,
            ended_at: None,
            exit: None,
            nodes: None,
            stdout_path: None,
            stderr_path: None,
            tasks_total: None,
        }
    }
}

/// What happened to a job.
#[derive(Clone, Copy, Debug)]
pub enum Cause<'a> {
    /// Its owner handed it in.
    Submit,
    /// Its owner asked to cancel it.
    Cancel,
    /// Its site took it.
    Claim,
    /// Its site saw something.
    Saw {
        /// Which run of the job this is about.
        run: u32,
        /// When it was seen or happened, by the site's clock.
        at: Timestamp,
        /// What was seen.
        saw: &'a Observation,
        /// The array's tasks, those of this observation already among them;
        /// `None` where the observation is not about tasks.
        tasks: Option<&'a Tasks>,
    },
}

impl Cause<'_> {
    /// A word for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Cancel => "cancel",
            Self::Claim => "claim",
            Self::Saw { saw, .. } => match saw {
                Observation::Released { .. } => "released",
                Observation::Refused { .. } => "refused",
                Observation::Waiting { .. } => "waiting",
                Observation::Started { .. } => "started",
                Observation::Ending => "ending",
                Observation::Requeued => "requeued",
                Observation::Ended { .. } => "ended",
                Observation::Vanished { .. } => "vanished",
                Observation::Tasks { .. } => "tasks",
                Observation::Freshness { .. } => "freshness",
            },
        }
    }
}

/// What a job becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The job afterwards. Equal to the job before if nothing changed.
    pub after: Life,
    /// What to record, in order; numbered on from the job's `event_seq`.
    pub events: Vec<JobEvent>,
}

impl Outcome {
    /// The states entered, those skipped by the observation among them.
    pub fn path(&self) -> Vec<JobState> {
        let entered = |event: &JobEvent| match event.kind {
            EventKind::State { state } => Some(state),
            EventKind::CancelWanted | EventKind::Freshness { .. } => None,
        };
        self.events.iter().filter_map(entered).collect()
    }
}

/// The cause does not fit the job. Nothing is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {from} cannot take `{cause}`: {why}")]
pub struct Refused {
    /// The job's state.
    pub from: JobState,
    /// [`Cause::name`].
    pub cause: &'static str,
    /// Which rule it breaks.
    pub why: &'static str,
}

/// Applies one cause to a job at the moment `now` (by our own clock; it dates
/// what the API and the claim do, and measures how long a job has been lost).
pub fn transition(current: &Life, cause: &Cause<'_>, now: Timestamp) -> Result<Outcome, Refused> {
    let mut walk = Walk::new(current, cause.name());
    match *cause {
        Cause::Submit => walk.step(JobState::Queued, now, None)?,
        Cause::Claim => walk.step(JobState::Submitting, now, None)?,
        Cause::Cancel => cancel(&mut walk, now)?,
        Cause::Saw {
            run,
            at,
            saw,
            tasks,
        } => saw::apply(&mut walk, run, at, saw, tasks, now)?,
    }
    Ok(walk.outcome(current))
}

fn cancel(walk: &mut Walk, now: Timestamp) -> Result<(), Refused> {
    match walk.life.state {
        JobState::Draft | JobState::Queued => {
            walk.life.cancel_wanted_at = Some(now);
            walk.end(JobState::Cancelled, now, None)
        }
        state if state.is_end() => Err(walk.refused("it has ended")),
        _ => {
            // Asking again changes nothing.
            if walk.life.cancel_wanted_at.is_none() {
                walk.life.cancel_wanted_at = Some(now);
                walk.event(EventKind::CancelWanted, now, None);
            }
            Ok(())
        }
    }
}

/// A job on its way: every change of state goes through [`Walk::step`].
struct Walk {
    life: Life,
    events: Vec<JobEvent>,
    cause: &'static str,
}

impl Walk {
    fn new(current: &Life, cause: &'static str) -> Self {
        Self {
            life: current.clone(),
            events: Vec::new(),
            cause,
        }
    }

    fn refused(&self, why: &'static str) -> Refused {
        Refused {
            from: self.life.state,
            cause: self.cause,
            why,
        }
    }

    fn step(&mut self, to: JobState, at: Timestamp, message: Option<&str>) -> Result<(), Refused> {
        if !step_is_legal(self.life.state, to) {
            return Err(self.refused("there is no such step"));
        }
        self.life.state = to;
        self.event(EventKind::State { state: to }, at, message);
        Ok(())
    }

    /// The last step. What ended a job is known for certain, but for `lost`.
    fn end(&mut self, to: JobState, at: Timestamp, message: Option<&str>) -> Result<(), Refused> {
        self.step(to, at, message)?;
        self.life.ended_at = Some(at);
        self.life.reason = message.map(str::to_owned);
        self.life.freshness = match to {
            JobState::Lost => Freshness::Missing,
            _ => Freshness::Live,
        };
        Ok(())
    }

    fn event(&mut self, kind: EventKind, at: Timestamp, message: Option<&str>) {
        self.life.event_seq += 1;
        self.events.push(JobEvent {
            seq: self.life.event_seq,
            at,
            run: self.life.run,
            kind,
            message: message.map(str::to_owned),
        });
    }

    fn outcome(mut self, before: &Life) -> Outcome {
        if self.life != *before {
            self.life.rev += 1;
        }
        Outcome {
            after: self.life,
            events: self.events,
        }
    }
}
