//! `local`: processes on this host in a bounded number of slots, for machines
//! without a scheduler.
//!
//! Each job has a shim of its own, started by its owner's user-agent. The shim
//! waits for its release, outlives the user-agent, and leaves a record of the
//! end. What decides which job runs is here: the oldest released ones, as many
//! as there are slots.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use async_trait::async_trait;
use forebay_wire::{
    Detail, Freshness, JobState, Timestamp,
    api::{ClusterStatus, JobSpec, Partition},
    ipc::{LocalJob, LocalPhase, LocalStart, Prepared},
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

/// Runs jobs as processes of this host.
#[derive(Debug)]
pub struct Local {
    user_agents: UserAgents,
    slots: u32,
}

impl Local {
    /// With this many jobs at once.
    pub fn new(user_agents: UserAgents, slots: u32) -> Self {
        Self { user_agents, slots }
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
        for id in ids {
            let Ok(job) = id.parse() else { continue };
            self.user_agents
                .local_cancel(account, job)
                .await
                .map_err(unavailable)?;
        }
        Ok(())
    }

    async fn observe(&self, interest: &[Interest]) -> Result<Answer, Unavailable> {
        let mut by_uid: HashMap<u32, Vec<&Interest>> = HashMap::new();
        for one in interest {
            by_uid.entry(one.account.uid).or_default().push(one);
        }
        let mut answer = Answer::default();
        let mut running: u32 = 0;
        let mut waiting: Vec<&Interest> = Vec::new();
        for of_user in by_uid.into_values() {
            let Some(account) = of_user.first().map(|one| &one.account) else {
                continue;
            };
            let jobs = self.jobs_of(account).await?;
            let jobs: HashMap<_, _> = jobs.iter().map(|job| (job.job, job)).collect();
            for one in of_user {
                let Some(job) = jobs.get(&one.marker.job) else {
                    continue;
                };
                match job.phase {
                    LocalPhase::Running { .. } => running += 1,
                    LocalPhase::Held => waiting.push(one),
                    LocalPhase::Ended { .. } | LocalPhase::Gone => {}
                }
                let mut record = record(job, account.uid);
                for part in &mut record.parts {
                    if part.phase == PartPhase::Held {
                        part.phase = PartPhase::Waiting;
                        part.reason = Some("Waits for a free slot".to_owned());
                    }
                }
                answer.records.insert(job.job, record);
            }
        }
        // The id begins with the moment of submission: the oldest first.
        waiting.sort_by_key(|one| one.marker.job);
        let free = self.slots.saturating_sub(running);
        for one in waiting.into_iter().take(free as usize) {
            // One that cannot be started is no news about the others.
            if let Err(error) = self
                .user_agents
                .local_release(&one.account, one.marker.job)
                .await
            {
                let error = forebay_service::logs::chain(&error);
                tracing::warn!(job = %one.marker.job, error, "a free slot waits");
            }
        }
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
