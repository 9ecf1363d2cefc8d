//! Answers.

use crate::problem::error_response;
use bytes::Bytes;
use forebay_wire::{Code, Problem};
use futures_util::Stream;
use http::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};
use warp::Reply;

/// An answer, as warp makes them.
pub type Response = warp::reply::Response;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `value` as JSON. A value that cannot be written (a map with keys that are no strings) is a
/// mistake of the program: 500.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let mut response = Response::new(text.into());
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            let problem = Problem::new(Code::Internal, "Something went wrong here; it is logged.");
            error_response(problem)
        }
    }
}

/// 200 with `value` as JSON.
pub fn ok<T: Serialize + ?Sized>(value: &T) -> Response {
    json(StatusCode::OK, value)
}

/// 201 with `value` as JSON.
pub fn created<T: Serialize + ?Sized>(value: &T) -> Response {
    json(StatusCode::CREATED, value)
}

/// 204 without a body.
pub fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Text or bytes of a known kind.
pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A body that is made while it is sent. An error ends it abruptly, which a client can tell from
/// its end.
pub fn stream<S>(status: StatusCode, content_type: &'static str, body: S) -> Response
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    let mut response = warp::reply::stream(Shared::new(body)).into_response();
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A problem as an answer; what [`respond`] does with an `Err`.
pub fn problem(problem: Problem) -> Response {
    error_response(problem)
}

/// Await a handler and turn what it returns into an answer.
pub async fn respond<R: Reply>(handler: impl Future<Output = Result<R, Problem>>) -> Response {
    match handler.await {
        Ok(reply) => reply.into_response(),
        Err(problem) => error_response(problem),
    }
}

/// A stream that may be shared between threads although what it wraps may not: warp asks for that.
/// It is only ever polled through `&mut`, so the lock is never taken.
pub(crate) struct Shared<T>(Mutex<Pin<Box<dyn Stream<Item = T> + Send>>>);

impl<T> Shared<T> {
    pub(crate) fn new(stream: impl Stream<Item = T> + Send + 'static) -> Self {
        Self(Mutex::new(Box::pin(stream)))
    }
}

impl<T> Stream for Shared<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let stream = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        stream.as_mut().poll_next(context)
    }
}
