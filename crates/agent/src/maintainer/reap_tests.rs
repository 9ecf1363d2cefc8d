//! Which copies the reaper touches, and which never.

use forebay_wire::{JobState, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::{
    integration::{Part, PartPhase},
    job::Copy,
};

const OWNER: u32 = 1_001;

fn copy(id: &str) -> Copy {
    Copy {
        scheduler_id: id.to_owned(),
        submitted_at: Timestamp::from_unix(1_772_366_400).expect("in the calendar"),
    }
}

fn record(id: &str, phase: PartPhase) -> Record {
    Record {
        copy: copy(id),
        uid: OWNER,
        marker: None,
        run: 0,
        parts: vec![Part {
            task: None,
            scheduler_id: None,
            phase,
            reason: None,
            started_at: None,
            nodes: None,
        }],
    }
}

fn job(phase: Phase, recorded: Option<&str>) -> Tracked {
    let work = serde_json::json!({
        "job": JobId::new(),
        "owner": {"user": forebay_wire::UserId::new(), "identity": "alice"},
        "spec": {"cluster": "hpc", "command": ["true"]},
    });
    let work = serde_json::from_value(work).expect("work");
    Tracked {
        phase,
        copy: recorded.map(copy),
        ..Tracked::claimed(work).expect("a spec")
    }
}

fn verdict(record: &Record, phase: Phase, recorded: Option<&str>) -> Verdict {
    judge(record, &job(phase, recorded), OWNER, false)
}

#[test]
fn a_held_copy_beside_the_recorded_one_is_cancelled_and_what_runs_is_not() {
    for phase in [Phase::Held, Phase::Releasing, Phase::Released] {
        let beside = verdict(&record("8", PartPhase::Held), phase, Some("7"));
        assert!(matches!(beside, Verdict::Cancel(_)), "{phase:?}");
        for other in [PartPhase::Waiting, PartPhase::Running, PartPhase::Ending] {
            let runs = verdict(&record("8", other), phase, Some("7"));
            assert_eq!(runs, Verdict::Leave, "{phase:?} {other:?}");
        }
    }
}

#[test]
fn a_submission_under_way_looks_for_its_copies_itself() {
    for phase in [Phase::Claimed, Phase::Intent] {
        assert_eq!(
            verdict(&record("7", PartPhase::Held), phase, None),
            Verdict::Leave
        );
    }
    for phase in [Phase::Held, Phase::Releasing] {
        let recorded = verdict(&record("7", PartPhase::Held), phase, Some("7"));
        assert_eq!(recorded, Verdict::Leave);
    }
}

#[test]
fn what_is_left_of_an_ended_job_is_cancelled() {
    for phase in [PartPhase::Held, PartPhase::Waiting, PartPhase::Running] {
        let left = verdict(&record("7", phase), Phase::Closed, Some("7"));
        assert!(matches!(left, Verdict::Cancel(_)));
    }
}

#[test]
fn a_recorded_copy_that_is_held_after_its_release_is_noticed_but_not_an_owners_own_hold() {
    let held = record("7", PartPhase::Held);
    let released = job(Phase::Released, Some("7"));
    assert_eq!(judge(&held, &released, OWNER, false), Verdict::HeldAgain);
    assert_eq!(judge(&held, &released, OWNER, true), Verdict::Leave);
    let waits = record("7", PartPhase::Waiting);
    assert_eq!(judge(&waits, &released, OWNER, false), Verdict::LetGo);
}

#[test]
fn a_job_counts_as_started_once_anything_of_it_ran() {
    let mut plain = job(Phase::Released, Some("7"));
    assert!(!was_started(&plain));
    plain.told.state = Some(JobState::Pending);
    assert!(!was_started(&plain));
    plain.told.state = Some(JobState::Running);
    assert!(was_started(&plain));
    let mut array = job(Phase::Released, Some("7"));
    array.told.tasks = [(0, JobState::Pending), (1, JobState::Succeeded)].into();
    assert!(was_started(&array));
}

proptest! {
    /// Whoever writes our mark into his own job's comment gains nothing.
    #[test]
    fn another_accounts_copy_is_never_touched(
        uid in any::<u32>().prop_filter("another", |uid| *uid != OWNER),
        phase in prop::sample::select(vec![
            Phase::Claimed, Phase::Intent, Phase::Held, Phase::Releasing, Phase::Released, Phase::Closed,
        ]),
        held in any::<bool>(),
        recorded in any::<bool>(),
    ) {
        let phase_of_copy = if held { PartPhase::Held } else { PartPhase::Running };
        let foreign = Record { uid, ..record("7", phase_of_copy) };
        let job = job(phase, recorded.then_some("7"));
        prop_assert_eq!(judge(&foreign, &job, OWNER, false), Verdict::Leave);
    }
}
