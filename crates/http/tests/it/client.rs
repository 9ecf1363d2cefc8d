//! The client against servers that are slow, large, wrong or gone.

use super::{Site, hello, short, table};
use forebay_http::{
    Client, ClientError, Code, Limits, Problem, Request, client::ClientLimits, reply,
};
use forebay_service::{Tasks, logs};
use http::{Method, StatusCode};
use secrecy::ExposeSecret as _;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Answers every connection with these bytes and closes it.
async fn scripted(tasks: &Tasks, answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tasks.spawn("scripted", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer).await;
        }
    });
    addr
}

fn client(addr: SocketAddr) -> Client {
    let limits = ClientLimits {
        deadline: short(300),
        answer_bytes_max: 1000,
        ..ClientLimits::default()
    };
    Client::tcp_with(&format!("http://{addr}"), limits, false).unwrap()
}

#[tokio::test]
async fn errors_tell_what_happened_and_whether_it_may_have_arrived() {
    let tasks = Tasks::new();
    let large: &'static [u8] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n".as_slice(),
        &[b' '; 2000],
    ]
    .concat()
    .leak();
    let cases: [(&'static [u8], &str, bool); 7] = [
        (b"", "the connection to http://ADDR broke", true),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
            "the connection to http://ADDR broke",
            true,
        ),
        (
            b"SSH-2.0-OpenSSH_9\r\n",
            "the connection to http://ADDR broke",
            true,
        ),
        (
            b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy",
            "http://ADDR answered 503",
            true,
        ),
        (
            b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n",
            "http://ADDR answered 302",
            true,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{]",
            "the answer from http://ADDR is not understood",
            true,
        ),
        (
            large,
            "the answer from http://ADDR is larger than 1000 bytes",
            true,
        ),
    ];
    for (answer, expected, arrived) in cases {
        let addr = scripted(&tasks, answer).await;
        let error = client(addr).post::<_, ()>("/x", &1).await.unwrap_err();
        assert_eq!(
            error.to_string().replace(&addr.to_string(), "ADDR"),
            expected
        );
        assert_eq!(error.may_have_arrived(), arrived);
    }

    // Nobody listens.
    let addr = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = client(addr).get::<()>("/x").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(!error.may_have_arrived() && error.may_pass());
    assert!(
        logs::chain(&error).contains("refused"),
        "{}",
        logs::chain(&error)
    );
    let error = Client::unix("/nonexistent.sock", None)
        .get::<()>("/x")
        .await
        .unwrap_err();
    assert!(
        logs::chain(&error).contains("No such file"),
        "{}",
        logs::chain(&error)
    );
    assert!(matches!(
        client(addr).get::<()>("x").await,
        Err(ClientError::Path(_))
    ));
    assert!(matches!(
        client(addr).get::<()>("/a b").await,
        Err(ClientError::Path(_))
    ));
    // It never ends by itself.
    assert!(tasks.drain(short(10)).await.is_err());
}

#[tokio::test]
async fn deadlines_hold_for_the_head_and_for_the_body() {
    let tasks = Tasks::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tasks.spawn("slow", async move {
        let mut held = Vec::new();
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
            held.push(stream);
        }
        std::future::pending::<()>().await;
    });
    for _ in 0..2 {
        let started = Instant::now();
        let error = client(addr).get::<()>("/x").await.unwrap_err();
        assert!(matches!(error, ClientError::Deadline { .. }), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(3));
    }
    assert!(tasks.drain(short(10)).await.is_err());
}

#[tokio::test]
async fn problems_headers_and_queries_travel() {
    let echo = |request: Request| async move {
        #[derive(serde::Deserialize)]
        struct Query {
            q: String,
        }
        let query: Query = request.query()?;
        let token = request
            .bearer()
            .ok_or_else(|| Problem::new(Code::Unauthenticated, "Sign in."))?;
        Ok(reply::ok(&(
            query.q,
            token.expose_secret(),
            request.header("x-extra"),
        )))
    };
    let site = Site::start(table([(Method::GET, "/echo", echo)]), Limits::default()).await;
    let client = site.client();
    let error = client
        .call(Method::GET, "/echo")
        .query("q", "x")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::Unauthenticated);
    assert_eq!(error.to_string(), "Sign in.");
    let error = client
        .call(Method::GET, "/echo?p=1")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.problem().unwrap().details[0].field, "p");

    let client = client.with_bearer(&"fb_1_secret".into()).unwrap();
    let call = client
        .call(Method::GET, "/echo")
        .query("q", "a&b=ü +%")
        .header("x-extra", "1")
        .unwrap();
    let answer: (String, String, Option<String>) = call.send().await.unwrap().json().unwrap();
    assert_eq!(
        answer,
        ("a&b=ü +%".into(), "fb_1_secret".into(), Some("1".into()))
    );
    assert!(!format!("{client:?}{:?}", client.call(Method::GET, "/")).contains("secret"));
    assert!(client.with_bearer(&"line\nend".into()).is_err());
    site.drain().await;
}

#[tokio::test]
async fn connections_are_reused_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let client = Client::unix(&path, None);
    for _ in 0..3 {
        let tasks = Tasks::new();
        let listener = forebay_http::Listener::unix(&path, 0o600).unwrap();
        // More calls than connections are allowed: they must share one.
        let limits = Limits {
            connections_max: 1,
            ..Limits::default()
        };
        tasks.spawn(
            "http",
            forebay_http::serve(listener, hello(), limits, tasks.clone()),
        );
        for _ in 0..50 {
            assert_eq!(client.get::<String>("/hello").await.unwrap(), "hello");
        }
        tasks.drain(Duration::from_secs(5)).await.unwrap();
    }
}

#[tokio::test]
async fn many_calls_share_one_http2_connection() {
    let together = Arc::new(AtomicU32::new(0));
    let handler = {
        let together = together.clone();
        move |_request| {
            let together = together.clone();
            async move {
                together.fetch_add(1, Ordering::SeqCst);
                super::until("all are here", || together.load(Ordering::SeqCst) >= 20).await;
                Ok(reply::ok("hello"))
            }
        }
    };
    let limits = Limits {
        connections_max: 1,
        ..Limits::default()
    };
    let site = Site::start(table([(Method::GET, "/hello", handler)]), limits).await;
    let url = format!("http://{}", site.addr);
    let client = Client::tcp_with(&url, ClientLimits::default(), true).unwrap();
    let calls = (0..20).map(|_| client.get::<String>("/hello"));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == "hello"));
    // An idle HTTP/2 connection does not hold up a drain.
    site.drain().await;
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_and_bodies_stream() {
    let slow = |_request: Request| async {
        let pieces = futures_util::stream::unfold(0, |n| async move {
            tokio::time::sleep(short(20)).await;
            (n < 5).then(|| (Ok(format!("{n} ").into()), n + 1))
        });
        Ok(reply::stream(StatusCode::OK, "text/plain", pieces))
    };
    let site = Site::start(table([(Method::GET, "/slow", slow)]), Limits::default()).await;
    let limits = ClientLimits {
        calls_max: 1,
        ..ClientLimits::default()
    };
    let client = Client::tcp_with(&format!("http://{}", site.addr), limits, false).unwrap();
    let held = client.call(Method::GET, "/slow").stream().await.unwrap();
    let error = client
        .call(Method::GET, "/slow")
        .deadline(short(30))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Deadline { .. }), "{error:?}");
    let pieces: Vec<_> = futures_util::StreamExt::collect(held.into_bytes()).await;
    let text: Vec<u8> = pieces
        .into_iter()
        .flat_map(|piece| piece.unwrap().to_vec())
        .collect();
    assert_eq!(text, b"0 1 2 3 4 ");
    assert_eq!(
        client.call(Method::GET, "/slow").send().await.unwrap().body,
        "0 1 2 3 4 "
    );
    site.drain().await;
}
