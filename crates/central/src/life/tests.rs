//! The table of DESIGN's states line by line, and what must hold for any sequence.

use forebay_wire::{
    Freshness, JobState, Timestamp,
    api::{Exit, JobTask},
    link::Observation,
};
use proptest::prelude::*;

use super::{Cause, Life, Outcome, Refused, STEPS, Tasks, derive, reachable, transition};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + seconds).expect("within the calendar")
}

fn life(state: JobState) -> Life {
    let mut life = Life::new(state);
    if state.is_end() {
        life.ended_at = Some(at(0));
    }
    life
}

fn saw_run(life: &Life, run: u32, saw: &Observation) -> Result<Outcome, Refused> {
    let cause = Cause::Saw {
        run,
        at: at(10),
        saw,
        tasks: None,
    };
    transition(life, &cause, at(10))
}

fn saw(life: &Life, saw: &Observation) -> Result<Outcome, Refused> {
    saw_run(life, life.run, saw)
}

fn released() -> Observation {
    Observation::Released {
        scheduler_id: "7".into(),
        submitted_at: at(1),
        stdout_path: Some("/o".into()),
        stderr_path: None,
    }
}

fn ended(end: JobState, started_at: Option<Timestamp>) -> Observation {
    Observation::Ended {
        end,
        exit: Some(Exit {
            code: 0,
            signal: None,
        }),
        started_at,
        nodes: Some("n1".into()),
        message: None,
    }
}

/// `from | saw -> the states entered`, or `no` for a refusal.
#[track_caller]
fn check(from: JobState, observation: &Observation, want: &str) {
    let got = match saw(&life(from), observation) {
        Ok(outcome) => {
            let path: Vec<_> = outcome.path().iter().map(ToString::to_string).collect();
            path.join(" ")
        }
        Err(_) => "no".to_owned(),
    };
    assert_eq!(got, want, "{from} saw {observation:?}");
}

#[test]
fn observations_lead_where_the_table_says() {
    use JobState::{
        Cancelled, Draft, Ending, Failed, Lost, Pending, Preempted, Queued, Rejected, Running,
        Submitting, Succeeded, TimedOut,
    };
    let started = Observation::Started { nodes: None };
    let refused = Observation::Refused {
        message: "no such partition".into(),
    };
    let vanished = Observation::Vanished {
        message: "asked both".into(),
    };
    let waiting = Observation::Waiting {
        reason: "Priority".into(),
    };

    for untouched in [Draft, Queued] {
        for observation in [
            &started,
            &refused,
            &vanished,
            &released(),
            &Observation::Ending,
        ] {
            check(untouched, observation, "no");
        }
    }
    check(Submitting, &released(), "pending");
    check(Submitting, &refused, "rejected");
    check(Submitting, &vanished, "lost");
    check(Submitting, &waiting, "");
    check(Submitting, &started, "pending running");
    check(Submitting, &Observation::Ending, "pending running ending");
    check(Submitting, &ended(Cancelled, None), "cancelled");
    check(Submitting, &ended(TimedOut, None), "timed_out");
    check(
        Submitting,
        &ended(Succeeded, None),
        "pending running succeeded",
    );
    check(
        Submitting,
        &ended(Failed, Some(at(2))),
        "pending running failed",
    );
    check(Pending, &released(), "");
    check(Pending, &refused, "no");
    check(Pending, &started, "running");
    check(Pending, &Observation::Ending, "running ending");
    check(Pending, &ended(Cancelled, None), "cancelled");
    check(Pending, &ended(Preempted, Some(at(2))), "running preempted");
    check(Pending, &vanished, "lost");
    check(Running, &started, "");
    check(Running, &waiting, "no");
    check(Running, &Observation::Ending, "ending");
    check(Running, &ended(Failed, None), "failed");
    check(Running, &vanished, "lost");
    check(Ending, &started, "no");
    check(Ending, &Observation::Ending, "");
    check(Ending, &ended(Succeeded, None), "succeeded");
    check(Ending, &vanished, "lost");
    check(Lost, &ended(Succeeded, None), "succeeded");
    check(Lost, &started, "no");
    check(Lost, &vanished, "no");
    for state in JobState::ALL.iter().filter(|state| state.is_end()) {
        check(*state, &started, "no");
        if *state != Lost {
            check(*state, &ended(Failed, None), "no");
        }
    }
    // What no record says.
    for end in [Rejected, Lost, Running, Queued] {
        check(Running, &ended(end, None), "no");
    }
}

#[test]
fn a_lost_job_is_found_within_a_week_only() {
    let lost = life(JobState::Lost);
    let saw = ended(JobState::Succeeded, None);
    let cause = Cause::Saw {
        run: 0,
        at: at(-5),
        saw: &saw,
        tasks: None,
    };
    let week = 7 * 24 * 3600;
    assert!(transition(&lost, &cause, at(week)).is_ok());
    assert!(transition(&lost, &cause, at(week + 1)).is_err());
}

#[test]
fn skipped_steps_carry_the_best_known_times() {
    let outcome = saw(&life(JobState::Submitting), &released()).expect("legal");
    assert_eq!(outcome.after.submitted_at, Some(at(1)));
    assert_eq!(outcome.events[0].at, at(1));

    let outcome = saw(&outcome.after, &ended(JobState::Failed, Some(at(4)))).expect("legal");
    let times: Vec<_> = outcome.events.iter().map(|event| event.at).collect();
    assert_eq!(times, [at(4), at(10)]);
    assert_eq!(outcome.after.started_at, Some(at(4)));
    assert_eq!(outcome.after.ended_at, Some(at(10)));
    assert_eq!(outcome.after.nodes.as_deref(), Some("n1"));
    assert_eq!(outcome.events.last().map(|event| event.seq), Some(3));
}

#[test]
fn a_requeue_is_a_new_run() {
    let mut running = life(JobState::Running);
    running.started_at = Some(at(2));
    let outcome = saw_run(&running, 1, &Observation::Requeued).expect("legal");
    assert_eq!(
        (outcome.after.state, outcome.after.run),
        (JobState::Pending, 1)
    );
    assert_eq!(outcome.after.started_at, None);
    // The same again says nothing new; word of the earlier run is refused.
    let again = saw_run(&outcome.after, 1, &Observation::Requeued).expect("a repeat");
    assert_eq!(again.after, outcome.after);
    assert!(saw_run(&outcome.after, 0, &ended(JobState::Failed, None)).is_err());
    // A requeue that nobody reported shows in the run of what follows it.
    let missed = saw_run(&running, 1, &Observation::Started { nodes: None }).expect("legal");
    assert_eq!(missed.path(), [JobState::Pending, JobState::Running]);
    assert_eq!(missed.after.run, 1);
}

#[test]
fn cancelling() {
    use JobState::{Cancelled, Draft, Ending, Pending, Queued, Running, Submitting};
    for state in [Draft, Queued] {
        let outcome = transition(&life(state), &Cause::Cancel, at(1)).expect("legal");
        assert_eq!(outcome.after.state, Cancelled);
        assert_eq!(outcome.after.ended_at, Some(at(1)));
    }
    for state in [Submitting, Pending, Running, Ending] {
        let outcome = transition(&life(state), &Cause::Cancel, at(1)).expect("legal");
        assert_eq!(outcome.after.state, state);
        assert_eq!(outcome.after.cancel_wanted_at, Some(at(1)));
        assert_eq!(outcome.events.len(), 1);
        let again = transition(&outcome.after, &Cause::Cancel, at(2)).expect("a repeat");
        assert_eq!((again.after, again.events.len()), (outcome.after, 0));
    }
    for state in JobState::ALL.iter().filter(|state| state.is_end()) {
        assert!(transition(&life(*state), &Cause::Cancel, at(1)).is_err());
    }
}

#[test]
fn every_walk_is_within_what_the_database_allows() {
    let pairs = reachable();
    for step in STEPS {
        assert!(pairs.contains(&step), "{step:?}");
    }
    // Ends stay ends, but for a lost job that is found.
    for (from, to) in &pairs {
        assert!(
            !from.is_end() || (*from == JobState::Lost && to.is_end()),
            "{from} {to}"
        );
        assert_ne!(from, to);
    }
    // Only the claim leads out of the queue to the site.
    let out: Vec<_> = pairs
        .iter()
        .filter(|(from, _)| *from == JobState::Queued)
        .collect();
    assert_eq!(out.len(), 2);
}

fn task(index: u32, state: JobState) -> JobTask {
    JobTask {
        index,
        state,
        scheduler_id: None,
        started_at: (state.is_end() || state == JobState::Running).then(|| at(i64::from(index))),
        ended_at: state.is_end().then(|| at(100 + i64::from(index))),
        exit: None,
        nodes: None,
    }
}

fn tasks(states: &[JobState]) -> Tasks {
    let numbered = (0..).zip(states);
    numbered
        .map(|(index, state)| (index, task(index, *state)))
        .collect()
}

#[test]
fn an_array_is_what_its_tasks_are() {
    use JobState::{Cancelled, Failed, OutOfMemory, Pending, Running, Succeeded, TimedOut};
    let check = |total, states: &[JobState], want| {
        assert_eq!(
            derive(total, &tasks(states)).state,
            want,
            "{total} {states:?}"
        );
    };
    check(2, &[], Pending);
    check(2, &[Pending, Pending], Pending);
    check(2, &[Pending, Running], Running);
    check(2, &[Succeeded, Pending], Running);
    check(3, &[Succeeded, Succeeded], Running);
    check(2, &[Succeeded, Succeeded], Succeeded);
    check(3, &[Succeeded, Cancelled, Succeeded], Cancelled);
    check(3, &[Cancelled, TimedOut, OutOfMemory], OutOfMemory);
    check(3, &[OutOfMemory, Failed, TimedOut], Failed);
    // Some ended without having started: nothing runs yet.
    let mut unstarted = tasks(&[Cancelled, Pending]);
    unstarted.get_mut(&0).expect("task 0").started_at = None;
    assert_eq!(derive(2, &unstarted).state, Pending);
    // Where none failed but several were cancelled, the sentence counts them.
    let derived = derive(3, &tasks(&[Succeeded, Cancelled, Cancelled]));
    assert_eq!(derived.message.as_deref(), Some("2 of 3 tasks: cancelled."));
    assert_eq!(derived.ended_at, Some(at(102)));
}

fn any_state() -> impl Strategy<Value = JobState> {
    prop::sample::select(JobState::ALL)
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let time = || prop::option::of((0i64..100).prop_map(at));
    prop_oneof![
        (0u32..3, 0i64..100).prop_map(|(id, when)| Observation::Released {
            scheduler_id: id.to_string(),
            submitted_at: at(when),
            stdout_path: None,
            stderr_path: None,
        }),
        Just(Observation::Refused {
            message: "m".into()
        }),
        Just(Observation::Waiting { reason: "r".into() }),
        Just(Observation::Started { nodes: None }),
        Just(Observation::Ending),
        Just(Observation::Requeued),
        (any_state(), time()).prop_map(|(end, started_at)| ended(end, started_at)),
        Just(Observation::Vanished {
            message: "m".into()
        }),
        (0u32..4).prop_map(|total| Observation::Tasks {
            total,
            tasks: Vec::new()
        }),
        prop::sample::select(Freshness::ALL).prop_map(|freshness| Observation::Freshness {
            freshness,
            message: None,
        }),
    ]
}

#[derive(Clone, Debug)]
enum Act {
    Submit,
    Cancel,
    Claim,
    Saw(u32, Observation, Tasks),
}

fn any_act() -> impl Strategy<Value = Act> {
    let saw = (
        0u32..3,
        any_observation(),
        prop::collection::vec(any_state(), 0..4),
    )
        .prop_map(|(run, saw, states)| Act::Saw(run, saw, tasks(&states)));
    prop_oneof![1 => Just(Act::Submit), 1 => Just(Act::Cancel), 2 => Just(Act::Claim), 8 => saw]
}

proptest! {
    #[test]
    fn no_sequence_breaks_the_law(
        acts in prop::collection::vec(any_act(), 0..40), draft: bool,
    ) {
        let allowed = reachable();
        let mut now = life(if draft { JobState::Draft } else { JobState::Queued });
        // Where the row would stand if several of the site's reports came in one batch.
        let mut batch = now.state;
        for act in acts {
            let cause = match &act {
                Act::Submit => Cause::Submit,
                Act::Cancel => Cause::Cancel,
                Act::Claim => Cause::Claim,
                Act::Saw(run, saw, tasks) => {
                    Cause::Saw { run: *run, at: at(5), saw, tasks: Some(tasks) }
                }
            };
            let site = matches!(cause, Cause::Saw { .. });
            let Ok(outcome) = transition(&now, &cause, at(5)) else { continue };
            let Outcome { after, events } = &outcome;
            // Numbers only rise, and by what happened.
            prop_assert!(after.run >= now.run);
            prop_assert_eq!(after.rev, now.rev + i64::from(after.rev != now.rev));
            prop_assert_eq!(after.rev != now.rev, *after != now);
            prop_assert!(events.is_empty() || after.rev > now.rev);
            let numbers: Vec<_> = events.iter().map(|event| event.seq).collect();
            let due: Vec<_> = (now.event_seq + 1..=after.event_seq).collect();
            prop_assert_eq!(numbers, due);
            // Each state entered is a legal step, and the last one is the state.
            let mut state = now.state;
            for next in outcome.path() {
                prop_assert!(STEPS.contains(&(state, next)), "{} {}", state, next);
                state = next;
            }
            prop_assert_eq!(state, after.state);
            // An end is left only by a lost job, and only for another end.
            if now.state.is_end() && now.state != after.state {
                prop_assert!(now.state == JobState::Lost && after.state.is_end());
            }
            prop_assert_eq!(after.state.is_end(), after.ended_at.is_some());
            // A wish to cancel is never forgotten.
            prop_assert!(now.cancel_wanted_at.is_none() || after.cancel_wanted_at == now.cancel_wanted_at);
            if !site {
                batch = now.state;
            }
            prop_assert!(
                batch == after.state || allowed.contains(&(batch, after.state)),
                "{} {}", batch, after.state,
            );
            if !site {
                batch = after.state;
            }
            now = outcome.after;
        }
    }

    #[test]
    fn an_array_ends_only_with_all_its_tasks(
        total in 1u32..6, states in prop::collection::vec(any_state(), 0..6),
    ) {
        let known = tasks(&states);
        let derived = derive(total, &known);
        let ended = states.iter().filter(|state| state.is_end()).count();
        let all = !states.is_empty() && ended == states.len() && ended >= total as usize;
        prop_assert_eq!(derived.state.is_end(), all);
        if derived.state == JobState::Succeeded {
            prop_assert!(states.iter().all(|state| *state == JobState::Succeeded));
        }
    }
}
