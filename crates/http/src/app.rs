//! What a server serves, and what every request goes through on its way there.

use crate::{
    connection::Context,
    metrics::HttpMetrics,
    problem::{self, error_response},
    reply::Response,
    request::{Head, RequestId},
    routes::{Found, Table},
};
use forebay_service::Metrics;
use forebay_wire::{Code, Problem};
use futures_util::FutureExt as _;
use http::header::HeaderValue;
use std::{
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tower_service::Service as _;
use tracing::Instrument as _;
use warp::{Filter as _, filters::BoxedFilter};

pub(crate) use hyper::body::Incoming;

/// A warp filter as a function. Boxed, because warp does not let its service's type be named.
pub(crate) type Endpoint =
    Arc<dyn Fn(http::Request<Incoming>) -> BoxFuture<Response> + Send + Sync>;
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Turn a filter into an endpoint. A stray rejection becomes a problem here, the one place where
/// rejections are looked at.
pub(crate) fn endpoint(filter: BoxedFilter<(Response,)>) -> Endpoint {
    let service = warp::service(filter.recover(problem::from_rejection).unify());
    Arc::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    })
}

/// What a server serves: a [`Table`] of routes, or one boxed filter. Cheap to clone.
#[derive(Clone)]
pub struct App {
    table: Arc<Table>,
    metrics: Option<HttpMetrics>,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl From<Table> for App {
    fn from(table: Table) -> Self {
        Self {
            table: Arc::new(table),
            metrics: None,
        }
    }
}

impl From<BoxedFilter<(Response,)>> for App {
    fn from(filter: BoxedFilter<(Response,)>) -> Self {
        let mut table = Table::new();
        table.fallback(filter);
        table.into()
    }
}

impl App {
    /// Count and time the requests in `metrics`: `http_requests`, `http_request_seconds` by route.
    /// One server per registry.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(HttpMetrics::new(metrics));
        self
    }

    /// Answer one request. Always answers, also when the handler panics or takes too long.
    pub(crate) async fn answer(
        &self,
        mut request: http::Request<Incoming>,
        context: &Context,
    ) -> Response {
        let started = Instant::now();
        let limits = &context.limits;
        let id = RequestId::of(request.headers(), limits.trust_request_id);
        let method = request.method().clone();
        let found = self.table.find(&method, request.uri().path());
        let route = found
            .as_ref()
            .map_or("(none)", |found| found.template)
            .to_owned();
        let span = tracing::info_span!(parent: None, "request", id = %id, %method, route);

        let deadline = found
            .as_ref()
            .ok()
            .and_then(|found| found.deadline)
            .unwrap_or(limits.request_timeout);
        let mut response = match found {
            Ok(Found {
                endpoint,
                params,
                shield,
                ..
            }) => {
                let head = Head {
                    id: id.clone(),
                    peer: context.peer,
                    method: method.clone(),
                    uri: request.uri().clone(),
                    params: params.into(),
                    body_bytes_max: limits.body_bytes_max,
                    body_timeout: limits.body_timeout,
                };
                request.extensions_mut().insert(head);
                let handled = contained(endpoint(request));
                let handled: BoxFuture<Response> = match shield {
                    // On the tracker: goes on when the client goes away, and is waited for at the
                    // drain. Cut or panicked (contained() leaves nothing to panic), it has no answer.
                    Some(tasks) => {
                        let running =
                            tasks.spawn("shielded request", handled.instrument(span.clone()));
                        Box::pin(running.map(|ended| ended.unwrap_or_else(|_| unavailable())))
                    }
                    None => Box::pin(handled),
                };
                within(deadline, handled).instrument(span.clone()).await
            }
            Err(none) => none.response(),
        };
        problem::name_request(&mut response, &id);
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            response.headers_mut().insert(RequestId::HEADER, value);
        }
        let (status, took) = (response.status().as_u16(), started.elapsed());
        span.in_scope(
            || tracing::info!(target: "forebay_http::access", status, ?took, peer = %context.peer),
        );
        if let Some(metrics) = &self.metrics {
            metrics.observe(&method, &route, status, took);
        }
        response
    }
}

fn unavailable() -> Response {
    error_response(Problem::new(Code::Unavailable, "The service is stopping."))
}

/// A panic in a handler is that request's failure. The panic hook has logged it.
async fn contained(handled: BoxFuture<Response>) -> Response {
    AssertUnwindSafe(handled)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!("the handler panicked");
            error_response(Problem::new(
                Code::Internal,
                "Something went wrong here; it is logged.",
            ))
        })
}

async fn within(deadline: Duration, handled: BoxFuture<Response>) -> Response {
    tokio::time::timeout(deadline, handled)
        .await
        .unwrap_or_else(|_| {
            let message = format!("No answer within {} s.", deadline.as_secs_f64());
            error_response(Problem::new(Code::Deadline, message))
        })
}
