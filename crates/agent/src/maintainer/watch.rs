//! Looks at the scheduler, and reports what changed.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use forebay_service::CancellationToken;
use forebay_wire::Timestamp;

use super::{Maintainer, diff, diff::DeniedBy, diff::Step, lock};
use crate::{
    integration::{Answer, Interest, Recall},
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

impl Maintainer {
    pub(super) async fn watch(&self, stop: CancellationToken) {
        let poll = self.0.parts.limits.poll;
        let mut pause = Duration::ZERO;
        let mut recalled: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.look.nudged() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let jobs: Vec<Tracked> = lock(&self.0.watched).values().cloned().collect();
            pause = if jobs.is_empty() { poll * 5 } else { poll };
            let mut gap = GAP.min(poll);
            if !jobs.is_empty() {
                let began = Instant::now();
                self.look_at(jobs, &mut recalled).await;
                // However eagerly looks are asked for, they take a small share of the scheduler.
                gap = gap.max((began.elapsed() * SLOW_FACTOR).min(SLOW_GAP_MAX));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(gap) => {}
            }
        }
    }

    async fn look_at(&self, jobs: Vec<Tracked>, recalled: &mut Option<Instant>) {
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
        let mut steps = Vec::new();
        let mut denied = Vec::new();
        for (id, (mut job, interest)) in asked {
            match record_of(&answer, &interest) {
                Some(record) => {
                    if record.marker.is_some() && record.run == 0 {
                        // By its own clock. Accounting, which may not have the
                        // mark, will be asked for the copy of that moment.
                        job.copy = Some(record.copy.clone());
                    }
                    steps.push((diff::seen(&job, record, now), job));
                }
                None if answer.silent.contains(&id) => {
                    steps.push((diff::unheard(&job, now), job));
                }
                None => denied.push((id, job, interest)),
            }
        }
        let due = recalled.is_none_or(|at| at.elapsed() >= RECALL_GAP);
        if !denied.is_empty() && due {
            let interests: Vec<Interest> = denied.iter().map(|(_, _, i)| i.clone()).collect();
            let recall = self.0.parts.integration.recall(&interests).await;
            *recalled = Some(Instant::now());
            for (_, job, interest) in denied {
                let step = match &recall {
                    Ok(Recall::Answer(answer)) => match record_of(answer, &interest) {
                        Some(record) if record.has_ended() => diff::seen(&job, record, now),
                        // Accounting lags: it may still say "running".
                        Some(_) => diff::absent(&job, DeniedBy::ControllerSoFar, now),
                        None => diff::absent(&job, DeniedBy::Both, now),
                    },
                    Ok(Recall::NoAccounting) => diff::absent(&job, DeniedBy::ControllerAlone, now),
                    Err(_) => diff::absent(&job, DeniedBy::ControllerSoFar, now),
                };
                steps.push((step, job));
            }
        }
        self.keep(steps).await;
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
