//! The tunnel: the agent dials, and then serves the view-server's reads of logs
//! on that connection. No state travels here.

use std::{sync::Arc, time::Duration};

use forebay_http::{
    Limits, Problem, Request, Response,
    client::{Answer, BodyStream},
    ndjson, reply,
    routes::{Access, Route, Table},
};
use forebay_service::{Backoff, logs};
use forebay_wire::{
    Code, JobId,
    api::{LogItem, LogStream},
    ipc::LOG_SIZE_HEADER,
    link::UPGRADE,
};
use futures_util::stream;
use http::{
    Method, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_RANGE, RANGE},
};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Link, LinkError, Open, Site};
use crate::{
    accounts::Account,
    job::{Phase, Tracked},
    logs::{Place, follow},
    maintainer::Maintainer,
    user_agents::CallError,
};

/// Items of a followed log that wait for a slow reader.
const ITEMS_MAX: usize = 8;
/// So that a reader that has gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(10);

impl Link {
    /// Keeps a tunnel up for as long as the session lives.
    pub(super) async fn keep_tunnel(&self, open: &Open, site: &Site) {
        let mut retry = Backoff::new(Duration::from_millis(200), Duration::from_secs(30)).retry();
        loop {
            match self.tunnel(open, site).await {
                Ok(()) => retry.reset(),
                Err(error) => tracing::warn!(error = logs::chain(&error), "the tunnel is down"),
            }
            tokio::time::sleep(retry.next_delay()).await;
        }
    }

    async fn tunnel(&self, open: &Open, site: &Site) -> Result<(), LinkError> {
        let failed = |source| LinkError::Call {
            call: "tunnel",
            source,
        };
        let io = self
            .call(open, "tunnel", Method::GET, "/link/v1/tunnel")
            .map_err(failed)?
            .upgrade(UPGRADE)
            .await
            .map_err(failed)?;
        tracing::info!("the tunnel is up");
        forebay_http::link::serve(io, routes(site), Limits::default(), site.tasks().clone()).await;
        Ok(())
    }
}

/// What the view-server may ask of a site. It alone reaches these.
fn routes(site: &Site) -> Table {
    let mut table = Table::new();
    let access = Access::Rule("the view-server, by its own connection");
    table.extend([
        Route::with(
            site,
            Method::GET,
            "/v1/jobs/{id}/logs/{stream}",
            access,
            read,
        ),
        Route::with(
            site,
            Method::GET,
            "/v1/jobs/{id}/logs/{stream}/follow",
            access,
            follow_log,
        ),
    ]);
    table
}

#[derive(Deserialize)]
struct ReadQuery {
    task: Option<u32>,
}

#[derive(Deserialize)]
struct FollowQuery {
    task: Option<u32>,
    #[serde(default)]
    from: u64,
}

/// A job and one of its outputs.
struct Target {
    id: JobId,
    stream: LogStream,
    task: Option<u32>,
}

impl Target {
    fn of(request: &Request, task: Option<u32>) -> Result<Self, Problem> {
        Ok(Self {
            id: request.param("id", "job")?,
            stream: request.param("stream", "log")?,
            task,
        })
    }

    async fn job(&self, site: &Site) -> Result<(Tracked, Maintainer, Account), Problem> {
        let found = site.job(self.id).await.map_err(|error| {
            tracing::warn!(
                error = logs::chain(&error),
                "a log's job cannot be looked up"
            );
            Problem::new(
                Code::Unavailable,
                "The site cannot look up the job now. Try again.",
            )
        })?;
        let (job, maintainer) = found.ok_or_else(|| Problem::not_found("job"))?;
        let account = site
            .accounts()
            .resolve(&job.owner.identity)
            .await
            .map_err(|error| Problem::new(Code::Unavailable, error.to_string()))?;
        Ok((job, maintainer, account))
    }
}

async fn read(site: Site, request: Request) -> Result<Response, Problem> {
    let query: ReadQuery = request.query()?;
    let target = Target::of(&request, query.task)?;
    let (job, maintainer, account) = target.job(&site).await?;
    let path = maintainer
        .log_path(&job, target.stream, target.task)
        .ok_or_else(|| Problem::not_found("log"))?;
    let range = request.header(RANGE.as_str());
    let answer = site
        .user_agents()
        .log(&account, &path, range)
        .await
        .map_err(problem)?;
    Ok(pass_on(answer))
}

fn problem(error: CallError) -> Problem {
    match error {
        CallError::Call {
            source: forebay_http::ClientError::Problem(problem),
            ..
        } => *problem,
        error => {
            tracing::warn!(error = logs::chain(&error), "a log cannot be read");
            Problem::new(
                Code::Unavailable,
                "The job's files cannot be read now. Try again.",
            )
        }
    }
}

fn pass_on(answer: Answer<BodyStream>) -> Response {
    let (status, headers) = (answer.status, answer.headers.clone());
    let mut response = reply::stream(status, "application/octet-stream", answer.into_bytes());
    for name in [
        CONTENT_RANGE.as_str(),
        ACCEPT_RANGES.as_str(),
        LOG_SIZE_HEADER,
    ] {
        if let Some(value) = headers.get(name)
            && let Ok(name) = name.parse::<http::HeaderName>()
        {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

async fn follow_log(site: Site, request: Request) -> Result<Response, Problem> {
    let query: FollowQuery = request.query()?;
    let target = Arc::new(Target::of(&request, query.task)?);
    // Unknown jobs are refused before the stream begins.
    target.job(&site).await?;
    let (items, mut received) = mpsc::channel::<LogItem>(ITEMS_MAX);
    let stop = site.tasks().stopping();
    let ended = stop.clone();
    let tasks = site.tasks().clone();
    let user_agents = site.user_agents().clone();
    let place = move || {
        let (site, target) = (site.clone(), Arc::clone(&target));
        async move {
            let (job, maintainer, account) = target.job(&site).await.ok()?;
            let path = maintainer.log_path(&job, target.stream, target.task);
            Some(Place {
                account,
                path,
                ended: job.phase == Phase::Closed,
            })
        }
    };
    drop(tasks.spawn("follow a log", async move {
        tokio::select! {
            () = follow(&user_agents, query.from, items, place) => {}
            () = ended.cancelled() => {}
        }
    }));
    let items = stream::poll_fn(move |context| received.poll_recv(context));
    let mut response = ndjson::reply(items, stop, HEARTBEAT);
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}
