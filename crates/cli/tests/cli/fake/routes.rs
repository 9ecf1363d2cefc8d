//! Calls with whole answers.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use forebay_http::{
    Problem, Request, Response, reply,
    routes::{Access, Route, Table},
};
use forebay_wire::{
    Code, JobId, JobState, Timestamp, UserId,
    api::{CreateJob, Job, JobStatus, Me, Page},
};
use http::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    FakeJob, Fault, State, TOKEN,
    objects::{event, job, status},
    streams::{broken, events, logs},
};

#[derive(Clone)]
pub(super) struct Shared(pub(super) Arc<Mutex<State>>);

pub(super) type Answer = Result<Response, Problem>;

pub(super) fn table(state: &Shared) -> Table {
    let mut table = Table::new();
    let get = Method::GET;
    table.add(Route::with(
        state,
        get.clone(),
        "/api/v1/me",
        Access::Authenticated,
        me,
    ));
    table.add(Route::with(
        state,
        get.clone(),
        "/api/v1/clusters",
        Access::Authenticated,
        clusters,
    ));
    table.add(Route::with(
        state,
        get.clone(),
        "/api/v1/jobs",
        Access::Authenticated,
        list,
    ));
    table.add(Route::with(
        state,
        Method::POST,
        "/api/v1/jobs",
        Access::Authenticated,
        create,
    ));
    table.add(Route::with(
        state,
        get.clone(),
        "/api/v1/jobs/{id}",
        Access::Authenticated,
        show,
    ));
    table.add(Route::with(
        state,
        get.clone(),
        "/api/v1/jobs/{id}/tasks",
        Access::Authenticated,
        tasks,
    ));
    table.add(Route::with(
        state,
        get.clone(),
        "/api/v1/jobs/{id}/events",
        Access::Authenticated,
        events,
    ));
    table.add(Route::with(
        state,
        get,
        "/api/v1/jobs/{id}/logs/{stream}",
        Access::Authenticated,
        logs,
    ));
    table.add(Route::with(
        state,
        Method::POST,
        "/api/v1/jobs/{id}/cancel",
        Access::Authenticated,
        cancel,
    ));
    table
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no handler panics with it")
    }

    /// What every request meets first: its record, its token, its fault.
    pub(super) fn enter(&self, request: &Request) -> Result<Option<Fault>, Problem> {
        let target = request
            .uri()
            .path_and_query()
            .map_or("", |target| target.as_str())
            .to_owned();
        let mut state = self.lock();
        state.seen.push(format!("{} {target}", request.method()));
        let token = request.bearer();
        if token.is_none_or(|token| token.expose_secret() != TOKEN) {
            return Err(Problem::new(
                Code::Unauthenticated,
                "This token is not known here.",
            ));
        }
        let fault = state
            .faults
            .iter()
            .position(|(path, _)| target.starts_with(path));
        match fault.map(|at| state.faults.remove(at).1) {
            Some(Fault::Refuse(code)) => Err(Problem::new(
                code,
                format!("Refused as {code:?} for the test."),
            )),
            other => Ok(other),
        }
    }

    /// An object as it is sent.
    pub(super) fn answer<T: serde::Serialize>(&self, status: StatusCode, object: &T) -> Response {
        let mut json = serde_json::to_value(object).expect("JSON");
        if self.lock().novelties {
            embellish(&mut json);
        }
        reply::json(status, &json)
    }

    pub(super) fn job(&self, request: &Request) -> Result<FakeJob, Problem> {
        let id: JobId = request.param("id", "job")?;
        let state = self.lock();
        let found = state.jobs.iter().find(|known| known.job.id == id);
        found.cloned().ok_or_else(|| Problem::not_found("job"))
    }

    pub(super) fn update(&self, id: JobId, change: impl FnOnce(&mut FakeJob)) {
        if let Some(job) = self.lock().jobs.iter_mut().find(|known| known.job.id == id) {
            change(job);
        }
    }
}

/// Adds a field to every object of a document.
fn embellish(json: &mut Value) {
    match json {
        Value::Object(fields) => {
            fields.values_mut().for_each(embellish);
            fields.insert("novelty".to_owned(), json!({ "since": 2 }));
        }
        Value::Array(items) => items.iter_mut().for_each(embellish),
        _ => {}
    }
}

async fn me(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    let id: UserId = "u01jdzz2v8nf3tbw0q5c7m9xk4e".parse().expect("an id");
    let name = "ada".to_owned();
    Ok(state.answer(StatusCode::OK, &Me { id, name }))
}

async fn clusters(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    request.query::<()>()?;
    let items = state.lock().clusters.clone();
    Ok(state.answer(StatusCode::OK, &Page { items, next: None }))
}

#[derive(Deserialize)]
struct ListQuery {
    cursor: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    state: Vec<JobState>,
    cluster: Option<String>,
    name: Option<String>,
    sort: Option<String>,
}

async fn list(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    let query: ListQuery = request.query()?;
    let mut jobs: Vec<Job> = state
        .lock()
        .jobs
        .iter()
        .map(|job| job.job.clone())
        .collect();
    jobs.retain(|job| query.state.is_empty() || query.state.contains(&job.status.state));
    jobs.retain(|job| {
        query
            .cluster
            .as_ref()
            .is_none_or(|cluster| job.spec.cluster.as_str() == cluster)
    });
    jobs.retain(|job| {
        query.name.as_ref().is_none_or(|part| {
            job.spec
                .name
                .as_ref()
                .is_some_and(|name| name.contains(part))
        })
    });
    jobs.sort_by_key(|job| job.id);
    if query
        .sort
        .as_deref()
        .unwrap_or("-created_at")
        .starts_with('-')
    {
        jobs.reverse();
    }
    let limit = query.limit.unwrap_or(50);
    assert!(
        (1..=200).contains(&limit),
        "the limit {limit} is not allowed"
    );
    let from = query
        .cursor
        .map_or(0, |cursor| cursor.parse().expect("a cursor of ours"));
    let next = (from + limit < jobs.len()).then(|| (from + limit).to_string());
    let items = jobs.into_iter().skip(from).take(limit).collect();
    Ok(state.answer(StatusCode::OK, &Page { items, next }))
}

async fn create(state: Shared, mut request: Request) -> Answer {
    let key = request
        .header("idempotency-key")
        .unwrap_or_default()
        .to_owned();
    state.lock().keys.push(key.clone());
    let fault = state.enter(&request)?;
    let CreateJob { spec } = request.json(2 << 20).await?;
    let made = {
        let mut state = state.lock();
        // The same key, the same job.
        let again =
            state.keys.iter().filter(|known| **known == key).count() > 1 && !state.specs.is_empty();
        if !again {
            let number = u8::try_from(state.jobs.len() + 1).expect("few jobs");
            let mut made = job(number, "", JobState::Queued);
            made.job.spec = spec.clone();
            made.job.created_at = Timestamp::now();
            (made.stdout, made.stderr) = state.prints.clone();
            if let Some((end, exit)) = state.ending {
                let life = [JobState::Queued, JobState::Pending, JobState::Running, end];
                made.events = (1..)
                    .zip(life)
                    .map(|(seq, state)| event(seq, state))
                    .collect();
                made.end = Some(JobStatus {
                    exit,
                    nodes: Some("n1".to_owned()),
                    ..status(end)
                });
            }
            state.specs.push(spec);
            state.jobs.push(made);
        }
        state.jobs.last().expect("just made").job.clone()
    };
    match fault {
        None => Ok(state.answer(StatusCode::CREATED, &made)),
        Some(_) => Ok(broken(Bytes::new())),
    }
}

async fn show(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    Ok(state.answer(StatusCode::OK, &state.job(&request)?.job))
}

async fn tasks(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    let count = state.job(&request)?.job.status.tasks.unwrap_or(0);
    let task = |index: u32| {
        let state = if index.is_multiple_of(2) {
            JobState::Succeeded
        } else {
            JobState::Failed
        };
        json!({ "index": index, "state": state, "exit": { "code": index % 2 } })
    };
    Ok(state.answer(
        StatusCode::OK,
        &json!({ "items": (0..count).map(task).collect::<Vec<_>>() }),
    ))
}

async fn cancel(state: Shared, request: Request) -> Answer {
    state.enter(&request)?;
    let job = state.job(&request)?.job;
    if job.status.state.is_end() {
        return Err(Problem::new(
            Code::Conflict,
            format!("The job has already {}.", job.status.state),
        ));
    }
    state.update(job.id, |job| {
        job.job.status.cancel_wanted_at = Some(Timestamp::now());
    });
    Ok(state.answer(StatusCode::ACCEPTED, &state.job(&request)?.job))
}
