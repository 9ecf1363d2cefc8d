//! What other replicas call: reads of logs whose tunnel ends here.

use forebay_http::{
    ClientError, Code, Problem, Request, Response, reply,
    routes::{Access, Route},
};
use forebay_wire::{JobId, SiteName, api::LogStream, ipc::LOG_SIZE_HEADER};
use http::{
    Method,
    header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE},
};

use crate::view::{View, told};

/// Whoever has a token that a replica wrote into the database.
const REPLICA: Access = Access::Rule("replica");

/// The replicas' routes.
pub(crate) fn routes(view: &View) -> Vec<Route> {
    vec![
        Route::with(
            view,
            Method::GET,
            "/replica/v1/sites/{site}/v1/jobs/{id}/logs/{stream}",
            REPLICA,
            read,
        ),
        Route::with(
            view,
            Method::GET,
            "/replica/v1/sites/{site}/v1/jobs/{id}/logs/{stream}/follow",
            REPLICA,
            follow,
        ),
    ]
}

async fn read(view: View, request: Request) -> Result<Response, Problem> {
    pass(view, request, "").await
}

async fn follow(view: View, request: Request) -> Result<Response, Problem> {
    pass(view, request, "/follow").await
}

/// Passes a call on to the agent, and its answer back as it comes. Never to a further replica.
/// Dropping the answer ends the agent's call.
async fn pass(view: View, request: Request, below: &str) -> Result<Response, Problem> {
    let token = request
        .bearer()
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "This is for other replicas alone."))?;
    view.store()
        .authenticate_replica(&token)
        .await
        .map_err(told)?;
    let site: SiteName = request.param("site", "site")?;
    let job: JobId = request.param("id", "job")?;
    let stream: LogStream = request.param("stream", "log")?;
    let agent = view.tunnels().to(&site).ok_or_else(gone)?;
    let query = request.uri().query();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/v1/jobs/{job}/logs/{stream}{below}{query}");
    let mut call = agent.call(Method::GET, &path);
    if let Some(range) = request.header(RANGE.as_str()) {
        call = call.header(RANGE.as_str(), range).map_err(problem)?;
    }
    let answer = call.stream().await.map_err(problem)?;
    let names = [
        CONTENT_TYPE.as_str(),
        CONTENT_LENGTH.as_str(),
        CONTENT_RANGE.as_str(),
        LOG_SIZE_HEADER,
    ];
    let passed: Vec<_> = names
        .iter()
        .filter_map(|name| Some((*name, answer.headers.get(*name)?.clone())))
        .collect();
    let status = answer.status;
    let mut response = reply::stream(status, "application/octet-stream", answer.into_bytes());
    for (name, value) in passed {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn problem(error: ClientError) -> Problem {
    match error {
        ClientError::Problem(problem) => *problem,
        error => {
            let error = forebay_service::logs::chain(&error);
            tracing::warn!(error, "a call of another replica came to nothing");
            gone()
        }
    }
}

fn gone() -> Problem {
    Problem::new(
        Code::Unavailable,
        "The site's tunnel does not end here any more. Look again where it does.",
    )
}
