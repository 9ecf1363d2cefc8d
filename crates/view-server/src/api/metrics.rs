//! The metrics page, for this host alone.

use forebay_http::{Code, Problem, Request, Response, reply};
use forebay_service::metrics::CONTENT_TYPE;
use http::StatusCode;

use crate::view::View;

/// All metrics as text. Answered only to callers on this host.
#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics", security(()),
    responses((status = 200, body = String, content_type = "application/openmetrics-text")),
)]
pub(super) async fn metrics(view: View, request: Request) -> Result<Response, Problem> {
    let peer = request.peer();
    let here = peer.uid.is_some()
        || peer
            .addr
            .is_some_and(|addr| addr.ip().to_canonical().is_loopback());
    if !here {
        return Err(Problem::new(
            Code::NotFound,
            "There is nothing at this path.",
        ));
    }
    Ok(reply::bytes(
        StatusCode::OK,
        CONTENT_TYPE,
        view.metrics().encode(),
    ))
}
