//! What a site's observation does to a job.

use forebay_wire::{
    JobState, Timestamp,
    api::{EventKind, Exit},
    link::Observation,
};

use super::{
    Refused, Walk,
    array::{Tasks, derive},
    steps::RECORDED,
};

/// How long after a job was lost a record of its end is still believed, seconds.
const LOST_S: i64 = 7 * 24 * 3600;

pub(super) fn apply(
    walk: &mut Walk,
    run: u32,
    at: Timestamp,
    saw: &Observation,
    tasks: Option<&Tasks>,
    now: Timestamp,
) -> Result<(), Refused> {
    match walk.life.state {
        JobState::Draft | JobState::Queued => {
            return Err(walk.refused("the site has not claimed it"));
        }
        JobState::Submitting | JobState::Pending | JobState::Running | JobState::Ending => {}
        JobState::Lost => {
            let lost_for = walk
                .life
                .ended_at
                .map_or(0, |lost| now.unix() - lost.unix());
            if lost_for > LOST_S {
                return Err(walk.refused("it was lost more than 7 days ago"));
            }
        }
        _ => return Err(walk.refused("it has ended")),
    }
    if run < walk.life.run {
        return Err(walk.refused("it is about an earlier run"));
    }
    if walk.life.state == JobState::Lost {
        return found(walk, run, at, saw, tasks);
    }
    if run > walk.life.run && *saw != Observation::Requeued {
        // Its requeue was missed.
        requeue(walk, run, at)?;
    }
    match saw {
        Observation::Released {
            scheduler_id,
            submitted_at,
            stdout_path,
            stderr_path,
        } => {
            walk.life.scheduler_id = Some(scheduler_id.clone());
            walk.life.submitted_at = Some(*submitted_at);
            keep(&mut walk.life.stdout_path, stdout_path.as_ref());
            keep(&mut walk.life.stderr_path, stderr_path.as_ref());
            to_pending(walk, at)
        }
        Observation::Refused { message } => {
            if walk.life.state != JobState::Submitting {
                return Err(walk.refused("the scheduler has taken it"));
            }
            walk.end(JobState::Rejected, at, Some(message))
        }
        Observation::Waiting { reason } => {
            if !matches!(walk.life.state, JobState::Submitting | JobState::Pending) {
                return Err(walk.refused("it has started"));
            }
            walk.life.reason = Some(reason.clone());
            Ok(())
        }
        Observation::Started { nodes } => {
            if walk.life.state == JobState::Ending {
                return Err(walk.refused("its program has ended"));
            }
            to_running(walk, at)?;
            keep(&mut walk.life.nodes, nodes.as_ref());
            Ok(())
        }
        Observation::Ending => {
            to_running(walk, at)?;
            if walk.life.state == JobState::Running {
                walk.step(JobState::Ending, at, None)?;
            }
            Ok(())
        }
        Observation::Requeued => requeue(walk, run, at),
        Observation::Ended {
            end,
            exit,
            started_at,
            nodes,
            message,
        } => {
            let record = Record {
                end: *end,
                exit: *exit,
                started_at: *started_at,
                message: message.as_deref(),
            };
            record.apply(walk, at)?;
            keep(&mut walk.life.nodes, nodes.as_ref());
            Ok(())
        }
        Observation::Vanished { message } => walk.end(JobState::Lost, at, Some(message)),
        Observation::Tasks { total, .. } => array(walk, at, *total, tasks),
        Observation::Freshness { freshness, message } => {
            if walk.life.freshness != *freshness {
                walk.life.freshness = *freshness;
                let kind = EventKind::Freshness {
                    freshness: *freshness,
                };
                walk.event(kind, at, message.as_deref());
            }
            Ok(())
        }
    }
}

/// A lost job: only the record of its end changes it.
fn found(
    walk: &mut Walk,
    run: u32,
    at: Timestamp,
    saw: &Observation,
    tasks: Option<&Tasks>,
) -> Result<(), Refused> {
    walk.life.run = run;
    match saw {
        Observation::Ended {
            end,
            exit,
            started_at,
            nodes,
            message,
        } => {
            let record = Record {
                end: *end,
                exit: *exit,
                started_at: *started_at,
                message: message.as_deref(),
            };
            record.apply(walk, at)?;
            keep(&mut walk.life.nodes, nodes.as_ref());
            Ok(())
        }
        Observation::Tasks { total, .. } => match tasks.map(|tasks| derive(*total, tasks).state) {
            Some(state) if state.is_end() => array(walk, at, *total, tasks),
            _ => Err(walk.refused("it was lost, and this is no end")),
        },
        _ => Err(walk.refused("it was lost, and this is no end")),
    }
}

/// A terminal record.
struct Record<'a> {
    end: JobState,
    exit: Option<Exit>,
    started_at: Option<Timestamp>,
    message: Option<&'a str>,
}

impl Record<'_> {
    fn apply(&self, walk: &mut Walk, at: Timestamp) -> Result<(), Refused> {
        if !RECORDED.contains(&self.end) {
            return Err(walk.refused("no record says so of a job"));
        }
        // These two are said only of programs that ran; others end while they wait, too.
        let ran = matches!(self.end, JobState::Succeeded | JobState::OutOfMemory);
        let unstarted = matches!(walk.life.state, JobState::Submitting | JobState::Pending);
        if unstarted && (ran || self.started_at.is_some()) {
            to_running(walk, self.started_at.unwrap_or(at))?;
        }
        if let Some(started_at) = self.started_at {
            // The record knows better than whoever saw it run.
            walk.life.started_at = Some(started_at);
        }
        walk.end(self.end, at, self.message)?;
        walk.life.exit = self.exit;
        Ok(())
    }
}

fn array(walk: &mut Walk, at: Timestamp, total: u32, tasks: Option<&Tasks>) -> Result<(), Refused> {
    let Some(tasks) = tasks else {
        return Err(walk.refused("its tasks are not known"));
    };
    if total == 0 {
        return Err(walk.refused("an array has tasks"));
    }
    walk.life.tasks_total = Some(total);
    let derived = derive(total, tasks);
    match derived.state {
        JobState::Pending => to_pending(walk, at),
        JobState::Running => {
            let running = matches!(walk.life.state, JobState::Running | JobState::Ending);
            if !running {
                to_running(walk, derived.started_at.unwrap_or(at))?;
            }
            Ok(())
        }
        JobState::Lost => {
            let message = derived.message.as_deref();
            walk.end(JobState::Lost, derived.ended_at.unwrap_or(at), message)
        }
        end => {
            let record = Record {
                end,
                exit: derived.exit,
                started_at: derived.started_at,
                message: derived.message.as_deref(),
            };
            record.apply(walk, derived.ended_at.unwrap_or(at))
        }
    }
}

/// Submitting → pending, dated by what the scheduler says; no-op further on.
fn to_pending(walk: &mut Walk, at: Timestamp) -> Result<(), Refused> {
    if walk.life.state == JobState::Submitting {
        let taken = walk.life.submitted_at.unwrap_or(at);
        walk.life.submitted_at = Some(taken);
        // What it waited for while it was submitted is over.
        walk.life.reason = None;
        walk.step(JobState::Pending, taken, None)?;
    }
    Ok(())
}

/// To running through pending; no-op further on.
fn to_running(walk: &mut Walk, started_at: Timestamp) -> Result<(), Refused> {
    to_pending(walk, started_at)?;
    if walk.life.state == JobState::Pending {
        walk.step(JobState::Running, started_at, None)?;
        walk.life.started_at = Some(started_at);
        walk.life.reason = None;
    }
    Ok(())
}

/// Back to pending in a new run. A job that was put back had run, so a start
/// that nobody saw is inserted.
fn requeue(walk: &mut Walk, run: u32, at: Timestamp) -> Result<(), Refused> {
    if run == walk.life.run {
        // Known already: something of this run was seen first.
        return Ok(());
    }
    to_running(walk, at)?;
    walk.life.run = run;
    walk.step(JobState::Pending, at, None)?;
    walk.life.started_at = None;
    walk.life.exit = None;
    walk.life.nodes = None;
    walk.life.reason = None;
    Ok(())
}

/// Later knowledge replaces earlier, silence does not.
fn keep(field: &mut Option<String>, value: Option<&String>) {
    if let Some(value) = value {
        *field = Some(value.clone());
    }
}
