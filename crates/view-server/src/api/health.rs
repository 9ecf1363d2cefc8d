//! Whether this service lives, and whether it can do its work.

use std::time::Duration;

use forebay_http::{Problem, Request, Response, reply};
use forebay_service::logs;
use forebay_wire::api::Health;
use http::StatusCode;

use crate::view::View;

/// How long the database may take to answer.
const READY: Duration = Duration::from_secs(2);

/// Whether the program answers at all.
#[utoipa::path(
    get, path = "/health/live", tag = "health", operation_id = "health_live", security(()),
    responses((status = 200, body = Health)),
)]
pub(super) async fn live(_view: View, _request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&health(None)))
}

/// Whether it can do its work.
#[utoipa::path(
    get, path = "/health/ready", tag = "health", operation_id = "health_ready", security(()),
    responses((status = 200, body = Health), (status = 503, body = Health)),
)]
pub(super) async fn ready(view: View, _request: Request) -> Result<Response, Problem> {
    let answered = tokio::time::timeout(READY, view.store().ready()).await;
    if view.tasks().is_stopping() {
        return Ok(reply::json(
            StatusCode::SERVICE_UNAVAILABLE,
            &health(Some("The service is stopping.")),
        ));
    }
    match answered {
        Ok(Ok(())) => Ok(reply::ok(&health(None))),
        failed => {
            if let Ok(Err(error)) = failed {
                tracing::warn!(error = logs::chain(&error), "not ready");
            }
            let message = "The database does not answer.";
            Ok(reply::json(
                StatusCode::SERVICE_UNAVAILABLE,
                &health(Some(message)),
            ))
        }
    }
}

fn health(message: Option<&str>) -> Health {
    Health {
        ok: message.is_none(),
        version: env!("CARGO_PKG_VERSION").into(),
        message: message.map(str::to_owned),
    }
}
