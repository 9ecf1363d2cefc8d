//! What to report, given what was reported and what is seen now. Pure.

pub mod array;

use std::time::Duration;

use forebay_wire::{
    Freshness, JobState, Timestamp,
    link::{Observation, Report},
};

use crate::{
    integration::{Part, PartPhase, Record},
    job::{Told, Tracked},
};

/// How long controller and accounting must deny a job before it is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(15 * 60);

/// What follows from a look at one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What will have been told, once the reports are written.
    pub told: Told,
    /// What to report, in order.
    pub reports: Vec<Report>,
    /// Whether the job has ended.
    pub ended: bool,
}

struct Steps<'a> {
    job: &'a Tracked,
    step: Step,
}

impl Steps<'_> {
    fn saw(&mut self, at: Timestamp, saw: Observation) {
        self.step.reports.push(Report::Job {
            job: self.job.job,
            at,
            run: self.step.told.run,
            saw,
        });
    }

    fn is_there(&mut self, record: &Record, now: Timestamp) {
        self.step.told.absent_since = None;
        self.fresh(now, Freshness::Live, None);
        if record.run > self.step.told.run {
            self.step.told.run = record.run;
            self.step.told.state = Some(JobState::Pending);
            self.step.told.reason = None;
            self.saw(now, Observation::Requeued);
        }
    }

    fn fresh(&mut self, now: Timestamp, freshness: Freshness, message: Option<&str>) {
        if self.step.told.freshness.unwrap_or(Freshness::Live) != freshness {
            self.step.told.freshness = Some(freshness);
            let message = message.map(str::to_owned);
            self.saw(now, Observation::Freshness { freshness, message });
        }
    }
}

fn begin(job: &Tracked) -> Steps<'_> {
    Steps {
        job,
        step: Step {
            told: job.told.clone(),
            ..Step::default()
        },
    }
}

/// The scheduler, or its accounting, has a record of the recorded copy of a plain job.
pub fn seen(job: &Tracked, record: &Record, now: Timestamp) -> Step {
    let mut steps = begin(job);
    steps.is_there(record, now);
    if let Some(part) = record.parts.first() {
        plain(&mut steps, part, now);
    }
    steps.step
}

fn plain(steps: &mut Steps<'_>, part: &Part, now: Timestamp) {
    use JobState::{Ending, Pending, Running};

    let started = |steps: &mut Steps<'_>| {
        if !matches!(steps.step.told.state, Some(Running | Ending)) {
            steps.step.told.state = Some(Running);
            let nodes = part.nodes.clone();
            steps.saw(
                part.started_at.unwrap_or(now),
                Observation::Started { nodes },
            );
        }
    };
    match part.phase {
        PartPhase::Held | PartPhase::Waiting => {
            // A record that says "waiting" of what was seen running, without a
            // requeue, is a late answer: it undoes nothing.
            if matches!(steps.step.told.state, None | Some(Pending)) {
                steps.step.told.state = Some(Pending);
                if let Some(reason) = &part.reason
                    && steps.step.told.reason.as_ref() != Some(reason)
                {
                    steps.step.told.reason = Some(reason.clone());
                    steps.saw(
                        now,
                        Observation::Waiting {
                            reason: reason.clone(),
                        },
                    );
                }
            }
        }
        PartPhase::Running => started(steps),
        PartPhase::Ending => {
            started(steps);
            if steps.step.told.state == Some(Running) {
                steps.step.told.state = Some(Ending);
                steps.saw(now, Observation::Ending);
            }
        }
        PartPhase::Ended { end, exit, at } => {
            steps.step.told.state = Some(end);
            steps.step.ended = true;
            steps.saw(
                at,
                Observation::Ended {
                    end,
                    exit,
                    started_at: part.started_at,
                    nodes: part.nodes.clone(),
                    message: part.reason.clone(),
                },
            );
        }
    }
}

/// Those who would know of the job do not answer: nothing follows, but that
/// what was told last may be old.
pub fn unheard(job: &Tracked, now: Timestamp) -> Step {
    let mut steps = begin(job);
    // Whoever denied it before must deny it anew.
    steps.step.told.absent_since = None;
    let message = "The program that runs this user's jobs does not answer.";
    steps.fresh(now, Freshness::Stale, Some(message));
    steps.step
}

/// Who denies a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedBy {
    /// The controller and the accounting.
    Both,
    /// The controller; the cluster keeps no accounting.
    ControllerAlone,
    /// The controller; accounting does not answer, so nothing follows yet.
    ControllerSoFar,
}

impl DeniedBy {
    fn message(self) -> &'static str {
        match self {
            Self::Both => "Neither the scheduler nor its accounting lists this job.",
            Self::ControllerAlone => {
                "The scheduler does not list this job, and the cluster keeps no accounting."
            }
            Self::ControllerSoFar => {
                "The scheduler does not list this job, and its accounting does not answer."
            }
        }
    }
}

/// For long enough, so that it is lost.
fn long_absent(since: Timestamp, now: Timestamp) -> bool {
    u64::try_from(now.unix() - since.unix()).unwrap_or(0) >= LOST_AFTER.as_secs()
}

/// The controller answers and does not list the recorded copy, and accounting has no terminal record.
pub fn absent(job: &Tracked, denied: DeniedBy, now: Timestamp) -> Step {
    let mut steps = begin(job);
    let message = denied.message();
    steps.fresh(now, Freshness::Missing, Some(message));
    if denied == DeniedBy::ControllerSoFar {
        steps.step.told.absent_since = None;
        return steps.step;
    }
    let since = *steps.step.told.absent_since.get_or_insert(now);
    if long_absent(since, now) {
        steps.step.told.state = Some(JobState::Lost);
        steps.step.ended = true;
        steps.saw(
            now,
            Observation::Vanished {
                message: message.to_owned(),
            },
        );
    }
    steps.step
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
