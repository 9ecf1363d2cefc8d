//! The calls of `forebay_wire::ipc`: who may make them, decoding, and the answer's form.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_http::{
    Limits, Request, Response, reply,
    routes::{Access, Route, Table},
};
use forebay_service::Tasks;
use forebay_streams::range::ByteRange;
use forebay_wire::{
    Code, JobId, Problem,
    ipc::{self, Hello},
};
use http::{Method, StatusCode, header};
use serde::Deserialize;

use crate::account::Account;
use crate::idle::{Activity, Open};
use crate::local::{Local, check_path};
use crate::log::{Found, Logs, Query, WAIT_MAX};
use crate::place::Place;
use crate::problems::blocking;
use crate::run::Programs;

/// A script in JSON may take several times its 4 MiB.
const BODY_BYTES: usize = 16 << 20;
/// For calls that touch the disk a few times, each with its own deadline.
const CALL: Duration = Duration::from_secs(100);
/// A program may wait for its turn as long as it may then run.
const RUN: Duration = Duration::from_secs(2 * crate::run::DEADLINE_MAX.as_secs() + 30);
/// How long writing a script may take.
const PREPARE: Duration = Duration::from_secs(20);

/// What the calls work with. Clones are the same.
#[derive(Clone, Debug)]
pub struct Calls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    account: Account,
    place: Place,
    programs: Programs,
    logs: Logs,
    local: Local,
    callers: BTreeSet<u32>,
    activity: Activity,
}

impl Calls {
    /// For one account; `agent` may call besides the account itself.
    pub fn new(
        account: Account,
        agent: Option<u32>,
        place: Place,
        programs: Programs,
        logs: Logs,
        local: Local,
        activity: Activity,
    ) -> Self {
        let callers = agent.into_iter().chain([account.uid]).collect();
        Self {
            inner: Arc::new(Inner {
                account,
                place,
                programs,
                logs,
                local,
                callers,
                activity,
            }),
        }
    }

    /// All of them. Every one has the same rule: the agent's uid and the user's own.
    pub fn table(&self, tasks: &Tasks) -> Table {
        let mut table = Table::new();
        table.extend([
            self.route(Method::GET, "/v1/hello", hello),
            self.route(Method::POST, "/v1/jobs/{id}/prepare", prepare)
                .shielded(tasks),
            self.route(Method::POST, "/v1/run", run)
                .deadline(RUN)
                .shielded(tasks),
            self.route(Method::GET, "/v1/log", log).deadline(CALL),
            self.route(Method::POST, "/v1/local/jobs", start)
                .deadline(CALL)
                .shielded(tasks),
            self.route(Method::GET, "/v1/local/jobs", list)
                .deadline(CALL),
            self.route(Method::POST, "/v1/local/jobs/{id}/release", release)
                .deadline(CALL)
                .shielded(tasks),
            self.route(Method::POST, "/v1/local/jobs/{id}/cancel", cancel)
                .deadline(CALL)
                .shielded(tasks),
        ]);
        let stop = tasks.clone();
        let end = move |_, request: Request| std::future::ready(Ok(end(&request, &stop)));
        table.extend([self.route(Method::POST, "/v1/end", end)]);
        table
    }

    fn route<H, F>(&self, method: Method, template: &str, handler: H) -> Route
    where
        H: Fn(Self, Request) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        let checked = move |calls: Self, request: Request| {
            let handler = handler.clone();
            async move {
                let _open = calls.admit(&request)?;
                handler(calls, request).await
            }
        };
        Route::with(
            self,
            method,
            template,
            Access::Rule("the agent and the user"),
            checked,
        )
    }

    /// What the kernel says of the other end decides; what others ask does not keep us here.
    fn admit(&self, request: &Request) -> Result<Open, Problem> {
        match request.peer().uid {
            Some(uid) if self.inner.callers.contains(&uid) => Ok(self.inner.activity.begin()),
            _ => Err(Problem::new(
                Code::Forbidden,
                "Only the site's agent and the user may call a user-agent.",
            )),
        }
    }
}

/// The server's bounds. The agent may send everything over one connection, also as many waits for
/// logs as there may be: those must leave room for other calls.
pub fn limits() -> Limits {
    Limits {
        connections_max: 512,
        streams_max: 512,
        body_bytes_max: BODY_BYTES,
        trust_request_id: true,
        ..Limits::default()
    }
}

async fn hello(calls: Calls, _request: Request) -> Result<Response, Problem> {
    let program_version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(reply::ok(&Hello {
        version: ipc::VERSION,
        program_version,
        uid: calls.inner.account.uid,
    }))
}

async fn prepare(calls: Calls, mut request: Request) -> Result<Response, Problem> {
    let job = job(&request)?;
    let asked: ipc::Prepare = request.json_of_peer(BODY_BYTES).await?;
    let inner = Arc::clone(&calls.inner);
    let work = move || crate::prepare::prepare(&inner.account, &inner.place, job, &asked);
    Ok(reply::ok(
        &blocking(PREPARE, "write the script", work).await?,
    ))
}

async fn run(calls: Calls, mut request: Request) -> Result<Response, Problem> {
    let asked: ipc::Run = request.json_of_peer(BODY_BYTES).await?;
    Ok(reply::ok(&calls.inner.programs.run(asked).await?))
}

async fn start(calls: Calls, mut request: Request) -> Result<Response, Problem> {
    let asked: ipc::LocalStart = request.json_of_peer(BODY_BYTES).await?;
    Ok(reply::ok(&calls.inner.local.start(asked).await?))
}

async fn list(calls: Calls, _request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&calls.inner.local.list().await?))
}

async fn release(calls: Calls, request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&calls.inner.local.release(job(&request)?).await?))
}

async fn cancel(calls: Calls, request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&calls.inner.local.cancel(job(&request)?).await?))
}

/// As at SIGTERM, for those who know the socket and not the process. This answer is one of those
/// that are waited for.
fn end(request: &Request, tasks: &Tasks) -> Response {
    tracing::info!(uid = request.peer().uid, "told to end");
    tasks.stop();
    reply::no_content()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    path: String,
    #[serde(default)]
    wait_ms: u64,
    max: Option<u64>,
}

async fn log(calls: Calls, request: Request) -> Result<Response, Problem> {
    let query: LogQuery = request.query()?;
    let path = check_path("path", &query.path)?;
    let wait = Duration::from_millis(query.wait_ms);
    if wait > WAIT_MAX {
        return Err(Problem::invalid(
            "wait_ms",
            "A wait is at most 30000 milliseconds.",
        ));
    }
    if query.max == Some(0) {
        return Err(Problem::invalid("max", "At least one byte must be wanted."));
    }
    let range = range(&request)?;
    let found = calls
        .inner
        .logs
        .find(Query {
            path,
            range,
            wait,
            max: query.max,
        })
        .await?;
    Ok(answer(found, range.is_some(), calls.inner.activity.begin()))
}

fn range(request: &Request) -> Result<Option<ByteRange>, Problem> {
    let Some(value) = request.headers().get(header::RANGE) else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().map(str::parse::<ByteRange>);
    match parsed {
        Some(Ok(range)) => Ok(Some(range)),
        // Unlike a file server we do not answer with the whole: it may be many gigabytes.
        Some(Err(error)) => Err(Problem::new(
            Code::Malformed,
            format!("The range is not understood: {error}."),
        )),
        None => Err(Problem::new(
            Code::Malformed,
            "The range is not understood.",
        )),
    }
}

/// 200 with the whole or 206 with the part; 206 without a body where there is nothing yet.
fn answer(found: Found, ranged: bool, open: Open) -> Response {
    let (part, size) = (found.part, found.size);
    let length = part.map_or(0, |part| part.length);
    let cut = part.is_some_and(|part| part.length < size);
    let status = if ranged || cut {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let body =
        futures_util::stream::try_unfold((found, 0, open), |(found, done, open)| async move {
            let chunk = found.chunk(done).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(chunk.map(|chunk| {
                let done = done + chunk.len() as u64;
                (Bytes::from(chunk), (found, done, open))
            }))
        });
    let mut response = reply::stream(status, "application/octet-stream", body);
    let headers = response.headers_mut();
    headers.insert(ipc::LOG_SIZE_HEADER, size.into());
    headers.insert(header::CONTENT_LENGTH, length.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = part.map_or_else(|| format!("bytes */{size}"), |part| part.content_range());
        // Digits and a few signs: always a header's value.
        if let Ok(range) = range.try_into() {
            headers.insert(header::CONTENT_RANGE, range);
        }
    }
    response
}

fn job(request: &Request) -> Result<JobId, Problem> {
    request.param("id", "job")
}
