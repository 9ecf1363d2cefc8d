//! What a job printed: a range of it, or as it is printed.

mod follow;
mod tail;

use std::time::Duration;

use forebay_central::{Caller, JobPlace};
use forebay_http::{Client, ClientError, Code, Problem, Request, Response, reply, sse};
use forebay_streams::range::ByteRange;
use forebay_wire::{
    JobId,
    api::{LogItem, LogStream},
    ipc::LOG_SIZE_HEADER,
};
use futures_util::stream;
use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{resume_from, wants_events};
use crate::view::{View, told};
use follow::Follow;

/// Says that the file was out of reach, and the kept tail is what is shown.
const SOURCE_HEADER: &str = "forebay-log-source";
/// How long a reader waits for a site that has only just lost its way to us.
const RETURN: Duration = Duration::from_secs(10);
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// What `GET /api/v1/jobs/{id}/logs/{stream}` takes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogsQuery {
    /// Of an array: which task's.
    task: Option<u32>,
    /// Of a stream: the offset to begin at, bytes; 0 if left out.
    from: Option<u64>,
}

/// Which log of which job.
#[derive(Clone, Copy, Debug)]
struct Which {
    job: JobId,
    stream: LogStream,
    task: Option<u32>,
}

impl Which {
    /// Its path at the agent.
    fn path(self, below: &str) -> String {
        format!("/v1/jobs/{}/logs/{}{below}", self.job, self.stream)
    }
}

/// What a job printed.
///
/// Bytes of the job's file, all of it or the `Range` asked for. When the file is out of reach and the job has ended,
/// the kept end of it, with `forebay-log-source: tail`. With `Accept: text/event-stream` each piece is sent as it is
/// printed, as a `log` whose id is the offset behind it, until the job has ended and all of it was sent.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/logs/{stream}", tag = "jobs", operation_id = "get_job_log",
    params(
        ("id" = JobId, Path, description = "The job's id."),
        ("stream" = LogStream, Path, description = "Which of the two outputs."), LogsQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes."),
        ("Last-Event-ID" = Option<u64>, Header, description = "Of a stream: where it broke off, instead of `from`."),
    ),
    responses(
        (status = 200, content((String = "text/plain; charset=utf-8"), (LogItem = "text/event-stream"))),
        (status = 206, body = String, content_type = "text/plain; charset=utf-8"),
        (status = "default", body = Problem),
    ),
)]
pub(super) async fn logs(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    let job: JobId = request.param("id", "job")?;
    let stream: LogStream = request.param("stream", "log")?;
    let query: LogsQuery = request.query()?;
    let place = view.store().job_place(&caller, job).await.map_err(told)?;
    let which = Which {
        job,
        stream,
        task: query.task,
    };
    if wants_events(&request) {
        let from = resume_from(&request, query.from)?.unwrap_or(0);
        let follow = Follow::new(&view, caller, which, from);
        let events = stream::unfold(follow, |mut follow| async move {
            Some((follow.next().await?, follow))
        });
        return Ok(sse::reply(events, view.tasks().stopping(), sse::HEARTBEAT));
    }
    // A range that cannot be understood is answered with the whole, as RFC 9110 allows.
    let range = request
        .header(RANGE.as_str())
        .and_then(|text| text.parse().ok());
    read(&view, &caller, which, &place, range).await
}

/// From the file if it can be reached, else from what is kept.
async fn read(
    view: &View,
    caller: &Caller,
    which: Which,
    place: &JobPlace,
    range: Option<ByteRange>,
) -> Result<Response, Problem> {
    if !place.printed {
        return tail::answer(&tail::nothing(), range);
    }
    let reached = match view.ways().reach(&place.site, RETURN).await {
        Some(agent) => from_file(agent, which, range).await,
        None => Err(unreachable()),
    };
    let problem = match reached {
        Ok(response) => return Ok(response),
        Err(problem) if problem.code == Code::RangeNotSatisfiable => return Err(problem),
        Err(problem) => problem,
    };
    let kept = view
        .store()
        .log_tail(caller, which.job, which.stream, which.task)
        .await
        .map_err(told)?;
    match kept {
        Some(kept) if place.state.is_end() => {
            let mut response = tail::answer(&kept, range)?;
            response
                .headers_mut()
                .insert(SOURCE_HEADER, HeaderValue::from_static("tail"));
            Ok(response)
        }
        _ => Err(problem),
    }
}

/// Through the site's tunnel, passed on as it comes. Dropping the answer ends
/// the agent's call.
async fn from_file(
    agent: Client,
    which: Which,
    range: Option<ByteRange>,
) -> Result<Response, Problem> {
    let mut call = agent.call(Method::GET, &which.path(""));
    if let Some(task) = which.task {
        call = call.query("task", &task.to_string());
    }
    if let Some(range) = range {
        call = call
            .header(RANGE.as_str(), &range.to_string())
            .map_err(|error| refused(&error))?;
    }
    let answer = call.stream().await.map_err(|error| refused(&error))?;
    // A user-agent answers with nothing there: whoever follows a log asks again for the same.
    let unsatisfied = |range: &str| range.starts_with("bytes */");
    if answer
        .header(CONTENT_RANGE.as_str())
        .is_some_and(unsatisfied)
    {
        return Err(outside());
    }
    let status = match answer.status {
        StatusCode::PARTIAL_CONTENT => StatusCode::PARTIAL_CONTENT,
        _ => StatusCode::OK,
    };
    let passed = [
        CONTENT_LENGTH.as_str(),
        CONTENT_RANGE.as_str(),
        LOG_SIZE_HEADER,
    ];
    let headers: Vec<_> = passed
        .iter()
        .filter_map(|name| Some((*name, answer.headers.get(*name)?.clone())))
        .collect();
    let mut response = reply::stream(status, CONTENT_TYPE, answer.into_bytes());
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
    plain(&mut response);
    Ok(response)
}

/// A job may print HTML; nobody is to read it as such.
fn plain(response: &mut Response) {
    response
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
        .headers_mut()
        .insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
}

fn unreachable() -> Problem {
    Problem::new(
        Code::Unavailable,
        "The site that has this log does not answer at present. Try again later.",
    )
}

fn outside() -> Problem {
    Problem::new(Code::RangeNotSatisfiable, "The range lies outside the log.")
}

/// What the caller is told of an agent's refusal.
fn refused(error: &ClientError) -> Problem {
    match error.problem().map(|problem| problem.code) {
        Some(Code::RangeNotSatisfiable) => outside(),
        Some(Code::NotFound) => Problem::new(
            Code::Unavailable,
            "The log's file cannot be read now: it is not there yet, or no more.",
        ),
        _ => {
            tracing::warn!(
                error = forebay_service::logs::chain(error),
                "a log could not be read through the tunnel"
            );
            unreachable()
        }
    }
}
