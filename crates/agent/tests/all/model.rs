//! A model of a scheduler, with the faults that real ones have.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use forebay_agent::{
    accounts::Account,
    integration::{
        Answer, Integration, Interest, Marked, Part, PartPhase, Recall, Receipt, Record, Release,
        Submission, SubmitError, Unavailable,
    },
    job::{Copy, Marker},
};
use forebay_wire::{
    Detail, Freshness, JobId, JobState, Timestamp,
    api::{ClusterStatus, Exit, JobSpec},
};
use uuid::Uuid;

/// What becomes of one submission.
#[derive(Clone, Debug)]
pub(crate) enum Submit {
    /// Taken, and the answer is lost.
    AnswerLost,
    /// No answer; taken when [`Model::arrive`] is called.
    Late,
    /// Not taken, for certain.
    Away,
    Full,
    Refused,
    /// Taken, or not, and then never an answer.
    Hangs {
        taken: bool,
    },
}

/// What becomes of one release.
#[derive(Clone, Debug)]
pub(crate) enum Let {
    /// Done, and the answer is lost.
    AnswerLost,
    /// Not done, and no answer.
    Unknown,
    /// Done, or not, and then never an answer.
    Hangs { done: bool },
}

/// What accounting says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Accounting {
    #[default]
    None,
    Silent,
    /// It knows nothing of what the controller forgot.
    Empty,
    /// It keeps saying that it is pending.
    Pending,
    /// It knows this end.
    Ended(JobState),
}

/// Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    next_id: u64,
    copies: BTreeMap<u64, Copy_>,
    late: Vec<Copy_>,
    pub(crate) submits: VecDeque<Submit>,
    pub(crate) releases: VecDeque<Let>,
    pub(crate) accounting: Accounting,
    pub(crate) silent: bool,
    /// What is let go waits for its turn.
    pub(crate) busy: bool,
    /// Since when the controller runs.
    pub(crate) since: Option<Timestamp>,
    /// Jobs stay running until told otherwise.
    pub(crate) endless: bool,
    /// There is no room for these.
    pub(crate) full: HashSet<JobId>,
    /// Nothing is to be learned of these.
    pub(crate) unheard: HashSet<JobId>,
    /// Cancels of these accounts are never answered.
    pub(crate) cancels_hang: HashSet<u32>,
    /// The file that jobs print to.
    pub(crate) stdout: Option<String>,
    /// Where outputs are is never answered.
    pub(crate) outputs_hang: bool,
    /// Whatever is done for this account never ends.
    pub(crate) hung: Option<u32>,
    /// How long a submission takes.
    pub(crate) slow: Option<Duration>,
    /// Calls of `submit_held` and `find`.
    pub(crate) submitted: u32,
    pub(crate) found: u32,
    pub(crate) released: u32,
    runs: HashMap<JobId, u32>,
}

#[derive(Clone, Debug)]
struct Copy_ {
    id: u64,
    marker: Marker,
    uid: u32,
    submitted_at: Timestamp,
    /// A user's own hold.
    stays_held: bool,
    phase: PartPhase,
    started_at: Option<Timestamp>,
}

impl Copy_ {
    fn record(&self) -> Record {
        Record {
            copy: Copy {
                scheduler_id: self.id.to_string(),
                submitted_at: self.submitted_at,
            },
            uid: self.uid,
            marker: Some(self.marker),
            run: 0,
            parts: vec![Part {
                task: None,
                scheduler_id: None,
                phase: self.phase,
                reason: None,
                started_at: self.started_at,
                nodes: None,
            }],
        }
    }

    fn end(&mut self, end: JobState) {
        self.phase = PartPhase::Ended {
            end,
            exit: Some(Exit {
                code: 0,
                signal: None,
            }),
            at: Timestamp::now(),
        };
    }

    fn has_ended(&self) -> bool {
        matches!(self.phase, PartPhase::Ended { .. })
    }
}

impl State {
    fn take(&mut self, submission: &Submission<'_>) -> Copy_ {
        self.next_id += 1;
        Copy_ {
            id: self.next_id,
            marker: submission.marker,
            uid: submission.account.uid,
            submitted_at: Timestamp::now(),
            stays_held: stays_held(submission.spec),
            phase: PartPhase::Held,
            started_at: None,
        }
    }

    fn start(&mut self, id: u64) -> bool {
        let (endless, busy) = (self.endless, self.busy);
        let Some(copy) = self.copies.get_mut(&id).filter(|copy| !copy.has_ended()) else {
            return false;
        };
        if copy.phase == PartPhase::Held && busy {
            copy.phase = PartPhase::Waiting;
        } else if matches!(copy.phase, PartPhase::Held | PartPhase::Waiting) {
            *self.runs.entry(copy.marker.job).or_default() += 1;
            copy.started_at = Some(Timestamp::now());
            copy.phase = PartPhase::Running;
            if !endless {
                copy.end(JobState::Succeeded);
            }
        }
        true
    }

    fn check(&self) -> Result<(), Unavailable> {
        if self.silent {
            return Err(Unavailable::new("silent"));
        }
        Ok(())
    }
}

impl Model {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic holds it")
    }

    /// How often a job was started.
    pub(crate) fn runs(&self, job: JobId) -> u32 {
        self.state().runs.get(&job).copied().unwrap_or(0)
    }

    /// Until the account's user-agent answers again.
    async fn hang(&self, account: &Account) {
        while self.state().hung == Some(account.uid) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Copies of a job that have not ended.
    pub(crate) fn open(&self, job: JobId) -> usize {
        let state = self.state();
        let open = |copy: &&Copy_| copy.marker.job == job && !copy.has_ended();
        state.copies.values().filter(open).count()
    }

    /// Submissions under way arrive.
    pub(crate) fn arrive(&self) {
        let mut state = self.state();
        let late = std::mem::take(&mut state.late);
        state
            .copies
            .extend(late.into_iter().map(|copy| (copy.id, copy)));
    }

    /// Adds a held copy of a job, as a late one would be.
    pub(crate) fn add_copy(&self, job: JobId) {
        let mut state = self.state();
        let mut copy = state
            .copies
            .values()
            .find(|copy| copy.marker.job == job)
            .expect("a copy")
            .clone();
        state.next_id += 1;
        copy.id = state.next_id;
        copy.phase = PartPhase::Held;
        copy.started_at = None;
        state.copies.insert(copy.id, copy);
    }

    /// The controller loses its state.
    pub(crate) fn forget_all(&self) {
        self.state().copies.clear();
    }

    /// The controller is restarted and has lost that it let these go.
    pub(crate) fn restart_and_hold_again(&self) {
        let mut state = self.state();
        for copy in state.copies.values_mut().filter(|copy| !copy.has_ended()) {
            copy.phase = PartPhase::Held;
            copy.started_at = None;
        }
        let later = time::OffsetDateTime::now_utc() + Duration::from_secs(1);
        state.since = Some(later.into());
    }

    /// The owners hold their waiting jobs.
    pub(crate) fn hold_all(&self) {
        for copy in self.state().copies.values_mut() {
            if copy.phase == PartPhase::Waiting {
                copy.phase = PartPhase::Held;
            }
        }
    }

    /// Somebody ends the copies by hand.
    pub(crate) fn end_all(&self, end: JobState) {
        for copy in self.state().copies.values_mut() {
            if !copy.has_ended() {
                copy.end(end);
            }
        }
    }

    /// The owner lets go of his own hold.
    pub(crate) fn start_all(&self) {
        let mut state = self.state();
        let ids: Vec<u64> = state.copies.keys().copied().collect();
        for id in ids {
            state.start(id);
        }
    }

    pub(crate) async fn until(&self, what: &str, done: impl Fn(&State) -> bool) {
        let began = std::time::Instant::now();
        while !done(&self.state()) {
            assert!(
                began.elapsed() < Duration::from_secs(15),
                "not {what}: {:#?}",
                self.state()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn stays_held(spec: &JobSpec) -> bool {
    spec.slurm.as_ref().is_some_and(|slurm| slurm.hold)
}

fn unknown() -> SubmitError {
    SubmitError::Unknown("no answer".into())
}

#[async_trait]
impl Integration for Model {
    fn name(&self) -> &'static str {
        "model"
    }

    fn check(&self, _spec: &JobSpec) -> Vec<Detail> {
        Vec::new()
    }

    fn script(&self, _spec: &JobSpec) -> Result<String, String> {
        Ok("#!/bin/sh\n".into())
    }

    fn stays_held(&self, spec: &JobSpec) -> bool {
        stays_held(spec)
    }

    async fn find(&self, account: &Account, marker: Marker) -> Result<Vec<Record>, Unavailable> {
        let mut state = self.state();
        state.found += 1;
        state.check()?;
        let ours =
            |copy: &&Copy_| copy.marker == marker && copy.uid == account.uid && !copy.has_ended();
        Ok(state
            .copies
            .values()
            .filter(ours)
            .map(Copy_::record)
            .collect())
    }

    async fn submit_held(&self, submission: Submission<'_>) -> Result<Receipt, SubmitError> {
        let slow = {
            let mut state = self.state();
            state.submitted += 1;
            state.slow
        };
        self.hang(submission.account).await;
        tokio::time::sleep(slow.unwrap_or_default()).await;
        let hangs = {
            let mut state = self.state();
            if state.silent {
                return Err(SubmitError::Away("silent".into()));
            }
            if state.full.contains(&submission.marker.job) {
                return Err(SubmitError::Full("full".into()));
            }
            match state.submits.pop_front() {
                None => {
                    let copy = state.take(&submission);
                    let receipt = Receipt {
                        copy: copy.record().copy,
                        stays_held: copy.stays_held,
                        stdout_path: state.stdout.clone(),
                        stderr_path: None,
                    };
                    state.copies.insert(copy.id, copy);
                    return Ok(receipt);
                }
                Some(Submit::AnswerLost) => {
                    let copy = state.take(&submission);
                    state.copies.insert(copy.id, copy);
                    return Err(unknown());
                }
                Some(Submit::Late) => {
                    let copy = state.take(&submission);
                    state.late.push(copy);
                    return Err(unknown());
                }
                Some(Submit::Away) => return Err(SubmitError::Away("away".into())),
                Some(Submit::Full) => return Err(SubmitError::Full("full".into())),
                Some(Submit::Refused) => {
                    return Err(SubmitError::Refused("no such partition".into()));
                }
                Some(Submit::Hangs { taken }) => {
                    if taken {
                        let copy = state.take(&submission);
                        state.copies.insert(copy.id, copy);
                    }
                    std::future::pending::<()>()
                }
            }
        };
        hangs.await;
        Err(unknown())
    }

    async fn outputs(
        &self,
        submission: Submission<'_>,
        _copy: &Copy,
    ) -> (Option<String>, Option<String>) {
        if self.state().outputs_hang {
            std::future::pending::<()>().await;
        }
        let file = |name: &str| Some(format!("/adopted/{}/{name}", submission.marker.job));
        (file("stdout"), file("stderr"))
    }

    async fn release(&self, account: &Account, ids: &[String]) -> Vec<Release> {
        self.hang(account).await;
        let (how, outcomes) = {
            let mut state = self.state();
            state.released += 1;
            if state.silent {
                return vec![Release::Unknown("silent".into()); ids.len()];
            }
            let how = state.releases.pop_front();
            let not_done = matches!(how, Some(Let::Unknown | Let::Hangs { done: false }));
            let release = |id: &String| match id.parse() {
                Ok(id) if not_done || state.start(id) => Release::Done,
                _ => Release::Gone,
            };
            let outcomes: Vec<Release> = ids.iter().map(release).collect();
            (how, outcomes)
        };
        match how {
            None => outcomes,
            Some(Let::AnswerLost | Let::Unknown) => {
                vec![Release::Unknown("no answer".into()); ids.len()]
            }
            Some(Let::Hangs { .. }) => std::future::pending().await,
        }
    }

    async fn cancel(&self, account: &Account, ids: &[String]) -> Result<(), Unavailable> {
        if self.state().cancels_hang.contains(&account.uid) {
            std::future::pending::<()>().await;
        }
        let mut state = self.state();
        state.check()?;
        for id in ids.iter().filter_map(|id| id.parse().ok()) {
            if let Some(copy) = state.copies.get_mut(&id).filter(|copy| !copy.has_ended()) {
                copy.end(JobState::Cancelled);
            }
        }
        Ok(())
    }

    async fn observe(&self, interest: &[Interest]) -> Result<Answer, Unavailable> {
        let state = self.state();
        state.check()?;
        let mut answer = Answer::default();
        for one in interest {
            if state.unheard.contains(&one.marker.job) {
                answer.silent.insert(one.marker.job);
                continue;
            }
            let copy = one
                .copy
                .scheduler_id
                .parse()
                .ok()
                .and_then(|id: u64| state.copies.get(&id));
            if let Some(copy) = copy {
                answer.records.insert(one.marker.job, copy.record());
            }
        }
        Ok(answer)
    }

    async fn recall(&self, interest: &[Interest]) -> Result<Recall, Unavailable> {
        let state = self.state();
        let mut answer = Answer::default();
        let phase = match &state.accounting {
            Accounting::None => return Ok(Recall::NoAccounting),
            Accounting::Silent => return Err(Unavailable::new("slurmdbd is silent")),
            Accounting::Empty => return Ok(Recall::Answer(answer)),
            Accounting::Pending => PartPhase::Waiting,
            Accounting::Ended(end) => PartPhase::Ended {
                end: *end,
                exit: None,
                at: Timestamp::now(),
            },
        };
        for one in interest {
            let copy = Copy_ {
                id: one.copy.scheduler_id.parse().expect("a number"),
                marker: one.marker,
                uid: one.account.uid,
                submitted_at: one.copy.submitted_at,
                stays_held: false,
                phase,
                started_at: None,
            };
            answer.records.insert(one.marker.job, copy.record());
        }
        Ok(Recall::Answer(answer))
    }

    async fn marked(&self, installation: Uuid) -> Result<Marked, Unavailable> {
        let state = self.state();
        state.check()?;
        let ours = |copy: &&Copy_| copy.marker.installation == installation && !copy.has_ended();
        Ok(Marked {
            records: state
                .copies
                .values()
                .filter(ours)
                .map(Copy_::record)
                .collect(),
            since: state.since,
        })
    }

    async fn status(&self) -> Result<ClusterStatus, Unavailable> {
        self.state().check()?;
        Ok(ClusterStatus {
            freshness: Freshness::Live,
            message: None,
            version: None,
            seen_at: None,
            partitions: Vec::new(),
        })
    }
}
