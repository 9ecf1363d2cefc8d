//! The calls of [`forebay_wire::ipc`].

use std::time::Duration;

use bytes::Bytes;
use forebay_http::{
    Client, ClientError,
    client::{Answer, BodyStream, Call},
};
use forebay_wire::{
    Code, JobId,
    ipc::{LOG_SIZE_HEADER, LocalJob, LocalJobs, LocalStart, Prepare, Prepared, Ran, Run},
};
use http::{Method, header::RANGE};
use serde::{Serialize, de::DeserializeOwned};

use super::UserAgents;
use crate::{accounts::Account, integration::SubmitError};

/// How long a call that starts no program may take.
const QUICK: Duration = Duration::from_secs(10);
/// Beyond what a program may take, for the answer to arrive.
const GRACE: Duration = Duration::from_secs(5);

/// Why a user-agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It could not be started.
    #[error("the user-agent of {account} could not be started: {message}")]
    Start {
        /// Whose.
        account: String,
        /// Why.
        message: String,
    },
    /// It did not answer, or refused.
    #[error("the user-agent of {account} failed at {call}")]
    Call {
        /// Whose.
        account: String,
        /// Which call.
        call: &'static str,
        /// How.
        #[source]
        source: ClientError,
    },
}

impl CallError {
    /// What this means for a submission: with no call made, none was done.
    pub fn into_submit_error(self) -> SubmitError {
        let message = forebay_service::logs::chain(&self);
        match self {
            Self::Start { .. } => SubmitError::Away(message),
            Self::Call {
                source: ClientError::Problem(problem),
                ..
            } => match problem.code {
                Code::Invalid | Code::Conflict | Code::Forbidden | Code::Malformed => {
                    SubmitError::Refused(problem.message)
                }
                Code::Busy => SubmitError::Away(message),
                _ => SubmitError::Unknown(message),
            },
            Self::Call { source, .. } if !source.may_have_arrived() => SubmitError::Away(message),
            Self::Call { .. } => SubmitError::Unknown(message),
        }
    }

    /// What the user-agent itself says is wrong.
    pub(crate) fn code(&self) -> Option<Code> {
        match self {
            Self::Call {
                source: ClientError::Problem(problem),
                ..
            } => Some(problem.code),
            _ => None,
        }
    }

    /// Whether a call that changes one thing of the user's did nothing, for certain.
    pub(crate) fn did_nothing(&self) -> bool {
        let refused = [Code::NotFound, Code::Conflict, Code::Forbidden];
        self.certainly_did_nothing() || self.code().is_some_and(|code| refused.contains(&code))
    }

    /// Whether nothing was done, for certain.
    pub(super) fn certainly_did_nothing(&self) -> bool {
        match self {
            Self::Start { .. } => true,
            Self::Call {
                source: ClientError::Problem(problem),
                ..
            } => problem.code == Code::Busy,
            Self::Call { source, .. } => !source.may_have_arrived(),
        }
    }

    /// Whether the user-agent was not there for the call.
    fn was_not_sent(&self) -> bool {
        matches!(self, Self::Call { source, .. } if !source.may_have_arrived())
    }
}

impl UserAgents {
    /// Makes the call; once more where the user-agent was not there for it,
    /// for it may have ended in its idleness.
    async fn call(
        &self,
        account: &Account,
        name: &'static str,
        build: impl Fn(&Client) -> Result<Call, ClientError> + Send + Sync,
    ) -> Result<Answer<Bytes>, CallError> {
        let failed = |source| CallError::Call {
            account: account.name.clone(),
            call: name,
            source,
        };
        let call = build(&self.client(account).await?).map_err(failed)?;
        match call.send().await.map_err(failed) {
            Err(error) if error.was_not_sent() => {
                self.forget(account).await;
                let call = build(&self.client(account).await?).map_err(failed)?;
                call.send().await.map_err(failed)
            }
            result => result,
        }
    }

    async fn post<B, T>(
        &self,
        account: &Account,
        name: &'static str,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Result<T, CallError>
    where
        B: Serialize + Sync + ?Sized,
        T: DeserializeOwned,
    {
        let answer = self
            .call(account, name, |client| {
                Ok(client
                    .call(Method::POST, path)
                    .json(body)?
                    .deadline(deadline))
            })
            .await?;
        answer.json().map_err(|source| CallError::Call {
            account: account.name.clone(),
            call: name,
            source,
        })
    }

    /// Makes the job's directory and writes its script.
    pub async fn prepare(
        &self,
        account: &Account,
        job: JobId,
        script: String,
    ) -> Result<Prepared, CallError> {
        let path = format!("/v1/jobs/{job}/prepare");
        self.post(account, "prepare", &path, &Prepare { script }, QUICK)
            .await
    }

    /// Runs one of the scheduler's programs.
    pub async fn run(&self, account: &Account, run: &Run) -> Result<Ran, CallError> {
        let deadline = Duration::from_millis(run.deadline_ms) + GRACE;
        self.post(account, "run", "/v1/run", run, deadline).await
    }

    /// Starts a held process.
    pub async fn local_start(
        &self,
        account: &Account,
        start: &LocalStart,
    ) -> Result<LocalJob, CallError> {
        self.post(account, "local start", "/v1/local/jobs", start, QUICK)
            .await
    }

    /// Lets a held process run.
    pub async fn local_release(
        &self,
        account: &Account,
        job: JobId,
    ) -> Result<LocalJob, CallError> {
        let path = format!("/v1/local/jobs/{job}/release");
        self.post(account, "local release", &path, &(), QUICK).await
    }

    /// Ends a process, held or running.
    pub async fn local_cancel(&self, account: &Account, job: JobId) -> Result<LocalJob, CallError> {
        let path = format!("/v1/local/jobs/{job}/cancel");
        self.post(account, "local cancel", &path, &(), QUICK).await
    }

    /// Every process that there is a record of.
    pub async fn local_jobs(&self, account: &Account) -> Result<LocalJobs, CallError> {
        let name = "local jobs";
        let build =
            |client: &Client| Ok(client.call(Method::GET, "/v1/local/jobs").deadline(QUICK));
        let answer = self.call(account, name, build).await?;
        answer.json().map_err(|source| CallError::Call {
            account: account.name.clone(),
            call: name,
            source,
        })
    }

    /// A piece of a file, for passing on.
    pub async fn log(
        &self,
        account: &Account,
        path: &str,
        range: Option<&str>,
    ) -> Result<Answer<BodyStream>, CallError> {
        let failed = |source| CallError::Call {
            account: account.name.clone(),
            call: "log",
            source,
        };
        // So that a user-agent which ended in its idleness is there for what follows.
        self.call(account, "hello", |client| {
            Ok(client.call(Method::GET, "/v1/hello"))
        })
        .await?;
        let client = self.client(account).await?;
        let call = log_call(&client, path, range, Duration::ZERO).map_err(failed)?;
        call.stream().await.map_err(failed)
    }

    /// At most `bytes_max` of a file from `from` on, which may be nothing;
    /// `None` if there is no such file.
    pub async fn log_chunk(
        &self,
        account: &Account,
        path: &str,
        from: u64,
        bytes_max: u64,
        wait: Duration,
    ) -> Result<Option<Chunk>, CallError> {
        let range = format!("bytes={from}-");
        let max = bytes_max.max(1).to_string();
        let answer = self
            .call(account, "log", |client| {
                Ok(log_call(client, path, Some(&range), wait)?.query("max", &max))
            })
            .await;
        match answer {
            Ok(answer) => {
                let size = answer
                    .header(LOG_SIZE_HEADER)
                    .and_then(|size| size.parse().ok());
                Ok(Some(Chunk {
                    size: size.unwrap_or(from + answer.body.len() as u64),
                    bytes: answer.body,
                }))
            }
            Err(CallError::Call {
                source: ClientError::Problem(problem),
                ..
            }) if problem.code == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last `bytes_max` of a file and where they begin; `None` if there is no such file.
    pub async fn log_tail(
        &self,
        account: &Account,
        path: &str,
        bytes_max: u64,
    ) -> Result<Option<(u64, Bytes)>, CallError> {
        let Some(first) = self
            .log_chunk(account, path, 0, bytes_max, Duration::ZERO)
            .await?
        else {
            return Ok(None);
        };
        let from = first.size.saturating_sub(bytes_max);
        if from == 0 {
            return Ok(Some((0, first.bytes)));
        }
        let chunk = self
            .log_chunk(account, path, from, bytes_max, Duration::ZERO)
            .await?;
        Ok(chunk.map(|chunk| (from, chunk.bytes)))
    }
}

/// A piece of a file.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The file's size when it was read.
    pub size: u64,
    /// The piece.
    pub bytes: Bytes,
}

fn log_call(
    client: &Client,
    path: &str,
    range: Option<&str>,
    wait: Duration,
) -> Result<Call, ClientError> {
    let mut call = client
        .call(Method::GET, "/v1/log")
        .query("path", path)
        .query("wait_ms", &wait.as_millis().to_string())
        .deadline(wait + QUICK);
    if let Some(range) = range {
        call = call.header(RANGE.as_str(), range)?;
    }
    Ok(call)
}
