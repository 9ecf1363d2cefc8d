//! The document that describes the public API.

mod requests;

use forebay_http::{Problem, Request, Response, reply};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
};

use super::{clusters, events, health, jobs, logs, me, metrics, page, session};
use crate::view::View;
use requests::ClosedRequests;

/// The public API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Forebay",
        description = "Hands work to clusters and streams back what happens.",
        license(name = "MIT OR Apache-2.0"),
    ),
    paths(
        health::live,
        health::ready,
        metrics::metrics,
        openapi,
        page::page,
        session::open,
        session::close,
        me::me,
        jobs::create,
        jobs::list,
        jobs::get,
        jobs::tasks,
        jobs::cancel,
        events::events,
        logs::logs,
        clusters::list,
        clusters::get,
    ),
    components(schemas(forebay_wire::api::LogItem, forebay_wire::api::LogStream)),
    modifiers(&Credentials, &ClosedRequests),
    security(("token" = []), ("session" = [])),
)]
struct Api;

/// Forebay tokens, as the header carries them, and the page's cookie.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", token);
        let cookie = ApiKeyValue::with_description(
            forebay_wire::api::SESSION_COOKIE,
            "Set by `POST /api/v1/session`. Changes must come from the page's own origin.",
        );
        let session = SecurityScheme::ApiKey(ApiKey::Cookie(cookie));
        components.add_security_scheme("session", session);
    }
}

/// The document as JSON, for people to read and for programs to generate from.
pub fn document() -> Result<String, serde_json::Error> {
    let mut text = Api::openapi().to_pretty_json()?;
    text.push('\n');
    Ok(text)
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "me", operation_id = "openapi", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document.", content_type = "application/json")),
)]
pub(super) async fn openapi(_view: View, _request: Request) -> Result<Response, Problem> {
    Ok(reply::ok(&Api::openapi()))
}
