//! The table of routes: who may call what, and that the document tells of all of it.

use std::{collections::BTreeSet, path::Path};

use forebay_http::{Code, client::Call, routes::Access};
use forebay_service::{Metrics, Tasks};
use forebay_view_server::{api, page::Page, server as built, view::View};
use http::Method;

use crate::server::{Server, problem};

/// The routes as `METHOD template`, with who may call them.
fn routes(server: &Server) -> Vec<(Method, String, Access)> {
    let config = crate::server::config(&server.db);
    let view = View::new(
        server.store.clone(),
        config.limits,
        Page::new(&config).expect("no page"),
        Tasks::new(),
        Metrics::new(),
    );
    let table = built::table(&view);
    table
        .routes()
        .map(|route| {
            (
                route.method().clone(),
                route.template().to_owned(),
                route.access(),
            )
        })
        .collect()
}

fn path(template: &str) -> String {
    let job = forebay_wire::JobId::new().to_string();
    template
        .replace("{id}", &job)
        .replace("{stream}", "stdout")
        .replace("{name}", "hpc")
        .replace("{site}", "here")
}

/// What a route needs in order to ask who calls. Signing in is the one that has it in its body.
fn body(template: &str) -> &'static str {
    match template {
        "/api/v1/session" => r#"{"token": "fb_x"}"#,
        _ => "{}",
    }
}

/// The headers of the page's own calls, with a cookie that is not good.
fn as_the_page(server: &Server, call: Call) -> Call {
    let cookie =
        "forebay=fp_k00000000000000000000000000_0000000000000000000000000000000000000000000";
    let call = call.header("cookie", cookie).expect("a header");
    call.header("origin", &server.base).expect("a header")
}

/// Everything but this list answers 401 to callers without a good token.
#[tokio::test]
async fn nobody_gets_anywhere_without_a_token() {
    let server = Server::start().await;
    let public = [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/page",
    ];
    let bad: Vec<_> = [
        "fb_x",
        "garbage",
        "fb_k00000000000000000000000000_0000000000000000000000000000000000000000000",
    ]
    .iter()
    .map(|token| server.with_token(&(*token).into()))
    .collect();
    let mut walked = 0;
    for (method, template, access) in routes(&server) {
        let expected = public.contains(&template.as_str());
        assert_eq!(access == Access::Public, expected, "{template}");
        for client in bad.iter().chain([&server.anonymous()]) {
            let call = client
                .call(method.clone(), &path(&template))
                .body("application/json", body(&template));
            let answer = as_the_page(&server, call).send().await;
            if expected {
                answer.expect("public");
            } else {
                let problem = problem(answer);
                assert_eq!(problem.code, Code::Unauthenticated, "{method} {template}");
                assert!(!problem.request_id.is_empty());
            }
        }
        walked += 1;
    }
    assert!(walked >= 20, "{walked}");
}

/// A token opens the doors of its own kind only.
#[tokio::test]
async fn each_kind_of_token_has_its_own_doors() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let agent = server.agent().await;
    let site = server.with_token(&agent.site_token);
    for (method, template, access) in routes(&server) {
        let wrong = match access {
            Access::Public => continue,
            Access::Authenticated => vec![&site, &agent.client],
            Access::Rule("enrolment") => vec![&ann.client, &agent.client],
            Access::Rule(_) => vec![&ann.client, &site],
        };
        for client in wrong {
            let call = client
                .call(method.clone(), &path(&template))
                .body("application/json", body(&template));
            let answer = as_the_page(&server, call).send().await;
            assert_eq!(
                problem(answer).code,
                Code::Unauthenticated,
                "{method} {template}"
            );
        }
    }
}

#[tokio::test]
async fn the_document_tells_of_every_route_and_of_no_other() {
    let server = Server::start().await;
    let public = |(method, template, _): (Method, String, Access)| {
        let inner = template.starts_with("/link/") || template.starts_with("/replica/");
        (!inner).then(|| format!("{method} {template}"))
    };
    let table: BTreeSet<_> = routes(&server).into_iter().filter_map(public).collect();
    let document: serde_json::Value = server
        .anonymous()
        .get("/api/v1/openapi.json")
        .await
        .expect("a document");
    let mut told = BTreeSet::new();
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            told.insert(format!("{} {path}", method.to_uppercase()));
            assert!(
                operations.insert(operation["operationId"].to_string()),
                "{path}: an operation's id twice"
            );
        }
    }
    assert_eq!(told, table);
    // Every reference leads somewhere.
    let text = document.to_string();
    for piece in text.split("\"#/components/schemas/").skip(1) {
        let name = piece.split('"').next().expect("a name");
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name}"
        );
    }
}

/// A request with a field that is not in the document is refused; an answer may have some.
#[test]
fn the_document_closes_requests_and_leaves_answers_open() {
    let document = api::document().expect("a document");
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    let schemas = &document["components"]["schemas"];
    let closed: Vec<&str> = schemas
        .as_object()
        .expect("schemas")
        .iter()
        .filter(|(_, schema)| schema["additionalProperties"] == false)
        .map(|(name, _)| name.as_str())
        .collect();
    let requests = [
        "CreateJob",
        "JobSpecRequest",
        "OutputRequest",
        "ResourcesRequest",
        "SignIn",
        "SlurmOptionsRequest",
    ];
    assert_eq!(closed, requests);
    let spec = |of: &str| &schemas[of]["properties"]["spec"]["$ref"];
    assert_eq!(spec("CreateJob"), "#/components/schemas/JobSpecRequest");
    assert_eq!(spec("Job"), "#/components/schemas/JobSpec");
    let text = document.to_string();
    for name in requests {
        let used = format!("\"#/components/schemas/{name}\"");
        assert!(text.contains(&used), "{name} is used");
    }
}

/// `cargo run -p forebay-view-server -- openapi > docs/api/openapi.json` writes it.
#[test]
fn the_committed_document_is_this_one() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api/openapi.json");
    let committed = std::fs::read_to_string(committed).expect("docs/api/openapi.json");
    let made = api::document().expect("a document");
    assert!(
        committed == made,
        "docs/api/openapi.json is old: write it anew with `forebay-view-server openapi`"
    );
}
