//! Tests of the pure watch: what is reported, and that nothing is guessed.

use std::sync::Arc;

use forebay_wire::{
    Freshness, JobId, JobState, Timestamp, UserId,
    api::Exit,
    link::{Observation, Owner, Report},
};
use proptest::prelude::*;

use super::*;
use crate::{
    asked::Asked,
    job::{Copy, Phase},
};

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_772_366_400 + seconds).expect("in the calendar")
}

pub(super) fn tracked() -> Tracked {
    let spec = serde_json::json!({"cluster": "hpc", "command": ["true"]});
    let spec = Asked::read(spec).expect("a spec");
    Tracked {
        job: JobId::new(),
        cluster: spec.cluster.clone(),
        owner: Owner {
            user: UserId::new(),
            identity: "alice".into(),
        },
        spec: Arc::new(spec),
        phase: Phase::Released,
        attempt: 1,
        copy: Some(copy()),
        cancel_wanted: false,
        told: Told {
            state: Some(JobState::Pending),
            ..Told::default()
        },
    }
}

fn copy() -> Copy {
    Copy {
        scheduler_id: "7".into(),
        submitted_at: at(0),
    }
}

pub(super) fn part(phase: PartPhase) -> Part {
    let started_at = match phase {
        PartPhase::Held | PartPhase::Waiting => None,
        _ => Some(at(10)),
    };
    Part {
        task: None,
        scheduler_id: None,
        phase,
        reason: None,
        started_at,
        nodes: started_at.map(|_| "n1".into()),
    }
}

pub(super) fn ended(end: JobState) -> PartPhase {
    PartPhase::Ended {
        end,
        exit: Some(Exit {
            code: 0,
            signal: None,
        }),
        at: at(20),
    }
}

pub(super) fn record(run: u32, parts: Vec<Part>) -> Record {
    Record {
        copy: copy(),
        uid: 1001,
        marker: None,
        run,
        parts,
    }
}

pub(super) fn kinds(step: &Step) -> Vec<&'static str> {
    step.reports
        .iter()
        .map(|report| match report {
            Report::Job { saw, .. } => match saw {
                Observation::Waiting { .. } => "waiting",
                Observation::Started { .. } => "started",
                Observation::Ending => "ending",
                Observation::Requeued => "requeued",
                Observation::Ended { .. } => "ended",
                Observation::Vanished { .. } => "vanished",
                Observation::Tasks { .. } => "tasks",
                Observation::Freshness { .. } => "freshness",
                Observation::Released { .. } | Observation::Refused { .. } => "submission",
            },
            _ => "other",
        })
        .collect()
}

#[test]
fn a_look_that_shows_the_same_reports_nothing() {
    let mut job = tracked();
    let running = record(0, vec![part(PartPhase::Running)]);
    let step = seen(&job, &running, at(11));
    assert_eq!(kinds(&step), ["started"]);
    job.told = step.told;
    assert_eq!(seen(&job, &running, at(12)).reports, []);
}

#[test]
fn an_end_between_two_looks_is_one_report_with_its_start() {
    let step = seen(
        &tracked(),
        &record(0, vec![part(ended(JobState::Failed))]),
        at(21),
    );
    assert_eq!(kinds(&step), ["ended"]);
    assert!(step.ended);
    let Report::Job {
        saw: Observation::Ended { started_at, .. },
        at: when,
        ..
    } = &step.reports[0]
    else {
        panic!("{:?}", step.reports);
    };
    assert_eq!((*started_at, *when), (Some(at(10)), at(20)));
}

#[test]
fn a_late_waiting_record_does_not_undo_a_start() {
    let mut job = tracked();
    job.told.state = Some(JobState::Running);
    let step = seen(&job, &record(0, vec![part(PartPhase::Waiting)]), at(12));
    assert_eq!(kinds(&step), [] as [&str; 0]);
    assert_eq!(step.told.state, Some(JobState::Running));
}

#[test]
fn a_requeue_counts_and_starts_over() {
    let mut job = tracked();
    job.told.state = Some(JobState::Running);
    let step = seen(&job, &record(1, vec![part(PartPhase::Running)]), at(30));
    assert_eq!(kinds(&step), ["requeued", "started"]);
    assert_eq!(step.told.run, 1);
    assert!(
        step.reports
            .iter()
            .all(|r| matches!(r, Report::Job { run: 1, .. }))
    );
}

#[test]
fn denial_is_freshness_first_and_lost_only_after_the_grace() {
    let mut job = tracked();
    let first = absent(&job, DeniedBy::Both, at(0));
    assert_eq!(kinds(&first), ["freshness"]);
    assert!(!first.ended);
    assert_eq!(
        first.told.state,
        Some(JobState::Pending),
        "the last state stays"
    );
    job.told = first.told;
    let almost = absent(&job, DeniedBy::Both, at(899));
    assert_eq!((kinds(&almost).len(), almost.ended), (0, false));
    let over = absent(&job, DeniedBy::Both, at(900));
    assert_eq!(kinds(&over), ["vanished"]);
    assert!(over.ended);
}

#[test]
fn silence_of_accounting_is_no_denial() {
    let mut job = tracked();
    job.told = absent(&job, DeniedBy::Both, at(0)).told;
    let silent = absent(&job, DeniedBy::ControllerSoFar, at(10_000));
    assert!(!silent.ended);
    job.told = silent.told;
    let again = absent(&job, DeniedBy::Both, at(10_001));
    assert!(!again.ended, "the grace begins anew");
}

#[test]
fn a_job_that_turns_up_is_live_again() {
    let mut job = tracked();
    job.told = absent(&job, DeniedBy::Both, at(0)).told;
    let step = seen(&job, &record(0, vec![part(PartPhase::Running)]), at(5));
    assert_eq!(kinds(&step), ["freshness", "started"]);
    assert_eq!(step.told.freshness, Some(Freshness::Live));
    assert_eq!(step.told.absent_since, None);
}

fn any_phase() -> impl Strategy<Value = PartPhase> {
    prop_oneof![
        Just(PartPhase::Held),
        Just(PartPhase::Waiting),
        Just(PartPhase::Running),
        Just(PartPhase::Ending),
        Just(ended(JobState::Succeeded)),
        Just(ended(JobState::NodeFailed)),
    ]
}

proptest! {
    /// Whatever order answers come in: without a terminal record a job never
    /// ends, with one it does, and its run never falls.
    #[test]
    fn only_a_terminal_record_ends_a_job(
        looks in prop::collection::vec((any_phase(), 0u32..3), 1..20)
    ) {
        let mut job = tracked();
        for (phase, run) in looks {
            let before = job.told.run;
            let step = seen(&job, &record(run, vec![part(phase)]), at(1));
            prop_assert_eq!(step.ended, matches!(phase, PartPhase::Ended { .. }));
            prop_assert!(step.told.run >= before);
            if step.ended { break; }
            job.told = step.told;
        }
    }
}
