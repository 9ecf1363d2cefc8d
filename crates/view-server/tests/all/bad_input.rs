//! Every bad input of the list: a code, a message and the field; nothing written.

use forebay_http::Code;
use forebay_wire::api::{Job, Page};
use http::Method;
use serde_json::{Value, json};

use crate::server::{Server, problem, spec};

#[tokio::test]
async fn bad_input_is_refused_with_its_field() {
    let server = Server::start().await;
    let ann = server.user("ann").await;
    let _agent = server.agent().await;
    let with = |changes: Value| {
        let mut body = spec("x");
        for (key, value) in changes.as_object().expect("an object") {
            body["spec"][key] = value.clone();
        }
        body.to_string()
    };
    let script = |text: &str| json!({"spec": {"cluster": "hpc", "script": text}}).to_string();
    let cases: Vec<(String, Code, &str)> = vec![
        (String::new(), Code::Malformed, ""),
        ("{".into(), Code::Malformed, ""),
        ("[]".into(), Code::Malformed, ""),
        ("{\"spec\":{}}".into(), Code::Malformed, "spec.cluster"),
        (format!("{} trailing", spec("x")), Code::Malformed, ""),
        (
            json!({"spec": {"cluster": "hpc", "command": ["x"]}, "extra": 1}).to_string(),
            Code::Malformed,
            "extra",
        ),
        (
            with(json!({"surprise": 1})),
            Code::Malformed,
            "spec.surprise",
        ),
        (
            with(json!({"time_limit_s": "an hour"})),
            Code::Malformed,
            "spec.time_limit_s",
        ),
        (
            with(json!({"resources": {"nodes": -1}})),
            Code::Malformed,
            "spec.resources.nodes",
        ),
        (
            with(json!({"resources": {"nodes": 0}})),
            Code::Invalid,
            "spec.resources.nodes",
        ),
        (
            with(json!({"cluster": "UPPER"})),
            Code::Malformed,
            "spec.cluster",
        ),
        (
            with(json!({"cluster": "nowhere"})),
            Code::Invalid,
            "spec.cluster",
        ),
        (
            with(json!({"name": format!("{}\n'\"`$(x)", "x".repeat(10_000))})),
            Code::Invalid,
            "spec.name",
        ),
        (
            with(json!({"command": ["a\u{0}b"]})),
            Code::Invalid,
            "spec.command[0]",
        ),
        (
            with(json!({"environment": {"SBATCH_WAIT": "1"}})),
            Code::Invalid,
            "spec.environment.SBATCH_WAIT",
        ),
        (
            with(json!({"slurm": {"directives": ["--uid=0"]}})),
            Code::Invalid,
            "spec.slurm.directives[0]",
        ),
        (
            with(json!({"slurm": {"partition": "a\nb"}})),
            Code::Invalid,
            "spec.slurm.partition",
        ),
        (
            with(json!({"cluster": "box", "slurm": {"qos": "x"}})),
            Code::Invalid,
            "spec.slurm",
        ),
        (script("#!/bin/sh\n\u{0}"), Code::Invalid, "spec.script"),
        (script("echo no interpreter"), Code::Invalid, "spec.script"),
        (
            script("#!/bin/sh\n#SBATCH --wrap=x\n"),
            Code::Invalid,
            "spec.script",
        ),
        (script(&"#".repeat(5 << 20)), Code::TooLarge, ""),
    ];
    let count = cases.len();
    for (body, code, field) in cases {
        let shown: String = body.chars().take(80).collect();
        let problem = problem(ann.raw("/api/v1/jobs", &body).await);
        assert_eq!(problem.code, code, "{shown}: {problem:?}");
        assert!(!problem.message.is_empty());
        let fields: Vec<_> = problem
            .details
            .iter()
            .map(|detail| detail.field.as_str())
            .collect();
        assert!(
            field.is_empty() || fields.contains(&field),
            "{shown}: {fields:?} {problem:?}"
        );
    }
    // Not JSON by its own account.
    let form = ann
        .client
        .call(Method::POST, "/api/v1/jobs")
        .body("text/plain", spec("x").to_string())
        .send()
        .await;
    assert_eq!(problem(form).code, Code::Malformed);
    for key in ["", "a b", &"x".repeat(256), "\u{e9}"] {
        let call = ann
            .client
            .call(Method::POST, "/api/v1/jobs")
            .json(&spec("x"))
            .expect("JSON");
        let answer = call
            .header("idempotency-key", key)
            .expect("a header")
            .send()
            .await;
        let problem = problem(answer);
        assert_eq!(
            (problem.code, problem.details[0].field.as_str()),
            (Code::Malformed, "Idempotency-Key"),
            "{key:?}"
        );
    }
    for (query, code, field) in [
        ("surprise=1", Code::Malformed, "surprise"),
        ("limit=0", Code::Invalid, "limit"),
        ("limit=201", Code::Invalid, "limit"),
        ("limit=x", Code::Malformed, "limit"),
        ("state=done", Code::Malformed, "state"),
        ("cluster=A_B", Code::Malformed, "cluster"),
        ("sort=owner", Code::Invalid, "sort"),
        ("name=%00", Code::Invalid, "name"),
        ("cursor=abc", Code::Malformed, "cursor"),
    ] {
        let problem = problem(
            ann.client
                .get::<Value>(&format!("/api/v1/jobs?{query}"))
                .await,
        );
        assert_eq!(problem.code, code, "{query}");
        assert_eq!(
            problem.details.first().map(|detail| detail.field.as_str()),
            Some(field),
            "{query}: {problem:?}"
        );
    }
    let list: Page<Job> = ann.client.get("/api/v1/jobs").await.expect("a list");
    assert!(list.items.is_empty(), "nothing was written");
    let audit = server
        .store
        .audit_list(Some("user:ann"), 100)
        .await
        .expect("the audit");
    assert_eq!(audit.len(), count + 5);
    assert!(
        audit
            .iter()
            .all(|entry| entry.action == "job.create" && entry.result != "ok")
    );
    assert!(
        audit
            .iter()
            .all(|entry| entry.request_id.len() == 16 && entry.peer.starts_with("127.0.0.1:"))
    );
}
