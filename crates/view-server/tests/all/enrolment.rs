//! Sites over HTTP: enrolling, being believed at either replica, and being no longer.

use std::time::Duration;

use forebay_central::ENROLMENT;
use forebay_http::{Client, Code, client::ClientError};
use forebay_service::Tasks;
use forebay_wire::link::{Assertion, Enrolled, Session, Statement};
use http::Method;
use uuid::Uuid;

use crate::{
    fake_agent::{files, serve},
    server::{Server, enrol, key_pair, open_session, operator, problem},
    work::{ended, released, started},
};

async fn open(client: &Client, assertion: &Assertion) -> Result<Session, ClientError> {
    client.post("/link/v1/session", assertion).await
}

#[tokio::test]
async fn a_token_enrols_one_key() {
    let server = Server::start().await;
    let token = server.site_token("here").await;
    let client = server.with_token(&token);
    let garbage = client
        .call(Method::POST, "/link/v1/enrol")
        .body(
            "application/json",
            r#"{"public_key": "00", "site": "there"}"#,
        )
        .send()
        .await;
    assert_eq!(problem(garbage).code, Code::Malformed, "a site is no field");
    let short: Result<Enrolled, _> = client
        .post("/link/v1/enrol", &serde_json::json!({"public_key": "00ff"}))
        .await;
    assert_eq!(problem(short).code, Code::Invalid);
    let (first, second) = (key_pair(), key_pair());
    let enrolled: Enrolled = client
        .post("/link/v1/enrol", &enrol(&first))
        .await
        .expect("enrolled");
    assert_eq!(enrolled.site.as_str(), "here");
    let twice: Result<Enrolled, _> = client.post("/link/v1/enrol", &enrol(&second)).await;
    let twice = problem(twice);
    assert_eq!(twice.code, Code::Unauthenticated);
    assert!(twice.message.contains("was used at"), "{twice:?}");
    let audit = server.store.audit_list(Some("site:here"), 10).await;
    let audit: Vec<_> = audit
        .expect("the audit")
        .into_iter()
        .map(|line| format!("{} {}", line.action, line.result))
        .collect();
    assert!(audit.contains(&"site.enrolled ok".to_owned()), "{audit:?}");
    let refused = "site.enrolled unauthenticated".to_owned();
    assert!(audit.contains(&refused), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_good_once_at_any_replica() {
    let server = Server::start().await;
    let replica = server.replica().await;
    let (_, key) = server.enrolled("here").await;
    let assertion = key.assertion(open_session());
    let here = server.anonymous();
    let there = Client::tcp(&replica.base).expect("a URL");
    let session = open(&there, &assertion).await.expect("a link");
    for client in [&here, &there] {
        let replayed = problem(open(client, &assertion).await);
        assert_eq!(replayed.code, Code::Unauthenticated);
        assert!(replayed.message.contains("used before"), "{replayed:?}");
    }
    // The link is good at either.
    for client in [&here, &there] {
        let client = client
            .with_bearer(&session.token.clone().into())
            .expect("a token");
        let call = client.call(Method::GET, "/link/v1/open");
        let call = call.header("forebay-epoch", &session.epoch.to_string());
        call.expect("a header").send().await.expect("open jobs");
    }
}

#[tokio::test]
async fn statements_of_others_are_refused() {
    let server = Server::start().await;
    let (_, key) = server.enrolled("here").await;
    let (_, other) = server.enrolled("there").await;
    let client = server.anonymous();
    let good = key.statement(open_session());
    let hour = Duration::from_secs(3_600);
    let forged = Assertion {
        key: key.enrolled.key,
        ..other.sign(&good)
    };
    let elsewhere = Statement {
        aud: Uuid::new_v4(),
        ..good.clone()
    };
    let old = Statement {
        issued_at: (good.issued_at.get() - hour).into(),
        expires_at: (good.expires_at.get() - hour).into(),
        ..good.clone()
    };
    for (assertion, words) in [
        (forged, "did not sign"),
        (other.sign(&good), "another site"),
        (key.sign(&elsewhere), "installation"),
        (key.sign(&old), "3600 s apart"),
    ] {
        let refused = problem(open(&client, &assertion).await);
        assert_eq!(refused.code, Code::Unauthenticated, "{refused:?}");
        assert!(refused.message.contains(words), "{refused:?}");
    }
    // A token is no statement, whatever it was made for.
    let token = server.site_token("here").await;
    let bare: Result<Session, _> = server
        .with_token(&token)
        .post("/link/v1/session", &open_session())
        .await;
    assert_eq!(problem(bare).code, Code::Unauthenticated);
    open(&client, &key.sign(&good)).await.expect("a link");
}

/// Revoked by another process, refused at the next call of each kind.
#[tokio::test]
async fn a_revoked_key_is_refused_on_every_call() {
    let server = Server::start().await;
    let agent = server.agent().await;
    let unused = server.site_token("here").await;
    let site = "here".parse().expect("a name");
    server
        .store
        .site_revoke(&site, None, &operator())
        .await
        .expect("revoked");
    let mut answers = vec![
        problem(agent.try_claim(1).await),
        problem(agent.try_report(1, Vec::new()).await),
        problem(open(&server.anonymous(), &agent.key.assertion(open_session())).await),
    ];
    for path in ["open", "desired?after=1.2.3", "tunnel"] {
        let call = agent.call(Method::GET, &format!("/link/v1/{path}"));
        answers.push(problem(call.send().await));
    }
    let enrolled: Result<Enrolled, _> = server
        .with_token(&unused)
        .post("/link/v1/enrol", &enrol(&key_pair()))
        .await;
    answers.push(problem(enrolled));
    for answer in answers {
        assert_eq!(answer.code, Code::Unauthenticated, "{answer:?}");
    }
    // Enrolled anew it goes on.
    let token = server.store.site_enrol(&site, ENROLMENT, &operator()).await;
    let token = token.expect("a token").token;
    let _: Enrolled = server
        .with_token(&token)
        .post("/link/v1/enrol", &enrol(&key_pair()))
        .await
        .expect("enrolled");
}

/// The tunnel ends at one replica; logs asked of the other come all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_through_the_other_replica() {
    let server = Server::start().await;
    let replica = server.replica().await;
    let ann = server.user("ann").await;
    let mut agent = server.agent().await;
    let job = ann.submit("x").await.id;
    agent.claim(1).await;
    agent.report(vec![released(job), started(job)]).await;
    let tasks = Tasks::new();
    let log = "0123456789".repeat(3_000);
    serve(&agent, &server, files(&log), &tasks).await;
    let path = format!("/api/v1/jobs/{job}/logs/stdout");
    // The same caller, at the other replica.
    let elsewhere = {
        let token = server
            .store
            .token_create("ann", "", None, &operator())
            .await
            .expect("a token");
        replica.with_token(&token.token)
    };
    let read = |range: Option<&'static str>| {
        let mut call = elsewhere.call(Method::GET, &path);
        if let Some(range) = range {
            call = call.header("range", range).expect("a header");
        }
        async move {
            let answer = call.send().await?;
            let text = String::from_utf8(answer.body.to_vec()).expect("text");
            Ok::<_, ClientError>((answer.status.as_u16(), text))
        }
    };
    assert_eq!(read(None).await.expect("the log"), (200, log.clone()));
    let part = read(Some("bytes=5-9")).await.expect("a part");
    assert_eq!(part, (206, "56789".to_owned()));
    let outside = problem(read(Some("bytes=99999-")).await);
    assert_eq!(outside.code, Code::RangeNotSatisfiable);
    // Followed, too.
    let followed = elsewhere
        .call(Method::GET, &path)
        .header("accept", "text/event-stream")
        .expect("a header")
        .send()
        .await
        .expect("a stream that ends");
    let followed = String::from_utf8(followed.body.to_vec()).expect("text");
    assert!(followed.contains("0123456789"), "{followed}");
    // Another user's log is no more to be had there than here.
    server.user("bob").await;
    let token = server
        .store
        .token_create("bob", "", None, &operator())
        .await
        .expect("a token");
    let bob = replica.with_token(&token.token).call(Method::GET, &path);
    assert_eq!(problem(bob.send().await).code, Code::NotFound);
    // What replicas call is for replicas alone.
    let inner = format!("/replica/v1/sites/here/v1/jobs/{job}/logs/stdout");
    for client in [&ann.client, &agent.client, &server.anonymous()] {
        let refused = problem(client.call(Method::GET, &inner).send().await);
        assert_eq!(refused.code, Code::Unauthenticated);
    }
    // The site is gone; the end of the log is not.
    agent
        .report(vec![ended(job, forebay_wire::JobState::Succeeded, 0)])
        .await;
    tasks.stop();
    for _ in 0..100 {
        if read(None).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a tunnel that has ended is still used");
}
