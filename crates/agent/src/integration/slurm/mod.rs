//! `slurm`: Slurm by its command line.
//!
//! Two identities ask it. The agent's own account watches, once for all users;
//! whatever is done for a user is done by that user's user-agent, with the
//! user's own Slurm identity.

mod place;
mod record;
mod request;

use std::{collections::HashMap, path::PathBuf, sync::Mutex, time::Duration};

use async_trait::async_trait;
use forebay_slurm::{
    AcctQuery, CancelOptions, Cli, ControlError, Error, JobId, LocalRunner, QueueQuery,
    SubmitError as Refusal, cli::PartitionState, runner,
};
use forebay_wire::{
    Detail, Freshness, Timestamp,
    api::{ClusterStatus, JobSpec, LogStream, Partition},
};
use uuid::Uuid;

use super::{
    Answer, Integration, Interest, Marked, Recall, Receipt, Record, Release, Submission,
    SubmitError, Unavailable, script,
};
use crate::{
    accounts::Account,
    job::{Copy, Marker, Tracked},
    user_agents::{CallError, UserAgents, UserRunner},
};

/// How long Slurm is asked for the files of a job's outputs: what is known without it will do.
const OUTPUTS_MAX: Duration = Duration::from_secs(5);
/// Up to so many jobs are asked for by id; beyond, all that are open are listed.
const BY_ID_MAX: usize = 200;
/// What `squeue` calls open.
const OPEN: &[&str] = &[
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETING",
    "CONFIGURING",
    "STAGE_OUT",
    "REQUEUED",
    "RESIZING",
    "SIGNALING",
    "STOPPED",
    "SPECIAL_EXIT",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESV_DEL_HOLD",
];

/// Slurm, reached from this host.
#[derive(Debug)]
pub struct Slurm {
    user_agents: UserAgents,
    /// Asks as the agent's own account.
    watch: Cli,
    version: Mutex<Option<String>>,
}

impl Slurm {
    /// With Slurm's programs in `bin_dir`, or in the usual directories, and its configuration in
    /// `conf`, or in its usual place.
    pub fn new(user_agents: UserAgents, conf: Option<PathBuf>, bin_dir: Option<PathBuf>) -> Self {
        let runner = LocalRunner::new(runner::Config {
            bin_dir,
            slurm_conf: conf,
            ..runner::Config::default()
        });
        Self {
            user_agents,
            watch: Cli::new(runner),
            version: Mutex::default(),
        }
    }

    fn of(&self, account: &Account) -> Cli {
        Cli::new(UserRunner::new(self.user_agents.clone(), account.clone()))
    }

    async fn queue(&self, query: QueueQuery) -> Result<Vec<Record>, Unavailable> {
        let listing = self.watch.queue(&query).await.map_err(unavailable)?;
        skipped(&listing.skipped);
        Ok(record::of_queue(&listing.items))
    }
}

fn unavailable(error: Error) -> Unavailable {
    Unavailable::new(forebay_service::logs::chain(&error))
}

fn skipped(rows: &[forebay_slurm::Skipped]) {
    if let Some(row) = rows.first() {
        tracing::warn!(
            rows = rows.len(),
            reason = row.reason,
            "rows of Slurm's answer cannot be read"
        );
    }
}

fn ids(ids: &[String]) -> Vec<JobId> {
    ids.iter().filter_map(|id| id.parse().ok()).collect()
}

/// Everything that has not ended.
fn open() -> QueueQuery {
    QueueQuery {
        states: OPEN.iter().map(ToString::to_string).collect(),
        ..QueueQuery::default()
    }
}

/// The records that are of the jobs asked for, by job.
fn chosen(records: Vec<Record>, interest: &[Interest], answer: &mut Answer) {
    let by_id: HashMap<&str, &Interest> = interest
        .iter()
        .map(|one| (one.copy.scheduler_id.as_str(), one))
        .collect();
    for record in records {
        if let Some(one) = by_id.get(record.copy.scheduler_id.as_str())
            && one.is_of(&record)
        {
            answer.records.insert(one.marker.job, record);
        }
    }
}

#[async_trait]
impl Integration for Slurm {
    fn name(&self) -> &'static str {
        "slurm"
    }

    fn check(&self, spec: &JobSpec) -> Vec<Detail> {
        request::check(spec)
    }

    fn script(&self, spec: &JobSpec) -> Result<String, String> {
        script(spec)
    }

    fn stays_held(&self, spec: &JobSpec) -> bool {
        request::stays_held(spec)
    }

    fn tasks(&self, spec: &JobSpec) -> Vec<u32> {
        request::tasks(spec)
    }

    fn log_path(&self, job: &Tracked, stream: LogStream, task: Option<u32>) -> Option<String> {
        let pattern = match stream {
            LogStream::Stdout => job.told.stdout_path.as_deref()?,
            LogStream::Stderr => job.told.stderr_path.as_deref()?,
        };
        place::expand(pattern, &job.copy.as_ref()?.scheduler_id, task)
    }

    async fn find(&self, account: &Account, marker: Marker) -> Result<Vec<Record>, Unavailable> {
        let query = QueueQuery {
            users: vec![account.uid.to_string()],
            ..QueueQuery::default()
        };
        let mut records = self.queue(query).await?;
        records.retain(|record| {
            record.marker == Some(marker) && record.uid == account.uid && !record.has_ended()
        });
        Ok(records)
    }

    async fn submit_held(&self, submission: Submission<'_>) -> Result<Receipt, SubmitError> {
        let Submission {
            marker,
            spec,
            account,
        } = submission;
        let text = script(spec).map_err(SubmitError::Refused)?;
        let prepared = self
            .user_agents
            .prepare(account, marker.job, text.clone())
            .await
            .map_err(CallError::into_submit_error)?;
        let request = request::of(spec, &text, marker, &prepared).map_err(SubmitError::Refused)?;
        let slurm = self.of(account);
        let submitted = slurm
            .submit(&request.submission)
            .await
            .map_err(submit_error)?;
        if let Some(warnings) = submitted.warnings {
            tracing::debug!(job = %marker.job, warnings, "sbatch had something to say");
        }
        let stays_held = request.stays_held;
        let (stdout_path, stderr_path) = output_files(&slurm, request, &submitted.id).await;
        Ok(Receipt {
            copy: Copy {
                scheduler_id: submitted.id.to_string(),
                submitted_at: Timestamp::now(),
            },
            stays_held,
            stdout_path,
            stderr_path,
        })
    }

    async fn outputs(
        &self,
        submission: Submission<'_>,
        copy: &Copy,
    ) -> (Option<String>, Option<String>) {
        let Submission {
            marker,
            spec,
            account,
        } = submission;
        let Ok(text) = script(spec) else {
            return (None, None);
        };
        let place = self.user_agents.place(account, marker.job);
        let Ok(request) = request::of(spec, &text, marker, &place) else {
            return (None, None);
        };
        let Ok(id) = copy.scheduler_id.parse() else {
            return (request.stdout, request.stderr);
        };
        // Asked as ourselves: the owner's user-agent, or home, may hang.
        output_files(&self.watch, request, &id).await
    }

    async fn release(&self, account: &Account, ids_: &[String]) -> Vec<Release> {
        let results = match self.of(account).release(&ids(ids_)).await {
            Ok(results) => results,
            Err(error) => {
                let message = forebay_service::logs::chain(&error);
                return vec![Release::Unknown(message); ids_.len()];
            }
        };
        let results: HashMap<String, _> = results
            .into_iter()
            .map(|(id, result)| (id.to_string(), result))
            .collect();
        ids_.iter()
            .map(|id| match results.get(id) {
                Some(Ok(()) | Err(ControlError::NotPending)) => Release::Done,
                Some(Err(ControlError::NotFound | ControlError::Ended)) => Release::Gone,
                Some(Err(error)) => Release::Unknown(error.to_string()),
                None => Release::Unknown("scontrol did not name the job".to_owned()),
            })
            .collect()
    }

    async fn cancel(&self, account: &Account, ids_: &[String]) -> Result<(), Unavailable> {
        let results = self
            .of(account)
            .cancel(&ids(ids_), &CancelOptions::default())
            .await
            .map_err(unavailable)?;
        for (id, result) in results {
            match result {
                Ok(()) | Err(ControlError::NotFound | ControlError::Ended) => {}
                Err(error) => return Err(Unavailable::new(format!("job {id}: {error}"))),
            }
        }
        Ok(())
    }

    async fn observe(&self, interest: &[Interest]) -> Result<Answer, Unavailable> {
        let mut answer = Answer::default();
        let by_id = |wanted: &[&Interest]| QueueQuery {
            ids: wanted
                .iter()
                .filter_map(|one| one.copy.scheduler_id.parse().ok())
                .collect(),
            ..QueueQuery::default()
        };
        if interest.len() > BY_ID_MAX {
            chosen(self.queue(open()).await?, interest, &mut answer);
        }
        // Ended ones, as long as the controller remembers them; an array's ended tasks, too.
        let missing: Vec<&Interest> = interest
            .iter()
            .filter(|one| {
                answer
                    .records
                    .get(&one.marker.job)
                    .is_none_or(Record::is_array)
            })
            .collect();
        if !missing.is_empty() {
            chosen(self.queue(by_id(&missing)).await?, interest, &mut answer);
        }
        Ok(answer)
    }

    async fn recall(&self, interest: &[Interest]) -> Result<Recall, Unavailable> {
        let query = AcctQuery {
            ids: interest
                .iter()
                .filter_map(|one| one.copy.scheduler_id.parse().ok())
                .collect(),
            // Before the oldest that is asked for, with room for clocks apart.
            since: interest
                .iter()
                .map(|one| one.copy.submitted_at.get() - Duration::from_secs(3600))
                .min(),
            ..AcctQuery::default()
        };
        let listing = match self.watch.accounting(&query).await {
            Ok(listing) => listing,
            Err(Error::NoAccounting) => return Ok(Recall::NoAccounting),
            Err(error) => return Err(unavailable(error)),
        };
        skipped(&listing.skipped);
        let mut answer = Answer::default();
        chosen(record::of_accounting(&listing.items), interest, &mut answer);
        Ok(Recall::Answer(answer))
    }

    async fn marked(&self, installation: Uuid) -> Result<Marked, Unavailable> {
        // Before the listing: should the controller be restarted between, the next look sees it.
        let since = self.watch.config().await.map_err(unavailable)?.booted_at;
        let mut records = self.queue(open()).await?;
        records.retain(|record| {
            record
                .marker
                .is_some_and(|marker| marker.installation == installation)
        });
        Ok(Marked {
            records,
            since: since.map(Into::into),
        })
    }

    async fn status(&self) -> Result<ClusterStatus, Unavailable> {
        let partitions = self.watch.partitions().await.map_err(unavailable)?;
        let known = self.version.lock().ok().and_then(|version| version.clone());
        let version = match known {
            Some(version) => Some(version),
            None => {
                let config = self.watch.config().await.map_err(unavailable)?;
                if let Ok(mut version) = self.version.lock() {
                    *version = Some(config.version.clone());
                }
                Some(config.version)
            }
        };
        Ok(ClusterStatus {
            freshness: Freshness::Live,
            message: None,
            version,
            seen_at: Some(Timestamp::now()),
            partitions: partitions.items.iter().map(partition).collect(),
        })
    }
}

/// The files of a submitted job's outputs. What became of a user's own pattern Slurm says; should
/// it not answer now, the pattern itself is kept.
async fn output_files(
    slurm: &Cli,
    request: request::Request,
    id: &JobId,
) -> (Option<String>, Option<String>) {
    let (mut stdout, mut stderr) = (request.stdout, request.stderr);
    if request.own_output
        && !request.is_array
        && let Ok(Ok(Some(detail))) = tokio::time::timeout(OUTPUTS_MAX, slurm.job(id)).await
    {
        let said = |path: String| Some(path).filter(|path| !path.is_empty());
        stdout = said(detail.job.stdout).or(stdout);
        stderr = said(detail.job.stderr).or(stderr);
    }
    (stdout, stderr)
}

fn partition(found: &forebay_slurm::cli::Partition) -> Partition {
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Partition {
        name: found.name.clone(),
        default: found.default,
        state: state(&found.state),
        time_limit_s: found.time_limit.duration().map(|limit| limit.as_secs()),
        nodes: count(found.nodes_total),
        cpus: count(found.cpus_total),
        cpus_idle: count(found.cpus_idle),
        memory_mib: Some(found.memory_mib),
    }
}

fn state(found: &PartitionState) -> String {
    match found {
        PartitionState::Up => "up",
        PartitionState::Down => "down",
        PartitionState::Drain => "drain",
        PartitionState::Inactive => "inactive",
        PartitionState::Unknown(word) => word,
    }
    .to_owned()
}

fn submit_error(error: Refusal) -> SubmitError {
    let message = forebay_service::logs::chain(&error);
    match error {
        Refusal::Invalid(_) => SubmitError::Refused(message),
        Refusal::Refused { message, .. } => SubmitError::Refused(message),
        Refusal::Busy { .. } => SubmitError::Full(message),
        Refusal::Unavailable {
            maybe_submitted: false,
            ..
        } => SubmitError::Away(message),
        _ => SubmitError::Unknown(message),
    }
}
