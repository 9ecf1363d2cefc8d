//! The public API's handlers: decode, call, convert.

mod clusters;
mod events;
mod health;
mod jobs;
mod logs;
mod me;
mod metrics;
mod openapi;
mod page;
mod session;

pub use openapi::document;

use forebay_http::{
    Problem,
    routes::{Access, Route},
};
use http::Method;

use crate::view::View;

/// The public API's routes.
pub(crate) fn routes(view: &View) -> Vec<Route> {
    use Access::{Authenticated, Public, Rule};
    use Method as M;
    let tasks = view.tasks();
    vec![
        Route::with(view, M::GET, "/health/live", Public, health::live),
        Route::with(view, M::GET, "/health/ready", Public, health::ready),
        Route::with(view, M::GET, "/metrics", Public, metrics::metrics),
        Route::with(
            view,
            M::GET,
            "/api/v1/openapi.json",
            Public,
            openapi::openapi,
        ),
        Route::with(view, M::GET, "/api/v1/page", Public, page::page),
        Route::with(
            view,
            M::POST,
            "/api/v1/session",
            Rule("token in the body"),
            session::open,
        )
        .shielded(tasks),
        Route::with(
            view,
            M::DELETE,
            "/api/v1/session",
            Rule("page"),
            session::close,
        )
        .shielded(tasks),
        Route::with(view, M::GET, "/api/v1/me", Authenticated, me::me),
        Route::with(view, M::POST, "/api/v1/jobs", Authenticated, jobs::create).shielded(tasks),
        Route::with(view, M::GET, "/api/v1/jobs", Authenticated, jobs::list),
        Route::with(view, M::GET, "/api/v1/jobs/{id}", Authenticated, jobs::get),
        Route::with(
            view,
            M::GET,
            "/api/v1/jobs/{id}/tasks",
            Authenticated,
            jobs::tasks,
        ),
        Route::with(
            view,
            M::POST,
            "/api/v1/jobs/{id}/cancel",
            Authenticated,
            jobs::cancel,
        )
        .shielded(tasks),
        Route::with(
            view,
            M::GET,
            "/api/v1/jobs/{id}/events",
            Authenticated,
            events::events,
        ),
        Route::with(
            view,
            M::GET,
            "/api/v1/jobs/{id}/logs/{stream}",
            Authenticated,
            logs::logs,
        ),
        Route::with(
            view,
            M::GET,
            "/api/v1/clusters",
            Authenticated,
            clusters::list,
        ),
        Route::with(
            view,
            M::GET,
            "/api/v1/clusters/{name}",
            Authenticated,
            clusters::get,
        ),
    ]
}

/// A page's size: `limit=`, or the default.
fn limit(given: Option<u32>) -> Result<u32, Problem> {
    const DEFAULT: u32 = 50;
    const MOST: u32 = 200;
    match given.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => Ok(limit),
        limit => Err(Problem::invalid(
            "limit",
            format!("Must be between 1 and {MOST}, and is {limit}."),
        )),
    }
}

/// Whether the caller asks for server-sent events.
fn wants_events(request: &forebay_http::Request) -> bool {
    let accept = request.header("accept").unwrap_or_default();
    let mut types = accept
        .split(',')
        .map(|kind| kind.split(';').next().unwrap_or_default().trim());
    types.any(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}

/// Where a caller's event stream broke off: what it sends back by itself, else
/// what it asks for.
fn resume_from<T: std::str::FromStr + Copy>(
    request: &forebay_http::Request,
    asked: Option<T>,
) -> Result<Option<T>, Problem> {
    match request.header("last-event-id") {
        None => Ok(asked),
        Some(text) => {
            let id = text.trim().parse();
            let bad = |_| {
                Problem::new(
                    forebay_http::Code::Malformed,
                    "The header Last-Event-ID is not one of ours.",
                )
            };
            id.map(Some).map_err(bad)
        }
    }
}
