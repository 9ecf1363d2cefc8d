//! Looks at the scheduler, and reports what changed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use forebay_service::CancellationToken;
use forebay_wire::{JobId, Timestamp};

use super::{
    Maintainer,
    diff::{self, DeniedBy, Step, array, array::Accounting},
    lock,
    reap::Sweeps,
};
use crate::{
    integration::{Answer, Interest, Recall, Record, Unavailable},
    job::{Phase, Tracked},
    store::Change,
};

/// Between two looks at least, however often one is asked for.
const GAP: Duration = Duration::from_millis(100);
/// Between two questions to accounting, which is slow.
const RECALL_GAP: Duration = Duration::from_secs(2);
/// A scheduler that answers slowly is asked so many times its own time apart.
const SLOW_FACTOR: u32 = 10;
/// And never longer than so: one that does not answer at all takes long to say so, and may be
/// back at any moment.
const SLOW_GAP_MAX: Duration = Duration::from_secs(5);

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
struct Memory {
    /// When accounting was asked last.
    recalled: Option<Instant>,
    /// The tasks that arrays were asked for: read from the spec once.
    expected: HashMap<JobId, Arc<[u32]>>,
}

/// A job that the controller does not list, or not all of it.
struct Denied {
    job: Tracked,
    interest: Interest,
    /// Of an array, what the controller does list.
    controller: Option<Record>,
    /// The tasks of an array; none of a plain job.
    expected: Arc<[u32]>,
}

impl Denied {
    /// What follows; nothing if accounting was not asked and the controller lists nothing.
    fn step(&self, recall: Option<&Result<Recall, Unavailable>>, now: Timestamp) -> Option<Step> {
        let job = &self.job;
        let recalled = match recall {
            Some(Ok(Recall::Answer(answer))) => record_of(answer, &self.interest),
            _ => None,
        };
        if self.is_array() {
            let accounting = match recall {
                None => Accounting::NotAsked,
                Some(Err(_)) => Accounting::Silent,
                Some(Ok(Recall::NoAccounting)) => Accounting::None,
                Some(Ok(Recall::Answer(_))) => Accounting::Answer(recalled),
            };
            let controller = self.controller.as_ref();
            return Some(array::seen(
                job,
                controller,
                accounting,
                &self.expected,
                now,
            ));
        }
        Some(match (recall?, recalled) {
            (_, Some(record)) if record.has_ended() => diff::seen(job, record, now),
            (Ok(Recall::Answer(_)), None) => diff::absent(job, DeniedBy::Both, now),
            (Ok(Recall::NoAccounting), None) => diff::absent(job, DeniedBy::ControllerAlone, now),
            // Accounting lags: it may still say "running".
            (_, Some(_)) | (Err(_), None) => diff::absent(job, DeniedBy::ControllerSoFar, now),
        })
    }

    fn is_array(&self) -> bool {
        let record = self.controller.as_ref();
        is_array(&self.job, record) || !self.expected.is_empty()
    }
}

fn is_array(job: &Tracked, record: Option<&Record>) -> bool {
    record.is_some_and(Record::is_array) || !job.told.tasks.is_empty()
}

impl Maintainer {
    pub(super) async fn watch(&self, stop: CancellationToken) {
        let poll = self.0.parts.limits.poll;
        let mut pause = Duration::ZERO;
        let mut memory = Memory::default();
        let mut sweeps = Sweeps::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.look.nudged() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let was_silent = self.0.silent.borrow().is_some();
            let jobs: Vec<Tracked> = lock(&self.0.watched).values().cloned().collect();
            pause = if jobs.is_empty() { poll * 5 } else { poll };
            let mut gap = GAP.min(poll);
            if !jobs.is_empty() {
                let began = Instant::now();
                self.look_at(jobs, &mut memory).await;
                // However eagerly looks are asked for, they take a small share of the scheduler.
                gap = gap.max((began.elapsed() * SLOW_FACTOR).min(SLOW_GAP_MAX));
            }
            let is_back = was_silent && self.0.silent.borrow().is_none();
            self.sweep(&mut sweeps, is_back).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(gap) => {}
            }
        }
    }

    async fn look_at(&self, jobs: Vec<Tracked>, memory: &mut Memory) {
        let installation = self.installation().await;
        let mut asked: HashMap<_, (Tracked, Interest)> = HashMap::with_capacity(jobs.len());
        // An account that cannot be found is asked for once a look, not once a job.
        let mut missing: HashSet<String> = HashSet::new();
        for job in jobs {
            if missing.contains(&job.owner.identity) {
                continue;
            }
            match self.interest(&job, installation).await {
                Some(interest) => {
                    asked.insert(job.job, (job, interest));
                }
                None if job.copy.is_some() => {
                    missing.insert(job.owner.identity);
                }
                None => {}
            }
        }
        let interests: Vec<Interest> = asked
            .values()
            .map(|(_, interest)| interest.clone())
            .collect();
        let answer = self.0.parts.integration.observe(&interests).await;
        self.heard(answer.as_ref().map(|_| ())).await;
        // Silence says nothing about any job.
        let Ok(answer) = answer else { return };

        let now = Timestamp::now();
        memory.expected.retain(|id, _| asked.contains_key(id));
        let mut steps = Vec::new();
        let mut denied = Vec::new();
        for (id, (mut job, interest)) in asked {
            let record = record_of(&answer, &interest);
            if let Some(record) = record
                && record.marker.is_some()
                && record.run == 0
            {
                // By its own clock. Accounting, which may not have the
                // mark, will be asked for the copy of that moment.
                job.copy = Some(record.copy.clone());
            }
            match record {
                Some(record) if !is_array(&job, Some(record)) => {
                    steps.push((diff::seen(&job, record, now), job));
                }
                None if answer.silent.contains(&id) => {
                    steps.push((diff::unheard(&job, now), job));
                }
                record => {
                    let expected = memory.expected.entry(id);
                    let expected = Arc::clone(expected.or_insert_with(|| self.tasks_of(&job)));
                    if record.is_some() && array::missing(&job, record, &expected).is_empty() {
                        let step = array::seen(&job, record, Accounting::NotAsked, &expected, now);
                        steps.push((step, job));
                    } else {
                        denied.push(Denied {
                            job,
                            interest,
                            controller: record.cloned(),
                            expected,
                        });
                    }
                }
            }
        }
        let due = memory.recalled.is_none_or(|at| at.elapsed() >= RECALL_GAP);
        let recall = if !denied.is_empty() && due {
            memory.recalled = Some(Instant::now());
            let interests: Vec<Interest> = denied.iter().map(|one| one.interest.clone()).collect();
            Some(self.0.parts.integration.recall(&interests).await)
        } else {
            None
        };
        for one in denied {
            if let Some(step) = one.step(recall.as_ref(), now) {
                steps.push((step, one.job));
            }
        }
        self.keep(steps).await;
    }

    /// The tasks that a job was asked to have.
    pub(super) fn tasks_of(&self, job: &Tracked) -> Arc<[u32]> {
        self.0.parts.integration.tasks(&job.spec).into()
    }

    /// Commits what was seen, and only then believes it.
    async fn keep(&self, steps: Vec<(Step, Tracked)>) {
        let mut changes = Vec::new();
        let mut kept = Vec::new();
        for (step, mut job) in steps {
            if step.reports.is_empty() && step.told == job.told {
                let watched = self.watched(job.job);
                if watched.is_none_or(|watched| watched.copy == job.copy) {
                    continue;
                }
            }
            job.told = step.told;
            if step.ended {
                job.phase = Phase::Closed;
                changes.push(Change::end(&job, step.reports));
            } else {
                changes.push(Change::save(&job, step.reports));
            }
            kept.push(job);
        }
        if let Err(error) = self.0.parts.store.write(changes).await {
            // The next look sees the same again.
            tracing::warn!(
                error = forebay_service::logs::chain(&error),
                "what was seen is not kept"
            );
            return;
        }
        for job in kept {
            if job.phase == Phase::Closed {
                self.let_go(job.job);
                self.0.tail.nudge();
            } else {
                lock(&self.0.watched).insert(job.job, job);
            }
        }
    }
}

fn record_of<'a>(
    answer: &'a Answer,
    interest: &Interest,
) -> Option<&'a crate::integration::Record> {
    let record = answer.records.get(&interest.marker.job)?;
    interest.is_of(record).then_some(record)
}
