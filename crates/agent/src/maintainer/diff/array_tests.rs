//! Tests of the pure watch of arrays: an array ends with its last task and not before.

use proptest::prelude::*;

use super::super::tests::{at, ended, kinds, part, record, tracked};
use super::*;
use forebay_wire::link::Report;

fn task_part(index: u32, phase: PartPhase) -> Part {
    Part {
        task: Some(index),
        ..part(phase)
    }
}

fn of(parts: &[(u32, PartPhase)]) -> Record {
    let parts = parts.iter().map(|(index, phase)| task_part(*index, *phase));
    record(0, parts.collect())
}

fn told(step: &Step) -> (u32, Vec<(u32, JobState)>) {
    let mut all = Vec::new();
    let mut of_all = 0;
    for report in &step.reports {
        if let Report::Job {
            saw: Observation::Tasks { total, tasks },
            ..
        } = report
        {
            of_all = *total;
            all.extend(tasks.iter().map(|task| (task.index, task.state)));
        }
    }
    (of_all, all)
}

#[test]
fn it_ends_with_its_last_task() {
    let mut job = tracked();
    let done = ended(JobState::Succeeded);
    let held = of(&[
        (0, PartPhase::Held),
        (1, PartPhase::Held),
        (2, PartPhase::Held),
    ]);
    let step = seen(&job, Some(&held), Accounting::NotAsked, &[], at(1));
    assert_eq!((kinds(&step), step.ended), (vec!["tasks"], false));
    job.told = step.told;
    let some = of(&[(0, done), (1, PartPhase::Running), (2, PartPhase::Waiting)]);
    let step = seen(&job, Some(&some), Accounting::NotAsked, &[], at(21));
    assert!(!step.ended);
    job.told = step.told;
    // Ended tasks drop out of a scheduler's list before the array has ended.
    let rest = of(&[(1, done), (2, done)]);
    let step = seen(&job, Some(&rest), Accounting::NotAsked, &[], at(30));
    assert_eq!((kinds(&step), step.ended), (vec!["tasks"], true));
    let both = vec![(1, JobState::Succeeded), (2, JobState::Succeeded)];
    assert_eq!(told(&step), (3, both));
}

#[test]
fn a_task_that_left_no_trace_keeps_it_open_until_accounting_tells() {
    let job = tracked();
    let done = ended(JobState::Succeeded);
    let listed = of(&[(0, done), (2, done)]);
    assert_eq!(missing(&job, Some(&listed), &[0, 1, 2]), [1]);
    let look = |accounting| seen(&job, Some(&listed), accounting, &[0, 1, 2], at(1));
    for silent in [
        Accounting::NotAsked,
        Accounting::None,
        Accounting::Silent,
        Accounting::Answer(None),
    ] {
        let step = look(silent);
        assert!(!step.ended, "{silent:?}");
        assert_eq!(told(&step).0, 3);
    }
    // It lags.
    let pending = of(&[(1, PartPhase::Waiting)]);
    assert!(!look(Accounting::Answer(Some(&pending))).ended);
    // What the controller lists it knows best.
    let knows = of(&[
        (0, ended(JobState::Failed)),
        (1, ended(JobState::Cancelled)),
    ]);
    let step = look(Accounting::Answer(Some(&knows)));
    assert!(step.ended);
    let all = vec![
        (0, JobState::Succeeded),
        (2, JobState::Succeeded),
        (1, JobState::Cancelled),
    ];
    assert_eq!(told(&step), (3, all));
}

#[test]
fn a_task_is_lost_like_a_job_and_the_others_keep_their_ends() {
    let mut job = tracked();
    let listed = of(&[(0, ended(JobState::Succeeded)), (1, PartPhase::Running)]);
    let step = seen(&job, Some(&listed), Accounting::None, &[0, 1], at(0));
    job.told = step.told;
    // All of it is gone.
    let step = seen(&job, None, Accounting::None, &[0, 1], at(10));
    assert_eq!((kinds(&step), step.ended), (vec!["freshness"], false));
    job.told = step.told;
    let step = seen(&job, None, Accounting::None, &[0, 1], at(909));
    assert_eq!((kinds(&step).len(), step.ended), (0, false));
    let step = seen(&job, None, Accounting::None, &[0, 1], at(910));
    assert!(step.ended);
    assert_eq!(told(&step), (2, vec![(1, JobState::Lost)]));
}

#[derive(Clone, Debug)]
enum Says {
    NotAsked,
    None,
    Silent,
    Answer(Vec<Option<PartPhase>>),
}

#[derive(Clone, Debug)]
struct Look {
    after_s: i64,
    /// By task; all of the array may be gone.
    controller: Option<Vec<Option<PartPhase>>>,
    accounting: Says,
}

const TASKS: usize = 4;

fn any_look() -> impl Strategy<Value = Look> {
    let phase = prop_oneof![
        Just(PartPhase::Waiting),
        Just(PartPhase::Running),
        Just(ended(JobState::Succeeded)),
        Just(ended(JobState::Cancelled)),
    ];
    let list = || prop::collection::vec(prop::option::weighted(0.4, phase.clone()), TASKS);
    let says = prop_oneof![
        1 => Just(Says::NotAsked),
        3 => Just(Says::None),
        1 => Just(Says::Silent),
        1 => list().prop_map(Says::Answer),
        2 => Just(Says::Answer(vec![None; TASKS])),
    ];
    (0..600_i64, prop::option::weighted(0.7, list()), says).prop_map(
        |(after_s, controller, accounting)| Look {
            after_s,
            controller,
            accounting,
        },
    )
}

fn listed(list: &[Option<PartPhase>]) -> Record {
    let parts = (0..)
        .zip(list)
        .filter_map(|(task, phase)| Some((task, (*phase)?)));
    of(&parts.collect::<Vec<_>>())
}

proptest! {
    /// Whatever is listed by whom: it ends when each task has an end and not before, an end never
    /// changes, and none is lost but after a quarter of an hour of denial.
    #[test]
    fn it_ends_when_each_task_has(looks in prop::collection::vec(any_look(), 1..30)) {
        let expected: Vec<u32> = (0..4).collect();
        let mut job = tracked();
        let mut now = 0;
        let mut denied_since: [Option<i64>; TASKS] = [None; TASKS];
        for look in looks {
            now += look.after_s;
            let controller = look.controller.as_deref().map(listed);
            let answer = match &look.accounting {
                Says::Answer(list) => Some(listed(list)),
                _ => None,
            };
            let accounting = match look.accounting {
                Says::NotAsked => Accounting::NotAsked,
                Says::None => Accounting::None,
                Says::Silent => Accounting::Silent,
                Says::Answer(_) => Accounting::Answer(answer.as_ref()),
            };
            let before = job.told.tasks.clone();
            let step = seen(&job, controller.as_ref(), accounting, &expected, at(now));
            for (task, since) in (0_u32..).zip(&mut denied_since) {
                let lists = |record: &Option<Record>| {
                    record.iter().flat_map(|record| &record.parts).any(|part| part.task == Some(task))
                };
                match accounting {
                    _ if lists(&controller) || lists(&answer) => *since = None,
                    Accounting::NotAsked => {}
                    Accounting::Silent => *since = None,
                    Accounting::None | Accounting::Answer(_) => { since.get_or_insert(now); }
                }
                let (was, is) = (before.get(&task), step.told.tasks.get(&task));
                if let Some(end) = was.filter(|state| state.is_end()) {
                    prop_assert_eq!(is, Some(end), "an end stays");
                } else if is == Some(&JobState::Lost) {
                    let long = since.is_some_and(|since| now - since >= 900);
                    prop_assert!(long, "{} lost at {} denied since {:?}", task, now, since);
                }
            }
            let all = expected.iter().all(|task| step.told.tasks.get(task).is_some_and(|state| state.is_end()));
            prop_assert_eq!(step.ended, all);
            let (total, tasks) = told(&step);
            prop_assert!(tasks.is_empty() || total == 4);
            if step.ended { break; }
            job.told = step.told;
        }
    }
}
