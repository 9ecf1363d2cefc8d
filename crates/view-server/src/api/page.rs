//! What the page must know before anybody has signed in.

use forebay_http::{Problem, Request, Response, reply};
use forebay_wire::api::PageSettings;

use crate::view::View;

/// What the page must know before anybody has signed in.
#[utoipa::path(
    get, path = "/api/v1/page", tag = "page", operation_id = "page", security(()),
    responses((status = 200, body = PageSettings), (status = "default", body = Problem)),
)]
pub(super) async fn page(view: View, _request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&PageSettings {
        version: env!("CARGO_PKG_VERSION").into(),
        realtime_url: view.page().realtime_url().map(str::to_owned),
    }))
}
