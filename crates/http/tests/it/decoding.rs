//! What a client sees when it sends something wrong.

use super::{Site, exchange, table, write_then_read};
use forebay_http::{Client, Code, Limits, Problem, Request, reply};
use http::Method;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::{io::AsyncWriteExt as _, time::sleep};

#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    name: String,
    #[serde(default)]
    resources: Resources,
    #[serde(default)]
    array: Vec<Task>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Task {
    first: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Resources {
    nodes: Option<u16>,
}

const LIMIT: usize = 64 << 10;

async fn site(limits: Limits) -> Site {
    let echo = |mut request: Request| async move {
        let spec: Spec = request.json(LIMIT).await?;
        Ok(reply::created(&spec))
    };
    Site::start(table([(Method::POST, "/jobs", echo)]), limits).await
}

async fn refused(
    client: &Client,
    content_type: &'static str,
    body: impl Into<bytes::Bytes>,
) -> Problem {
    let call = client.call(Method::POST, "/jobs").body(content_type, body);
    let error = call.send().await.unwrap_err();
    error
        .problem()
        .unwrap_or_else(|| panic!("no problem but {error:?}"))
        .clone()
}

#[tokio::test]
async fn json_problems_name_the_field() {
    let site = site(Limits::default()).await;
    let client = site.client();
    let good = Spec {
        name: "a".into(),
        resources: Resources::default(),
        array: Vec::new(),
    };
    assert_eq!(
        client.post::<_, Spec>("/jobs", &good).await.unwrap().name,
        "a"
    );

    let mut seen = Vec::new();
    for body in [
        r#"{"name": 1}"#,
        r#"{"resources": {}}"#,
        r#"{"name": "a", "resources": {"nodes": 1}, "array": [{}]}"#,
        r#"{"name": "a", "resources": {"nodes": 70000}}"#,
        r#"{"name": "a", "resources": {"node": 1}}"#,
        r#"{"name": "a", "nam": 1}"#,
        r#"{"name": "a", "array": [{"first": 1, "last": 2}], "nam": 1}"#,
        r#"{"name": "a"} x"#,
        r#"{"name": "a""#,
        "",
        "[]",
        "\u{feff}{}",
    ] {
        let problem = refused(&client, "application/json", body).await;
        assert_eq!(problem.code, Code::Malformed);
        assert_eq!(problem.request_id.len(), 16);
        let field = problem
            .details
            .first()
            .map_or("-", |detail| detail.field.as_str());
        seen.push(format!("{body} → {field}: {}", problem.message));
    }
    insta::assert_snapshot!(seen.join("\n"));

    let nested = "[".repeat(50_000);
    assert_eq!(
        refused(&client, "application/json", nested).await.code,
        Code::Malformed
    );
    let long = format!("{{\"name\": {{\"{}\": 1}}}}", "x".repeat(50_000));
    assert!(
        refused(&client, "application/json", long)
            .await
            .message
            .len()
            < 1000
    );
    assert_eq!(
        refused(
            &client,
            "application/json",
            b"{\"name\": \"\xff\"}".to_vec()
        )
        .await
        .code,
        Code::Malformed
    );
    for content_type in [
        "text/plain",
        "application/jsonx",
        "application/x-www-form-urlencoded",
    ] {
        let problem = refused(&client, content_type, r#"{"name": "a"}"#).await;
        assert_eq!(problem.code, Code::Malformed);
        assert!(problem.message.contains("application/json"));
    }
    let call = client
        .call(Method::POST, "/jobs")
        .body("Application/JSON; charset=utf-8", r#"{"name": "a"}"#);
    assert_eq!(call.send().await.unwrap().status.as_u16(), 201);
    site.drain().await;
}

#[tokio::test]
async fn ten_megabytes_are_refused_with_a_problem_that_arrives() {
    let site = site(Limits::default()).await;
    let ten_megabytes = vec![b' '; 10 << 20];
    let problem = refused(&site.client(), "application/json", ten_megabytes.clone()).await;
    assert_eq!(problem.code, Code::TooLarge);
    assert!(problem.message.contains("65536"), "{}", problem.message);

    // A client that writes all of it before it reads a byte, with and without saying how much.
    let declared = format!(
        "POST /jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        ten_megabytes.len()
    );
    let answer = write_then_read(
        &mut site.connect().await,
        &[declared.as_bytes(), &ten_megabytes].concat(),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let mut chunked = b"POST /jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in ten_megabytes.chunks(60_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let answer = write_then_read(&mut site.connect().await, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"code\":\"too_large\""), "{answer}");

    // One that asks first is told before it sends anything.
    let asking = declared.replace(
        "connection: close",
        "connection: close\r\nexpect: 100-continue",
    );
    let answer = exchange(&mut site.connect().await, asking.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    site.drain().await;
}

#[tokio::test]
async fn exactly_the_limit_is_allowed() {
    let site = site(Limits::default()).await;
    let client = site.client();
    let of_length = |length: usize| {
        let text = r#"{"name": "a"}"#;
        format!("{text}{}", " ".repeat(length - text.len()))
    };
    let call = client
        .call(Method::POST, "/jobs")
        .body("application/json", of_length(LIMIT));
    call.send().await.unwrap();
    let problem = refused(&client, "application/json", of_length(LIMIT + 1)).await;
    assert_eq!(problem.code, Code::TooLarge);
    site.drain().await;
}

#[tokio::test]
async fn a_body_that_stalls_or_breaks_off_ends() {
    let limits = Limits {
        body_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let site = site(limits).await;
    let head = "POST /jobs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"name";
    let answer = exchange(&mut site.connect().await, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    let mut stream = site.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    drop(stream);
    let bad_chunk = head.replace("content-length: 100", "transfer-encoding: chunked");
    let answer = exchange(&mut site.connect().await, bad_chunk.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    site.drain().await;
}
