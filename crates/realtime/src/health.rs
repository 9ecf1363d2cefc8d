//! Whether this service lives, whether it can do its work, and its metrics.

use std::time::Duration;

use forebay_http::{Code, Problem, Request, Response, reply};
use forebay_service::{logs, metrics::CONTENT_TYPE};
use forebay_wire::api::Health;
use http::StatusCode;

use crate::realtime::Realtime;

/// How long the database may take to answer.
const READY: Duration = Duration::from_secs(2);

/// Whether the program answers at all.
pub(crate) async fn live(_realtime: Realtime, _request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&health(None)))
}

/// Whether it can do its work.
pub(crate) async fn ready(realtime: Realtime, _request: Request) -> Result<Response, Problem> {
    if realtime.tasks().is_stopping() {
        return Ok(unready("The service is stopping."));
    }
    match tokio::time::timeout(READY, realtime.store().ready()).await {
        Ok(Ok(())) if realtime.position().borrow().is_some() => Ok(reply::ok(&health(None))),
        Ok(Ok(())) => Ok(unready("The feed has not been read yet.")),
        failed => {
            if let Ok(Err(error)) = failed {
                tracing::warn!(error = logs::chain(&error), "not ready");
            }
            Ok(unready(
                "The database does not answer, or forebay-view-server has not made its tables yet.",
            ))
        }
    }
}

fn unready(message: &str) -> Response {
    reply::json(StatusCode::SERVICE_UNAVAILABLE, &health(Some(message)))
}

fn health(message: Option<&str>) -> Health {
    Health {
        ok: message.is_none(),
        version: env!("CARGO_PKG_VERSION").into(),
        message: message.map(str::to_owned),
    }
}

/// All metrics as text. Answered only to callers on this host.
pub(crate) async fn metrics(realtime: Realtime, request: Request) -> Result<Response, Problem> {
    let peer = request.peer();
    let here = peer.uid.is_some()
        || peer
            .addr
            .is_some_and(|addr| addr.ip().to_canonical().is_loopback());
    if !here {
        let message = "There is nothing at this path.";
        return Err(Problem::new(Code::NotFound, message));
    }
    let text = realtime.metrics().encode();
    Ok(reply::bytes(StatusCode::OK, CONTENT_TYPE, text))
}
