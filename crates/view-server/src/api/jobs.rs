//! Jobs.

use forebay_central::{JobFilter, JobSort};
use forebay_http::{Problem, Request, Response, reply};
use forebay_wire::{
    ClusterName, JobId, JobState,
    api::{CreateJob, Job, JobTask, Page},
};
use http::{HeaderValue, StatusCode, header::LOCATION};
use serde::Deserialize;
use utoipa::IntoParams;

use super::limit;
use crate::{
    jobs::{Submission, idempotency_key},
    view::{View, actor, told},
};

/// Hand a job in.
///
/// With an `Idempotency-Key` (1 to 255 visible ASCII characters), the same request within 24 hours gets the first
/// answer again, and another request with that key is refused.
#[utoipa::path(
    post, path = "/api/v1/jobs", tag = "jobs", operation_id = "create_job", request_body = CreateJob,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes it safe to repeat the request.")),
    responses(
        (status = 201, body = Job, headers(("Location" = String, description = "The job's path."))),
        (status = "default", body = Problem),
    ),
)]
pub(super) async fn create(view: View, mut request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    let actor = actor(format!("user:{}", caller.name), &request);
    let submit = async {
        let key = idempotency_key(&request)?;
        let body: CreateJob = request.json(view.limits().body_bytes).await?;
        Submission {
            caller: &caller,
            actor: &actor,
            key,
            body,
        }
        .create(&view)
        .await
    };
    let job = view.audited(&actor, "job.create", "", submit).await?;
    let mut response = reply::created(&job);
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/jobs/{}", job.id)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// What `GET /api/v1/jobs` takes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// The `next` of the page before; only with the same sort and filters.
    cursor: Option<String>,
    /// At most so many, 1 to 200; 50 if left out.
    limit: Option<u32>,
    /// Only jobs in one of these states, with commas between.
    #[serde(default)]
    state: Vec<JobState>,
    /// Only jobs on this cluster.
    #[param(value_type = Option<String>)]
    cluster: Option<ClusterName>,
    /// Only jobs with this in their name, in any case of letters.
    name: Option<String>,
    /// `created_at`, `-created_at` (the default), `name` or `-name`.
    sort: Option<String>,
}

impl ListQuery {
    fn sort(&self) -> Result<JobSort, Problem> {
        let Some(text) = &self.sort else {
            return Ok(JobSort::default());
        };
        let message = "Must be created_at, -created_at, name or -name.";
        JobSort::parse(text).ok_or_else(|| Problem::invalid("sort", message))
    }

    fn filter(self) -> Result<JobFilter, Problem> {
        let bad = |name: &String| name.chars().count() > 200 || name.contains('\0');
        if self.name.as_ref().is_some_and(bad) {
            return Err(Problem::invalid(
                "name",
                "Must have at most 200 characters, none of them NUL.",
            ));
        }
        Ok(JobFilter {
            states: self.state,
            cluster: self.cluster,
            name: self.name.filter(|name| !name.is_empty()),
        })
    }
}

/// The caller's jobs.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "jobs", operation_id = "list_jobs", params(ListQuery),
    responses((status = 200, body = Page<Job>), (status = "default", body = Problem)),
)]
pub(super) async fn list(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    let mut query: ListQuery = request.query()?;
    let (sort, limit, cursor) = (query.sort()?, limit(query.limit)?, query.cursor.take());
    let filter = query.filter()?;
    let page = view
        .store()
        .jobs(&caller, &filter, sort, cursor.as_deref(), limit)
        .await
        .map_err(told)?;
    Ok(reply::ok(&page))
}

/// One of the caller's jobs.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}", tag = "jobs", operation_id = "get_job",
    params(("id" = JobId, Path, description = "The job's id.")),
    responses((status = 200, body = Job), (status = "default", body = Problem)),
)]
pub(super) async fn get(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    let id: JobId = request.param("id", "job")?;
    Ok(reply::ok(
        &view.store().job(&caller, id).await.map_err(told)?,
    ))
}

/// What `GET /api/v1/jobs/{id}/tasks` takes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TasksQuery {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// At most so many, 1 to 200; 50 if left out.
    limit: Option<u32>,
}

/// The tasks of an array; none for a job that is no array.
#[utoipa::path(
    get, path = "/api/v1/jobs/{id}/tasks", tag = "jobs", operation_id = "list_job_tasks",
    params(("id" = JobId, Path, description = "The job's id."), TasksQuery),
    responses((status = 200, body = Page<JobTask>), (status = "default", body = Problem)),
)]
pub(super) async fn tasks(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    let id: JobId = request.param("id", "job")?;
    let query: TasksQuery = request.query()?;
    let limit = limit(query.limit)?;
    let page = view
        .store()
        .job_tasks(&caller, id, query.cursor.as_deref(), limit)
        .await
        .map_err(told)?;
    Ok(reply::ok(&page))
}

/// Cancel a job. Asking again is fine; a job that has ended is a conflict.
#[utoipa::path(
    post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancel_job",
    params(("id" = JobId, Path, description = "The job's id.")),
    responses((status = 202, body = Job), (status = "default", body = Problem)),
)]
pub(super) async fn cancel(view: View, request: Request) -> Result<Response, Problem> {
    let caller = view.caller(&request).await?;
    let actor = actor(format!("user:{}", caller.name), &request);
    let object = request.param_text("id").unwrap_or_default().to_owned();
    let cancel = async {
        let id: JobId = request.param("id", "job")?;
        view.store()
            .job_cancel(&caller, id, &actor)
            .await
            .map_err(told)
    };
    let job = view
        .audited(&actor, "job.cancel", &bounded(&object), cancel)
        .await?;
    Ok(reply::json(StatusCode::ACCEPTED, &job))
}

/// What a caller put into a path, short enough and plain enough for the audit.
fn bounded(text: &str) -> String {
    text.chars()
        .take(64)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
