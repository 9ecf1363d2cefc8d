//! Problems as answers, and whatever else goes wrong as problems.

use crate::{
    reply::{self, Response},
    request::RequestId,
};
use forebay_wire::{Code, Problem, Retry};
use http::{
    StatusCode,
    header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use std::convert::Infallible;
use warp::Rejection;

/// The answer for `problem`. It travels in the answer's extensions too, so that the request's id
/// can be put into it when the answer leaves.
pub(crate) fn error_response(problem: Problem) -> Response {
    let status =
        StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = reply::json(status, &problem);
    let headers = response.headers_mut();
    if problem.retry == Retry::After {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if problem.code == Code::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response.extensions_mut().insert(problem);
    response
}

/// Put the request's id into an answer that is a problem.
pub(crate) fn name_request(response: &mut Response, id: &RequestId) {
    if let Some(mut problem) = response.extensions_mut().remove::<Problem>() {
        id.as_str().clone_into(&mut problem.request_id);
        *response.body_mut() = reply::json(response.status(), &problem).into_body();
    }
}

/// 405, with the methods that there are.
pub(crate) fn method_not_allowed(allowed: &str) -> Response {
    let message = format!("This path knows only {allowed}.");
    let mut response = error_response(Problem::new(Code::MethodNotAllowed, message));
    if let Ok(value) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

/// Routes return values, so a rejection comes only from a filter that was composed by hand, such
/// as `warp::fs`: mostly "not found".
pub(crate) async fn from_rejection(rejection: Rejection) -> Result<Response, Infallible> {
    let problem = if rejection.is_not_found() {
        not_found()
    } else if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        Problem::new(
            Code::MethodNotAllowed,
            "This path does not know that method.",
        )
    } else if rejection.find::<warp::reject::PayloadTooLarge>().is_some() {
        Problem::new(Code::TooLarge, "The body is too large.")
    } else if rejection.find::<warp::ext::MissingExtension>().is_some() {
        tracing::error!("a route was not served through forebay_http::serve");
        Problem::new(Code::Internal, "Something went wrong here; it is logged.")
    } else {
        tracing::debug!(?rejection, "a filter rejected the request");
        Problem::new(
            Code::Malformed,
            "The request is not in the form that this path expects.",
        )
    };
    Ok(error_response(problem))
}

pub(crate) fn not_found() -> Problem {
    Problem::new(Code::NotFound, "There is nothing at this path.")
}
