//! `local`: processes on this host in a bounded number of slots, for machines
//! without a scheduler.
//!
//! Each job has a shim of its own, started by its owner's user-agent. The shim
//! waits for its release, outlives the user-agent, and leaves a record of the
//! end. What decides which job runs is here: the oldest released ones, as many
//! as there are slots.

mod ask;
mod slots;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    time::Duration,
};

use async_trait::async_trait;
use forebay_wire::{
    Code, Detail, Freshness, JobId, JobState, Timestamp,
    api::{ClusterStatus, JobSpec, Partition},
    ipc::{LocalJob, LocalPhase, LocalStart, Prepared},
};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use self::{
    ask::Questions,
    slots::{Slots, Watched},
};
use super::{
    Answer, Integration, Interest, Part, PartPhase, Recall, Receipt, Record, Release, Submission,
    SubmitError, Unavailable,
};
use crate::{
    accounts::Account,
    integration::script,
    job::{Copy, Marker},
    user_agents::{CallError, UserAgents},
};

/// How long a look waits for the start of a job.
const RELEASE_MAX: Duration = Duration::from_secs(2);
/// Jobs started at once.
const RELEASES_AT_ONCE: usize = 16;
/// How long a job that could not be started is not tried again.
const PUT_OFF: Duration = Duration::from_secs(10);

/// Runs jobs as processes of this host.
#[derive(Debug)]
pub struct Local {
    user_agents: UserAgents,
    slots: u32,
    /// Used by one look at a time.
    floor: tokio::sync::Mutex<Floor>,
}

/// What is known of all owners together.
#[derive(Debug, Default)]
struct Floor {
    questions: Questions,
    slots: Slots,
    /// Jobs that could not be started, and until when they are not tried again.
    put_off: HashMap<JobId, Instant>,
}

impl Local {
    /// With this many jobs at once.
    pub fn new(user_agents: UserAgents, slots: u32) -> Self {
        Self {
            user_agents,
            slots,
            floor: tokio::sync::Mutex::default(),
        }
    }

    /// Every process of an account that there is a record of.
    async fn jobs_of(&self, account: &Account) -> Result<Vec<LocalJob>, Unavailable> {
        let jobs = self
            .user_agents
            .local_jobs(account)
            .await
            .map_err(unavailable)?;
        Ok(jobs.jobs)
    }

    /// Lets those run for whom there is a slot.
    async fn start_some(&self, floor: &mut Floor, waiting: &[&Interest]) {
        let now = Instant::now();
        let ids: HashSet<JobId> = waiting.iter().map(|one| one.marker.job).collect();
        floor
            .put_off
            .retain(|job, until| *until > now && ids.contains(job));
        let accounts: HashMap<JobId, &Account> = waiting
            .iter()
            .map(|one| (one.marker.job, &one.account))
            .filter(|(job, _)| !floor.put_off.contains_key(job))
            .collect();
        let waiting = accounts.iter().map(|(job, account)| (account.uid, *job));
        let chosen = floor.slots.fill(self.slots, waiting.collect());
        let releases = chosen.into_iter().filter_map(|(uid, job)| {
            let account = *accounts.get(&job)?;
            Some(async move {
                let release = self.user_agents.local_release(account, job);
                (uid, job, tokio::time::timeout(RELEASE_MAX, release).await)
            })
        });
        let mut releases = stream::iter(releases).buffer_unordered(RELEASES_AT_ONCE);
        while let Some((uid, job, released)) = releases.next().await {
            let error = match released {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => {
                    if error.did_nothing() {
                        floor.slots.give_back(uid, job);
                        // Others get the slot meanwhile.
                        floor.put_off.insert(job, now + PUT_OFF);
                    } else {
                        floor.slots.unsure(job);
                    }
                    forebay_service::logs::chain(&error)
                }
                Err(_) => {
                    floor.slots.unsure(job);
                    "no answer in time".to_owned()
                }
            };
            tracing::warn!(%job, error, "a job was not started");
        }
    }
}

fn unavailable(error: CallError) -> Unavailable {
    Unavailable::new(forebay_service::logs::chain(&error))
}

#[async_trait]
impl Integration for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn check(&self, spec: &JobSpec) -> Vec<Detail> {
        let mut details = Vec::new();
        let mut lacks = |field: &str, what: &str| {
            details.push(Detail {
                field: field.to_owned(),
                message: format!(
                    "This cluster runs single processes on one host and has no {what}."
                ),
            });
        };
        if spec.slurm.is_some() {
            lacks("spec.slurm", "Slurm");
        }
        let resources = &spec.resources;
        if resources.nodes.is_some_and(|n| n != 1) {
            lacks("spec.resources.nodes", "further nodes");
        }
        if resources.tasks.is_some_and(|n| n != 1) {
            lacks("spec.resources.tasks", "tasks");
        }
        if resources.gpus.is_some_and(|n| n != 0) {
            lacks("spec.resources.gpus", "GPUs to hand out");
        }
        if resources.memory_mib.is_some() {
            lacks("spec.resources.memory_mib", "memory limits");
        }
        if resources.cpus_per_task.is_some() {
            lacks("spec.resources.cpus_per_task", "cores to hand out");
        }
        details
    }

    fn script(&self, spec: &JobSpec) -> Result<String, String> {
        script(spec)
    }

    async fn find(&self, account: &Account, marker: Marker) -> Result<Vec<Record>, Unavailable> {
        let mark = marker.to_string();
        let jobs = self.jobs_of(account).await?;
        Ok(jobs
            .iter()
            .filter(|job| job.marker == mark)
            .map(|job| record(job, account.uid))
            .filter(|record| !record.has_ended())
            .collect())
    }

    async fn submit_held(&self, submission: Submission<'_>) -> Result<Receipt, SubmitError> {
        let Submission {
            marker,
            spec,
            account,
        } = submission;
        let script = script(spec).map_err(SubmitError::Refused)?;
        let prepared = self
            .user_agents
            .prepare(account, marker.job, script)
            .await
            .map_err(CallError::into_submit_error)?;
        let (directory, stdout, stderr) = places(spec, &prepared);
        let start = LocalStart {
            job: marker.job,
            marker: marker.to_string(),
            script: prepared.script,
            directory,
            stdout: stdout.clone(),
            stderr: stderr.clone(),
            environment: environment(spec, marker),
            time_limit_s: spec.time_limit_s,
        };
        let job = self
            .user_agents
            .local_start(account, &start)
            .await
            .map_err(CallError::into_submit_error)?;
        Ok(Receipt {
            copy: record(&job, account.uid).copy,
            stays_held: false,
            stdout_path: Some(stdout),
            stderr_path: Some(stderr),
        })
    }

    async fn outputs(
        &self,
        submission: Submission<'_>,
        _copy: &Copy,
    ) -> (Option<String>, Option<String>) {
        let Submission {
            marker,
            spec,
            account,
        } = submission;
        let prepared = self.user_agents.place(account, marker.job);
        let (_, stdout, stderr) = places(spec, &prepared);
        (Some(stdout), Some(stderr))
    }

    /// From here on a job is watched, and the next look starts it if a slot is free.
    async fn release(&self, _account: &Account, ids: &[String]) -> Vec<Release> {
        vec![Release::Done; ids.len()]
    }

    async fn cancel(&self, account: &Account, ids: &[String]) -> Result<(), Unavailable> {
        let mut result = Ok(());
        for job in ids.iter().filter_map(|id| id.parse().ok()) {
            match self.user_agents.local_cancel(account, job).await {
                Ok(_) => {}
                // It has ended, and was forgotten.
                Err(error) if error.code() == Some(Code::NotFound) => {}
                // One that cannot be cancelled keeps none of the others.
                Err(error) if error.code().is_some() => result = Err(unavailable(error)),
                // The others would not be heard either.
                Err(error) => return Err(unavailable(error)),
            }
        }
        result
    }

    /// Looks at every owner's jobs, and starts those whose turn it is.
    async fn observe(&self, interest: &[Interest]) -> Result<Answer, Unavailable> {
        let mut by_uid: HashMap<u32, Vec<&Interest>> = HashMap::new();
        for one in interest {
            by_uid.entry(one.account.uid).or_default().push(one);
        }
        let owners = by_uid.values().filter_map(|of_owner| {
            let about = of_owner.iter().map(|one| one.marker.job).collect();
            Some((of_owner.first()?.account.clone(), about))
        });
        let mut floor = self.floor.lock().await;
        let floor = &mut *floor;
        let said = floor
            .questions
            .ask(&self.user_agents, owners.collect())
            .await;
        let mut answer = Answer::default();
        let mut waiting = Vec::new();
        for (uid, of_owner) in &by_uid {
            let Some(said) = said.get(uid) else {
                floor.slots.silent(of_owner.iter().map(|one| Watched {
                    uid: *uid,
                    job: one.marker.job,
                    was_running: one.was_running,
                }));
                answer
                    .silent
                    .extend(of_owner.iter().map(|one| one.marker.job));
                continue;
            };
            floor.slots.answered(*uid, &said.about, &said.jobs);
            let jobs: HashMap<_, _> = said.jobs.iter().map(|job| (job.job, job)).collect();
            for one in of_owner {
                let id = one.marker.job;
                match jobs.get(&id) {
                    Some(job) => {
                        if job.phase == LocalPhase::Held {
                            waiting.push(*one);
                        }
                        answer.records.insert(id, record_of_waiting(job, *uid));
                    }
                    None if said.about.contains(&id) => {}
                    // It was not there yet when its owner was asked.
                    None => {
                        answer.silent.insert(id);
                    }
                }
            }
        }
        self.start_some(floor, &waiting).await;
        Ok(answer)
    }

    async fn recall(&self, _interest: &[Interest]) -> Result<Recall, Unavailable> {
        Ok(Recall::NoAccounting)
    }

    async fn status(&self) -> Result<ClusterStatus, Unavailable> {
        Ok(ClusterStatus {
            freshness: Freshness::Live,
            message: None,
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            seen_at: Some(Timestamp::now()),
            partitions: vec![Partition {
                name: "local".to_owned(),
                default: true,
                state: "up".to_owned(),
                time_limit_s: None,
                nodes: 1,
                cpus: self.slots,
                cpus_idle: self.slots,
                memory_mib: None,
            }],
        })
    }
}

/// Where a job runs, and the files of its outputs.
fn places(spec: &JobSpec, prepared: &Prepared) -> (String, String, String) {
    let within = |base: &str, path: &str| Path::new(base).join(path).to_string_lossy().into_owned();
    let directory = match &spec.directory {
        Some(directory) => within(&prepared.home, directory),
        None => prepared.home.clone(),
    };
    let output = &spec.output;
    let file = |path: &Option<String>, name: &str| match path {
        Some(path) => within(&directory, path),
        None => within(&prepared.directory, name),
    };
    let stdout = file(&output.stdout, "stdout");
    let stderr = match (&output.stdout, &output.stderr) {
        (Some(_), None) => stdout.clone(),
        _ => file(&output.stderr, "stderr"),
    };
    (directory, stdout, stderr)
}

/// What a job's program finds in its environment, beside its owner's own.
fn environment(spec: &JobSpec, marker: Marker) -> BTreeMap<String, String> {
    let mut environment = spec.environment.clone();
    environment.insert("FOREBAY_JOB_ID".to_owned(), marker.job.to_string());
    environment
}

/// As [`record`], of a job that was let go already: it waits for its turn.
fn record_of_waiting(job: &LocalJob, uid: u32) -> Record {
    let mut record = record(job, uid);
    for part in &mut record.parts {
        if part.phase == PartPhase::Held {
            part.phase = PartPhase::Waiting;
            part.reason = Some("Waits for a free slot".to_owned());
        }
    }
    record
}

fn record(job: &LocalJob, uid: u32) -> Record {
    let (phase, started_at, reason) = match &job.phase {
        LocalPhase::Held => (PartPhase::Held, None, None),
        LocalPhase::Running { started_at } => (PartPhase::Running, Some(*started_at), None),
        LocalPhase::Ended {
            started_at,
            ended_at,
            exit,
            timed_out,
            cancelled,
        } => {
            let end = match (timed_out, cancelled, exit.code, exit.signal) {
                (true, ..) => JobState::TimedOut,
                (_, true, ..) => JobState::Cancelled,
                (_, _, 0, None) => JobState::Succeeded,
                _ => JobState::Failed,
            };
            let phase = PartPhase::Ended {
                end,
                exit: Some(*exit),
                at: *ended_at,
            };
            (phase, *started_at, None)
        }
        LocalPhase::Gone => (
            PartPhase::Ended {
                end: JobState::NodeFailed,
                exit: None,
                at: Timestamp::now(),
            },
            None,
            Some("The host was restarted, or the job's shim was killed.".to_owned()),
        ),
    };
    Record {
        copy: Copy {
            scheduler_id: job.job.to_string(),
            submitted_at: job.submitted_at,
        },
        uid,
        marker: job.marker.parse().ok(),
        run: 0,
        parts: vec![Part {
            task: None,
            scheduler_id: None,
            phase,
            reason,
            started_at,
            nodes: None,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The home may hang, and with it whatever the owner's user-agent is asked.
    #[tokio::test]
    async fn where_outputs_are_is_told_without_asking_anybody() {
        let nowhere = std::path::PathBuf::from("/nonexistent");
        let user_agents = UserAgents::new(crate::user_agents::Config {
            program: nowhere.clone(),
            run_dir: nowhere,
            environment: "test".into(),
            bin_dir: None,
            slurm_conf: None,
            log_dir: None,
            end_with_agent: true,
        });
        let local = Local::new(user_agents, 1);
        let account = Account {
            uid: 1_000,
            gid: 1_000,
            name: "alice".into(),
            home: "/home/alice".into(),
        };
        let spec =
            serde_json::json!({"cluster": "hpc", "command": ["true"], "output": {"stderr": "err"}});
        let spec = serde_json::from_value(spec).expect("a spec");
        let marker = Marker {
            installation: uuid::Uuid::from_u128(7),
            job: forebay_wire::JobId::new(),
        };
        let copy = Copy {
            scheduler_id: marker.job.to_string(),
            submitted_at: Timestamp::now(),
        };
        let submission = Submission {
            marker,
            spec: &spec,
            account: &account,
        };
        let stdout = format!(
            "/home/alice/.local/state/forebay/test/jobs/{}/stdout",
            marker.job
        );
        assert_eq!(
            local.outputs(submission, &copy).await,
            (Some(stdout), Some("/home/alice/err".into()))
        );
    }
}
