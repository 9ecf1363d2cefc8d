//! Which jobs hold a slot. Pure.
//!
//! What an owner's user-agent does not say now stands as it was said last, and a job whose release
//! was asked for without an answer may run: so no more run than there are slots, whoever is silent.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use forebay_wire::{
    JobId,
    ipc::{LocalJob, LocalPhase},
};

/// The jobs that run, or may, by their owners' uids.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    taken: BTreeMap<u32, BTreeSet<JobId>>,
    /// Those of them whose release was asked for without an answer: it may arrive at any time.
    unsure: HashSet<JobId>,
    /// Owners who were heard since the agent's start.
    heard: HashSet<u32>,
}

/// A job that is watched: whose it is, and whether it was running when it was last reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) uid: u32,
    pub(super) job: JobId,
    pub(super) was_running: bool,
}

impl Slots {
    /// An owner's user-agent answers with all of the owner's jobs. Of those that are not watched
    /// only the ones matter that hold a slot.
    pub(super) fn answered(&mut self, uid: u32, watched: &HashSet<JobId>, jobs: &[LocalJob]) {
        self.heard.insert(uid);
        let before = self.taken.remove(&uid).unwrap_or_default();
        let holds = |job: &&LocalJob| match job.phase {
            LocalPhase::Running { .. } => watched.contains(&job.job) || before.contains(&job.job),
            // Its release is still on its way, perhaps.
            LocalPhase::Held => before.contains(&job.job),
            LocalPhase::Ended { .. } | LocalPhase::Gone => false,
        };
        let now: BTreeSet<JobId> = jobs.iter().filter(holds).map(|job| job.job).collect();
        for gone in before.difference(&now) {
            self.unsure.remove(gone);
        }
        if !now.is_empty() {
            self.taken.insert(uid, now);
        }
    }

    /// An owner's user-agent does not answer. What it said last stands; where it has said nothing
    /// to this agent, what was reported of its jobs does.
    pub(super) fn silent(&mut self, of_owner: impl IntoIterator<Item = Watched>) {
        for one in of_owner {
            if one.was_running && !self.heard.contains(&one.uid) {
                self.take(one.uid, one.job);
            }
        }
    }

    /// Chooses whom to start: first those whose slot is theirs already, then as many as are free,
    /// the oldest first. What is chosen holds its slot from now on.
    pub(super) fn fill(&mut self, slots: u32, mut waiting: Vec<(u32, JobId)>) -> Vec<(u32, JobId)> {
        // The id begins with the moment of submission.
        waiting.sort_by_key(|(_, job)| *job);
        let (theirs, others): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(uid, job)| self.holds(*uid, *job));
        let taken = self.taken.values().map(BTreeSet::len).sum::<usize>();
        let free = (slots as usize).saturating_sub(taken);
        let chosen: Vec<_> = theirs
            .into_iter()
            .chain(others.into_iter().take(free))
            .collect();
        for (uid, job) in &chosen {
            self.take(*uid, *job);
        }
        chosen
    }

    /// Nobody knows whether a chosen job was started.
    pub(super) fn unsure(&mut self, job: JobId) {
        self.unsure.insert(job);
    }

    /// A chosen job was not started, for certain.
    pub(super) fn give_back(&mut self, uid: u32, job: JobId) {
        // But an earlier release may still come.
        if self.unsure.contains(&job) {
            return;
        }
        if let Some(jobs) = self.taken.get_mut(&uid) {
            jobs.remove(&job);
        }
    }

    fn holds(&self, uid: u32, job: JobId) -> bool {
        self.taken.get(&uid).is_some_and(|jobs| jobs.contains(&job))
    }

    fn take(&mut self, uid: u32, job: JobId) {
        self.taken.entry(uid).or_default().insert(job);
    }
}

#[cfg(test)]
mod tests {
    use forebay_wire::{Timestamp, api::Exit};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// Owner, and where the job really is.
    #[derive(Clone, Debug)]
    struct Real {
        uid: u32,
        job: JobId,
        phase: LocalPhase,
        /// Releases that have not arrived.
        late: bool,
    }

    fn local(real: &Real) -> LocalJob {
        LocalJob {
            job: real.job,
            marker: String::new(),
            submitted_at: Timestamp::now(),
            phase: real.phase.clone(),
        }
    }

    fn running() -> LocalPhase {
        LocalPhase::Running {
            started_at: Timestamp::now(),
        }
    }

    fn ended() -> LocalPhase {
        LocalPhase::Ended {
            started_at: None,
            ended_at: Timestamp::now(),
            exit: Exit {
                code: 0,
                signal: None,
            },
            timed_out: false,
            cancelled: false,
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        /// A look at which these owners are silent, and what becomes of each release.
        Look {
            silent: [bool; 3],
            answers: Vec<Answer>,
        },
        /// A release without an answer arrives.
        Arrive(usize),
        /// A job ends.
        End(usize),
    }

    #[derive(Clone, Copy, Debug)]
    enum Answer {
        Done,
        /// Done, or done later; no answer.
        Lost {
            late: bool,
        },
        Refused,
    }

    fn event() -> impl Strategy<Value = Event> {
        let answer = prop_oneof![
            4 => Just(Answer::Done),
            1 => Just(Answer::Lost { late: false }),
            1 => Just(Answer::Lost { late: true }),
            1 => Just(Answer::Refused),
        ];
        let answers = prop::collection::vec(answer, 12);
        prop_oneof![
            3 => (any::<[bool; 3]>(), answers)
                .prop_map(|(silent, answers)| Event::Look { silent, answers }),
            2 => (0..12_usize).prop_map(Event::Arrive),
            2 => (0..12_usize).prop_map(Event::End),
        ]
    }

    fn running_count(jobs: &[Real]) -> usize {
        let runs = |real: &&Real| matches!(real.phase, LocalPhase::Running { .. });
        jobs.iter().filter(runs).count()
    }

    /// One look, as the integration does it.
    fn look(slots: &mut Slots, jobs: &mut [Real], silent: [bool; 3], answers: &[Answer]) {
        let mut waiting = Vec::new();
        for uid in 0..3_u32 {
            let of_owner: Vec<Real> = jobs.iter().filter(|job| job.uid == uid).cloned().collect();
            if silent[uid as usize] {
                slots.silent(of_owner.iter().map(|real| Watched {
                    uid,
                    job: real.job,
                    was_running: matches!(real.phase, LocalPhase::Running { .. }),
                }));
                continue;
            }
            let watched = of_owner.iter().map(|real| real.job).collect();
            let answer: Vec<LocalJob> = of_owner.iter().map(local).collect();
            slots.answered(uid, &watched, &answer);
            let held = of_owner
                .iter()
                .filter(|real| real.phase == LocalPhase::Held);
            waiting.extend(held.map(|real| (uid, real.job)));
        }
        for ((uid, job), answer) in slots.fill(2, waiting).into_iter().zip(answers) {
            let real = jobs.iter_mut().find(|real| real.job == job).expect("known");
            match answer {
                Answer::Done => real.phase = running(),
                Answer::Lost { late } => {
                    slots.unsure(job);
                    if *late {
                        real.late = true;
                    } else {
                        real.phase = running();
                    }
                }
                Answer::Refused => slots.give_back(uid, job),
            }
        }
    }

    proptest! {
        #[test]
        fn never_do_more_run_than_there_are_slots(events in prop::collection::vec(event(), 1..40)) {
            let mut jobs: Vec<Real> = (0..12_u32)
                .map(|n| Real {
                    uid: n % 3,
                    job: JobId::from_uuid(Uuid::from_u128(u128::from(n) + 1)),
                    phase: LocalPhase::Held,
                    late: false,
                })
                .collect();
            let mut slots = Slots::default();
            for event in events {
                match event {
                    Event::Look { silent, answers } => look(&mut slots, &mut jobs, silent, &answers),
                    Event::Arrive(n) => {
                        if std::mem::take(&mut jobs[n].late) && jobs[n].phase == LocalPhase::Held {
                            jobs[n].phase = running();
                        }
                    }
                    Event::End(n) => {
                        if matches!(jobs[n].phase, LocalPhase::Running { .. }) {
                            jobs[n].phase = ended();
                        }
                    }
                }
                prop_assert!(running_count(&jobs) <= 2, "{jobs:#?}");
            }
            // And when all answer, all get their turn.
            for _ in 0..12 {
                look(&mut slots, &mut jobs, [false; 3], &[Answer::Done; 12]);
                prop_assert!(running_count(&jobs) <= 2, "{jobs:#?}");
                for real in &mut jobs {
                    if matches!(real.phase, LocalPhase::Running { .. }) {
                        real.phase = ended();
                    }
                }
            }
            let over = |real: &Real| matches!(real.phase, LocalPhase::Ended { .. });
            prop_assert!(jobs.iter().all(over), "{jobs:#?}");
        }
    }

    #[test]
    fn an_owner_never_heard_counts_by_what_was_reported() {
        let (mut slots, job, other) = (Slots::default(), JobId::new(), JobId::new());
        let was = |job, was_running| Watched {
            uid: 1,
            job,
            was_running,
        };
        slots.silent([was(job, true), was(other, false)]);
        assert_eq!(slots.fill(1, vec![(2, JobId::new())]), []);
        assert_eq!(slots.fill(2, vec![(2, other)]), [(2, other)]);
        // Heard at last: it is over.
        slots.answered(1, &[job].into(), &[]);
        assert_eq!(slots.fill(2, vec![(1, job)]), [(1, job)]);
    }
}
