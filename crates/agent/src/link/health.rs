//! Health and metrics, for this host alone.

use std::net::SocketAddr;

use forebay_http::{
    Limits, ListenError, Listener, Problem, Request, Response, reply,
    routes::{Access, Route, Table},
};
use forebay_service::{Metrics, Service};
use forebay_wire::api::Health;
use http::{Method, StatusCode};

use super::Link;

/// Serves them on a port of their own, which is never reached through the gateway.
pub async fn serve_health(
    address: SocketAddr,
    service: &Service,
    link: &Link,
) -> Result<(), ListenError> {
    let listener = Listener::tcp(address).await?;
    let mut table = Table::new();
    table.extend([
        Route::with(link, Method::GET, "/health/live", Access::Public, live),
        Route::with(link, Method::GET, "/health/ready", Access::Public, ready),
        Route::with(
            &service.metrics,
            Method::GET,
            "/metrics",
            Access::Public,
            metrics,
        ),
    ]);
    let tasks = service.tasks.clone();
    drop(service.tasks.spawn(
        "health",
        forebay_http::serve(listener, table, Limits::default(), tasks),
    ));
    Ok(())
}

fn health(ok: bool, message: Option<&str>) -> Health {
    Health {
        ok,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        message: message.map(str::to_owned),
    }
}

async fn live(_link: Link, _request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&health(true, None)))
}

async fn ready(link: Link, _request: Request) -> Result<Response, Problem> {
    Ok(if link.is_up() {
        reply::ok(&health(true, None))
    } else {
        reply::json(
            StatusCode::SERVICE_UNAVAILABLE,
            &health(false, Some("The link to the view-server is down.")),
        )
    })
}

async fn metrics(metrics: Metrics, _request: Request) -> Result<Response, Problem> {
    Ok(reply::bytes(
        StatusCode::OK,
        forebay_service::metrics::CONTENT_TYPE,
        metrics.encode(),
    ))
}
