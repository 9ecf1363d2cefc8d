//! What the page must know when it is opened.

use forebay_http::{Code, Problem, Request, Response, reply};
use forebay_wire::api::{Me, PageSettings};
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::view::View;

/// What the page must know when it is opened, by whomever.
#[utoipa::path(
    get, path = "/api/v1/page", tag = "page", operation_id = "page", security((), ("session" = [])),
    responses((status = 200, body = PageSettings), (status = "default", body = Problem)),
)]
pub(super) async fn page(view: View, request: Request) -> Result<Response, Problem> {
    let me = match view.session(&request).await {
        Ok(caller) => Some(Me {
            id: caller.user,
            name: caller.name,
        }),
        Err(problem) if problem.code == Code::Unauthenticated => None,
        Err(problem) => return Err(problem),
    };
    let mut response = reply::ok(&PageSettings {
        version: env!("CARGO_PKG_VERSION").into(),
        realtime_url: view.page().realtime_url().map(str::to_owned),
        me,
    });
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}
