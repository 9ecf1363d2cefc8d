//! The page: its files, signing in, and what others cannot do with somebody's cookie.

use std::{fs, os::unix::fs::symlink};

use bytes::Bytes;
use forebay_http::{
    ClientError, Code,
    client::{Answer, Call},
};
use forebay_wire::{
    JobState, TokenId,
    api::{Job, Me, Page, PageSettings, SignedIn},
};
use http::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::{
    instance::Database,
    server::{Server, config, operator, problem, spec},
};

type Answered = Result<Answer<Bytes>, ClientError>;

/// A browser that is on the page.
struct Browser<'a> {
    server: &'a Server,
    origin: String,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn on(server: &'a Server) -> Self {
        Self {
            server,
            origin: server.base.clone(),
            cookie: None,
        }
    }

    fn call(&self, method: Method, path: &str) -> Call {
        let call = self.server.anonymous().call(method, path);
        let call = call.header("origin", &self.origin).expect("a header");
        match &self.cookie {
            Some(cookie) => call.header("cookie", cookie).expect("a header"),
            None => call,
        }
    }

    async fn sign_in(&mut self, token: &str) -> Answered {
        let call = self.call(Method::POST, "/api/v1/session");
        let call = call.json(&json!({ "token": token })).expect("JSON");
        let answer = call.send().await?;
        let set = answer.header("set-cookie").expect("a cookie");
        self.cookie = set.split(';').next().map(str::to_owned);
        Ok(answer)
    }

    async fn get(&self, path: &str) -> Answered {
        self.call(Method::GET, path).send().await
    }

    async fn submit(&self, name: &str) -> Answered {
        let call = self.call(Method::POST, "/api/v1/jobs");
        call.json(&spec(name)).expect("JSON").send().await
    }
}

/// What the page is told when it is opened.
async fn settings(browser: &Browser<'_>) -> PageSettings {
    let answer = browser.get("/api/v1/page").await.expect("settings");
    answer.json().expect("settings")
}

/// A user and a token of theirs.
async fn token(server: &Server, name: &str) -> (TokenId, String) {
    server.store.user_add(name, &operator()).await.expect("new");
    let new = server.store.token_create(name, "", None, &operator()).await;
    let new = new.expect("a token");
    (new.id, new.token.expose_secret().to_owned())
}

#[tokio::test]
async fn signed_in_until_signed_out() {
    let server = Server::start().await;
    let _agent = server.agent().await;
    let (_, token) = token(&server, "ann").await;
    let mut ann = Browser::on(&server);
    assert_eq!(
        problem(ann.get("/api/v1/me").await).code,
        Code::Unauthenticated
    );
    let answer = ann.sign_in(&token).await.expect("signed in");
    assert_eq!(answer.status, StatusCode::CREATED);
    let set = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.starts_with("forebay=fp_k"), "{set}");
    for attribute in [
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Max-Age=604800",
    ] {
        assert!(set.contains(attribute), "{set}");
    }
    assert!(!set.contains("Secure"), "there is no TLS here: {set}");
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    assert!(!text.contains("fp_k") && !text.contains(&token), "{text}");
    let signed_in: SignedIn = answer.json().expect("who");
    let me: Me = ann.get("/api/v1/me").await.expect("me").json().expect("me");
    assert_eq!(me.name, "ann");
    assert_eq!(me, signed_in.me);
    assert_eq!(settings(&ann).await.me, Some(me));
    let cookie = ann.cookie.take();
    assert_eq!(settings(&ann).await.me, None);
    ann.cookie = cookie;

    let job: Job = ann
        .submit("by the page")
        .await
        .expect("a job")
        .json()
        .expect("a job");
    let cancel = ann.call(Method::POST, &format!("/api/v1/jobs/{}/cancel", job.id));
    let job: Job = cancel
        .send()
        .await
        .expect("accepted")
        .json()
        .expect("a job");
    assert_eq!(job.status.state, JobState::Cancelled);

    let out = ann.call(Method::DELETE, "/api/v1/session").send().await;
    let out = out.expect("signed out");
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(
        out.header("set-cookie")
            .expect("a cookie")
            .contains("Max-Age=0")
    );
    // The browser has forgotten it; whoever kept it has nothing.
    let refused = problem(ann.get("/api/v1/me").await);
    assert_eq!(refused.code, Code::Unauthenticated);
    assert!(refused.message.contains("Sign in"), "{}", refused.message);
    let again = ann.call(Method::DELETE, "/api/v1/session").send().await;
    assert_eq!(problem(again).code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_cookie_changes_nothing_for_another_origin() {
    let server = Server::start().await;
    let _agent = server.agent().await;
    let (_, token) = token(&server, "ann").await;
    let mut ann = Browser::on(&server);
    ann.sign_in(&token).await.expect("signed in");
    let job: Job = ann
        .submit("mine")
        .await
        .expect("a job")
        .json()
        .expect("a job");
    let cancel = format!("/api/v1/jobs/{}/cancel", job.id);
    let submit = spec("forged").to_string();
    let sign_in = json!({ "token": token }).to_string();
    let other = server.base.replace("127.0.0.1", "127.0.0.2");
    let tries: [(&str, &[(&str, &str)]); 6] = [
        ("another host", &[("origin", "https://evil.example")]),
        ("another port", &[("origin", "http://127.0.0.1:1")]),
        ("another name of this host", &[("origin", &other)]),
        ("a sandbox", &[("origin", "null")]),
        ("a sister", &[("sec-fetch-site", "same-site")]),
        ("nobody says", &[]),
    ];
    for (who, headers) in tries {
        for (method, path, body) in [
            (Method::POST, "/api/v1/jobs", submit.as_str()),
            (Method::POST, cancel.as_str(), ""),
            (Method::DELETE, "/api/v1/session", ""),
            (Method::POST, "/api/v1/session", sign_in.as_str()),
        ] {
            let call = server.anonymous().call(method.clone(), path);
            let call = call.body("application/json", body.to_owned());
            let cookie = ann.cookie.as_deref().expect("a cookie");
            let mut call = call.header("cookie", cookie).expect("a header");
            for (name, value) in headers {
                call = call.header(name, value).expect("a header");
            }
            let refused = problem(call.send().await);
            assert_eq!(refused.code, Code::Forbidden, "{who}: {method} {path}");
        }
    }
    // Nothing was done, and the session is still there.
    let jobs = ann.get("/api/v1/jobs").await.expect("a list");
    let jobs: Page<Job> = jobs.json().expect("a list");
    assert_eq!(jobs.items.len(), 1);
    assert_eq!(jobs.items[0].status.cancel_wanted_at, None);
    // What says itself who it is needs no origin, and a cookie beside it says nothing.
    let bearer = server.with_token(&token.clone().into());
    let call = bearer.call(Method::POST, &cancel);
    let call = call.header("cookie", "forebay=garbage").expect("a header");
    call.send().await.expect("accepted");
    let wrong = server.with_token(&"fb_x".to_owned().into());
    let call = wrong.call(Method::GET, "/api/v1/me");
    let cookie = ann.cookie.as_deref().expect("a cookie");
    let call = call.header("cookie", cookie).expect("a header");
    assert_eq!(problem(call.send().await).code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_so_do_its_streams() {
    let server = Server::start().await;
    let mut agent = server.agent().await;
    let (id, token) = token(&server, "ann").await;
    let mut ann = Browser::on(&server);
    ann.sign_in(&token).await.expect("signed in");
    let job: Job = ann
        .submit("watched")
        .await
        .expect("a job")
        .json()
        .expect("a job");
    agent.claim(1).await;
    agent.report(vec![crate::work::released(job.id)]).await;
    let call = ann.call(Method::GET, &format!("/api/v1/jobs/{}/events", job.id));
    let call = call
        .header("accept", "text/event-stream")
        .expect("a header");
    let stream = call.stream().await.expect("a stream");
    let revoked = server.store.token_revoke(id, &operator()).await;
    revoked.expect("revoked");
    assert_eq!(
        problem(ann.get("/api/v1/me").await).code,
        Code::Unauthenticated
    );
    assert_eq!(problem(ann.submit("x").await).code, Code::Unauthenticated);
    assert!(ann.sign_in(&token).await.is_err());
    // Rights are asked for again every few seconds.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        let mut pieces = Box::pin(stream.into_bytes());
        while let Some(piece) = futures_util::StreamExt::next(&mut pieces).await {
            piece.expect("an orderly end");
        }
    });
    ended.await.expect("the stream has ended");
}

#[tokio::test]
async fn wrong_tokens_are_counted() {
    let server = Server::start().await;
    let (_, token) = token(&server, "ann").await;
    let mut ann = Browser::on(&server);
    for body in [
        "{}",
        r#"{"token": 5}"#,
        r#"{"token": "x", "more": 1}"#,
        "fb_x",
    ] {
        let call = ann.call(Method::POST, "/api/v1/session");
        let call = call.body("application/json", body.to_owned());
        assert_eq!(problem(call.send().await).code, Code::Malformed, "{body}");
    }
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(problem(ann.sign_in("fb_wrong").await).code);
    }
    assert_eq!(
        codes[9..11],
        [Code::Unauthenticated, Code::Busy],
        "{codes:?}"
    );
    // Even with the right one, so that nobody can try on.
    assert_eq!(problem(ann.sign_in(&token).await).code, Code::Busy);
    // Programs are not held up.
    let me: Me = server
        .with_token(&token.into())
        .get("/api/v1/me")
        .await
        .expect("me");
    assert_eq!(me.name, "ann");
    let audit = server.store.audit_list(Some("nobody"), 50).await;
    let audit = audit.expect("the audit");
    assert_eq!(audit.len(), 10);
    assert!(
        audit
            .iter()
            .all(|entry| entry.result == "unauthenticated" && !entry.peer.is_empty())
    );
}

#[tokio::test]
async fn behind_tls_the_cookie_is_the_hosts_own() {
    let db = Database::new().await;
    let mut config = config(&db);
    config.behind_tls = true;
    config.realtime_url = Some("https://portal.example.org:5003".into());
    let server = Server::configured(db, &config).await;
    let (_, token) = token(&server, "ann").await;
    let mut ann = Browser::on(&server);
    ann.origin = server.base.replacen("http", "https", 1);
    let answer = ann.sign_in(&token).await.expect("signed in");
    let set = answer.header("set-cookie").expect("a cookie");
    assert!(
        set.starts_with("__Host-forebay=fp_k") && set.ends_with("; Secure"),
        "{set}"
    );
    ann.get("/api/v1/me").await.expect("me");
    // A sister domain can set the plain name, which counts for nothing here.
    let plain = ann
        .cookie
        .as_deref()
        .expect("a cookie")
        .replace("__Host-", "");
    ann.cookie = Some(plain);
    assert_eq!(
        problem(ann.get("/api/v1/me").await).code,
        Code::Unauthenticated
    );
    let told = settings(&ann).await;
    assert_eq!((told.realtime_url, told.me), (config.realtime_url, None));
    // Each caller of the gateway is counted by itself.
    let wrong = |from: &'static str| {
        let call = ann
            .call(Method::POST, "/api/v1/session")
            .json(&json!({ "token": "fb_x" }));
        let call = call
            .expect("JSON")
            .header("x-forwarded-for", from)
            .expect("a header");
        call.send()
    };
    for _ in 0..10 {
        let refused = problem(wrong("198.51.100.7, 192.0.2.1").await);
        assert_eq!(refused.code, Code::Unauthenticated);
    }
    assert_eq!(
        problem(wrong("203.0.113.5, 192.0.2.1").await).code,
        Code::Busy
    );
    assert_eq!(
        problem(wrong("192.0.2.1, 192.0.2.2").await).code,
        Code::Unauthenticated
    );
}

#[tokio::test]
async fn files_of_the_page_and_no_others() {
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("secret.txt"), "secret").expect("written");
    let ui = tempfile::tempdir().expect("a directory");
    fs::create_dir(ui.path().join("assets")).expect("made");
    fs::write(ui.path().join("index.html"), "<!doctype html>the page").expect("written");
    fs::write(ui.path().join("assets/app-1.js"), "run()").expect("written");
    symlink(
        outside.path().join("secret.txt"),
        ui.path().join("assets/link.txt"),
    )
    .expect("a link");
    let db = Database::new().await;
    let mut config = config(&db);
    config.ui_dir = Some(ui.path().to_owned());
    let server = Server::configured(db, &config).await;
    let browser = Browser::on(&server);
    for path in [
        "/",
        "/index.html",
        "/jobs",
        "/jobs/j0?x=1",
        "/submit",
        "/no/such/page",
        "/apix",
    ] {
        let answer = browser.get(path).await.expect("the page");
        assert_eq!(answer.body, "<!doctype html>the page", "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let policy = answer.header("content-security-policy").expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = answer.header("etag").expect("a tag").to_owned();
        let call = browser
            .call(Method::GET, path)
            .header("if-none-match", &tag);
        // Our client takes only what succeeded for an answer.
        let answer = call.expect("a header").send().await;
        let refused = answer.expect_err("nothing new").to_string();
        assert!(refused.ends_with("answered 304"), "{refused}");
    }
    let asset = browser.get("/assets/app-1.js").await.expect("a file");
    assert_eq!(asset.body, "run()");
    assert_eq!(
        asset.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    let cache = asset.header("cache-control").expect("a rule");
    assert!(
        cache.contains("max-age=31536000") && cache.contains("immutable"),
        "{cache}"
    );
    // What others answer is nobody's page, and an old asset is not the page either.
    for path in [
        "/api",
        "/api/v1/none",
        "/link/v2",
        "/rt/v1/ws",
        "/health/x",
        "/metrics/x",
        "/assets/app-0.js",
        "/assets/link.txt",
    ] {
        let refused = problem(browser.get(path).await);
        assert_eq!(refused.code, Code::NotFound, "{path}");
    }
    let post = browser.call(Method::POST, "/jobs").send().await;
    assert_eq!(problem(post).code, Code::MethodNotAllowed);
}

/// As a client sends it that does not tidy its paths first.
#[tokio::test]
async fn no_path_climbs_out_of_the_page() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let root = tempfile::tempdir().expect("a directory");
    let ui = root.path().join("ui");
    fs::create_dir_all(ui.join("assets")).expect("made");
    fs::write(ui.join("index.html"), "<!doctype html>the page").expect("written");
    fs::write(root.path().join("secret.txt"), "secret").expect("written");
    let db = Database::new().await;
    let mut config = config(&db);
    config.ui_dir = Some(ui);
    let server = Server::configured(db, &config).await;
    let address = server.base.strip_prefix("http://").expect("an address");
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/assets/..%5c..%5csecret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/assets//etc/passwd",
        "/assets/%00",
        "/.",
    ] {
        let mut io = tokio::net::TcpStream::connect(address)
            .await
            .expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.expect("an answer");
        assert!(
            !answer.contains("secret\r") && !answer.ends_with("secret"),
            "{path}: {answer}"
        );
        assert!(!answer.contains("root:"), "{path}: {answer}");
        let fine = answer.ends_with("the page") || answer.contains("404 Not Found");
        assert!(fine, "{path}: {answer}");
    }
}
