//! Limits, drain, and peers that misbehave.

use super::{Site, exchange, hello, read_to_end, read_until, short, table, until, write_then_read};
use forebay_http::{
    Code, Limits, Problem, reply, request,
    routes::{Access, Route, Table},
};
use forebay_service::Metrics;
use http::Method;
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt as _, time::sleep};
use warp::Filter as _;

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
const GET_CLOSE: &[u8] = b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_peer_that_sends_nothing_is_closed_and_half_a_header_is_told() {
    let limits = Limits {
        header_timeout: short(100),
        idle_timeout: short(100),
        ..Limits::default()
    };
    let site = Site::start(hello(), limits).await;
    let started = Instant::now();
    // Half of HTTP/2's opening is what hyper itself would wait for without an end.
    for begun in ["", "PRI * HT"] {
        let answer = exchange(&mut site.connect().await, begun.as_bytes()).await;
        assert_eq!(answer, "", "after {begun:?}");
    }
    let half = b"GET /hello HTTP/1.1\r\nhost: x\r\nx-half: ";
    let answer = exchange(&mut site.connect().await, half).await;
    assert_eq!(unparsed(&answer).code, Code::Deadline);
    // A later request on a connection that had a good one, too.
    let mut stream = site.connect().await;
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "\"hello\"").await;
    let answer = exchange(&mut stream, b"GET /hel").await;
    assert_eq!(unparsed(&answer).code, Code::Deadline);
    // One that has said nothing since its last answer is only closed.
    let mut stream = site.connect().await;
    stream.write_all(GET).await.unwrap();
    let answer = exchange(&mut stream, b"").await;
    assert!(answer.ends_with("\"hello\""), "{answer}");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    site.drain().await;
}

#[tokio::test]
async fn a_byte_at_a_time_does_not_hold_a_connection() {
    let limits = Limits {
        header_timeout: short(150),
        ..Limits::default()
    };
    let site = Site::start(hello(), limits).await;
    let mut stream = site.connect().await;
    let started = Instant::now();
    for byte in GET.iter().cycle() {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(short(10)).await;
        assert!(started.elapsed() < Duration::from_secs(8));
    }
    site.drain().await;
}

/// The problem in an answer to something that is no request, which must be a whole answer.
fn unparsed(answer: &str) -> Problem {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer but {answer:?}"));
    let problem: Problem = serde_json::from_str(body)
        .unwrap_or_else(|error| panic!("no problem but {answer:?}: {error}"));
    let status = format!("HTTP/1.1 {} ", problem.code.status());
    assert!(head.starts_with(&status), "{head}");
    for line in [
        "content-type: application/json".to_owned(),
        "connection: close".to_owned(),
        format!("content-length: {}", body.len()),
        format!("x-request-id: {}", problem.request_id),
    ] {
        assert!(head.lines().any(|has| has == line), "{line} in {head}");
    }
    problem
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_a_problem() {
    let site = Site::start(hello(), Limits::default()).await;
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200_000));
    let long_header = format!("GET /hello HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many_headers = format!("GET /hello HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(5000));
    for (garbage, code) in [
        (
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(),
            Code::Malformed,
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
            Code::Malformed,
        ),
        (b"GET /hello HTTP/9.9\r\n\r\n", Code::Malformed),
        (
            b"POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            Code::Malformed,
        ),
        (
            b"POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            Code::Malformed,
        ),
        (b"GET http://[ HTTP/1.1\r\n\r\n", Code::Malformed),
        (
            b"GET /h\xffllo HTTP/1.1\r\nbad header\r\n\r\n",
            Code::Malformed,
        ),
        (long_path.as_bytes(), Code::TooLarge),
        (long_header.as_bytes(), Code::TooLarge),
        (many_headers.as_bytes(), Code::TooLarge),
    ] {
        let shown = String::from_utf8_lossy(&garbage[..garbage.len().min(60)]).into_owned();
        // Also as a client that writes all of it before it reads: the answer must not be lost.
        let answer = exchange(&mut site.connect().await, garbage).await;
        assert_eq!(unparsed(&answer).code, code, "{shown:?}: {answer}");
        let answer = write_then_read(&mut site.connect().await, garbage).await;
        assert_eq!(unparsed(&answer).code, code, "{shown:?}: {answer}");
        // And behind a good request, on the same connection and in the same packet.
        let mut stream = site.connect().await;
        stream.write_all(GET).await.unwrap();
        read_until(&mut stream, "\"hello\"").await;
        let answer = exchange(&mut stream, garbage).await;
        assert_eq!(unparsed(&answer).code, code, "{shown:?}: {answer}");
        let answer = exchange(&mut site.connect().await, &[GET, garbage].concat()).await;
        let (good, bad) = answer.split_at(answer.find("\"hello\"").expect("an answer") + 7);
        assert!(good.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert_eq!(unparsed(bad).code, code, "{shown:?}: {answer}");
    }
    // HTTP/2 says it in its own way.
    let http2_garbage = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0xff; 200]].concat();
    let answer = exchange(&mut site.connect().await, &http2_garbage).await;
    assert!(!answer.contains("HTTP/1"), "{answer:?}");
    assert_eq!(
        site.client().get::<String>("/hello").await.unwrap(),
        "hello"
    );
    site.drain().await;
}

/// What a handler answers is its own, whatever it looks like.
#[tokio::test]
async fn an_answer_that_looks_like_a_servers_own_is_left_alone() {
    let refuse = |_request| async {
        let mut response = reply::bytes(http::StatusCode::BAD_REQUEST, "text/plain", "mine");
        response.headers_mut().clear();
        Ok(response)
    };
    let site = Site::start(table([(Method::GET, "/mine", refuse)]), Limits::default()).await;
    let get = b"GET /mine HTTP/1.1\r\nhost: x\r\n\r\n";
    let close = b"GET /mine HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let twice = [get.as_slice(), close].concat();
    let answer = exchange(&mut site.connect().await, &twice).await;
    assert_eq!(answer.matches("HTTP/1.1 400 ").count(), 2, "{answer}");
    assert_eq!(answer.matches("mine").count(), 2, "{answer}");
    site.drain().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let limits = Limits {
        connections_max: 2,
        idle_timeout: short(200),
        ..Limits::default()
    };
    let site = Site::start(hello(), limits).await;
    let (mut one, mut two) = (site.connect().await, site.connect().await);
    for stream in [&mut one, &mut two] {
        stream.write_all(GET).await.unwrap();
        read_until(stream, "\"hello\"").await;
    }
    let mut three = site.connect().await;
    three.write_all(GET_CLOSE).await.unwrap();
    let early = tokio::time::timeout(short(50), three.readable()).await;
    assert!(early.is_err(), "not served while two are open");
    drop(one);
    assert!(read_to_end(&mut three).await.contains("200 OK"));
    // Idle ones do not hold their place for ever either.
    let mut four = site.connect().await;
    let mut five = site.connect().await;
    assert!(exchange(&mut four, GET_CLOSE).await.contains("200 OK"));
    assert!(exchange(&mut five, GET_CLOSE).await.contains("200 OK"));
    site.drain().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut() {
    let flood = |_request| async {
        let pieces = std::iter::repeat_with(|| Ok(vec![b'x'; 64 << 10].into()));
        Ok(reply::stream(
            http::StatusCode::OK,
            "text/plain",
            futures_util::stream::iter(pieces),
        ))
    };
    let limits = Limits {
        write_timeout: short(100),
        connections_max: 1,
        ..Limits::default()
    };
    let site = Site::start(table([(Method::GET, "/hello", flood)]), limits).await;
    let mut stalled = site.connect().await;
    stalled.write_all(GET).await.unwrap();
    // The only place becomes free again, so the next one is served.
    let mut next = site.connect().await;
    next.write_all(GET).await.unwrap();
    read_until(&mut next, "200 OK").await;
    drop((stalled, next));
    site.drain().await;
}

#[tokio::test]
async fn a_drain_lets_requests_end_and_refuses_new_ones() {
    let slow = |_request| async {
        sleep(short(200)).await;
        Ok(reply::ok("done"))
    };
    let site = Site::start(table([(Method::GET, "/slow", slow)]), Limits::default()).await;
    let mut idle = site.connect().await;
    let mut half = site.connect().await;
    half.write_all(b"GET /slow HT").await.unwrap();
    let client = site.client();
    let answer = site
        .tasks
        .spawn("call", async move { client.get::<String>("/slow").await });
    sleep(short(50)).await;
    let (addr, started) = (site.addr, Instant::now());
    site.tasks.stop();
    assert_eq!(read_to_end(&mut idle).await, "");
    sleep(short(20)).await;
    assert!(
        tokio::net::TcpStream::connect(addr).await.is_err(),
        "no longer listening"
    );
    assert_eq!(answer.await.unwrap().unwrap(), "done");
    site.drain().await;
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn what_does_not_end_is_cut_at_the_drain_deadline() {
    let endless = |_request| async {
        Ok(reply::stream(
            http::StatusCode::OK,
            "text/plain",
            futures_util::stream::pending(),
        ))
    };
    let hang = |_request| async { pending::<Result<forebay_http::Response, Problem>>().await };
    let mut routes = table([(Method::GET, "/endless", endless)]);
    routes.add(Route::new(Method::GET, "/hang", Access::Public, hang));
    let limits = Limits {
        drain_deadline: short(200),
        ..Limits::default()
    };
    let site = Site::start(routes, limits).await;
    let mut endless = site.connect().await;
    endless
        .write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut endless, "200 OK").await;
    let mut hanging = site.connect().await;
    hanging
        .write_all(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    sleep(short(50)).await;
    let started = Instant::now();
    site.drain().await;
    let took = started.elapsed();
    assert!(
        (short(190)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    read_to_end(&mut endless).await;
    read_to_end(&mut hanging).await;
}

#[tokio::test]
async fn a_client_that_leaves_does_not_undo_a_shielded_change() {
    let done = Arc::new(AtomicU32::new(0));
    let begun = Arc::new(AtomicBool::new(false));
    let tasks = forebay_service::Tasks::new();
    let handler = {
        let (done, begun) = (done.clone(), begun.clone());
        move |_request| {
            let (done, begun) = (done.clone(), begun.clone());
            async move {
                begun.store(true, Ordering::SeqCst);
                sleep(short(150)).await;
                done.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Problem>(reply::no_content())
            }
        }
    };
    let mut routes = Table::new();
    routes
        .add(Route::new(Method::POST, "/change", Access::Public, handler.clone()).shielded(&tasks));
    routes.add(Route::new(
        Method::POST,
        "/plain",
        Access::Public,
        handler.clone(),
    ));
    routes.add(
        Route::new(Method::POST, "/late", Access::Public, handler)
            .shielded(&tasks)
            .deadline(short(20)),
    );
    let site = Site::start(routes, Limits::default()).await;
    for (path, expected) in [("change", 1), ("plain", 1)] {
        begun.store(false, Ordering::SeqCst);
        let mut stream = site.connect().await;
        let request = format!("POST /{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        until("the handler runs", || begun.load(Ordering::SeqCst)).await;
        drop(stream);
        sleep(short(300)).await;
        assert_eq!(done.load(Ordering::SeqCst), expected, "{path}");
    }
    // Its deadline ends the wait, not the change.
    let error = site
        .client()
        .call(Method::POST, "/late")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::Deadline);
    tasks.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 2);
    site.drain().await;
}

#[tokio::test]
async fn a_panic_and_a_hanging_handler_are_problems() {
    let hang = |_request| async {
        sleep(Duration::from_secs(60)).await;
        Ok::<_, Problem>(reply::no_content())
    };
    let panics = |request: forebay_http::Request| async move {
        assert!(request.path().is_empty(), "a bug");
        Ok::<_, Problem>(reply::no_content())
    };
    let mut routes = Table::new();
    routes.add(Route::new(Method::GET, "/hang", Access::Public, hang));
    routes.add(Route::new(Method::GET, "/panic", Access::Public, panics));
    let limits = Limits {
        request_timeout: short(50),
        ..Limits::default()
    };
    let site = Site::start(routes, limits).await;
    let client = site.client();
    for (path, code) in [("/hang", Code::Deadline), ("/panic", Code::Internal)] {
        let error = client.get::<String>(path).await.unwrap_err();
        let problem = error.problem().unwrap();
        assert_eq!(problem.code, code);
        assert_eq!(problem.request_id.len(), 16);
        assert!(!problem.message.contains("a bug"));
    }
    site.drain().await;
}

#[tokio::test]
async fn request_ids_and_metrics() {
    let metrics = Metrics::new();
    let tasks = forebay_service::Tasks::new();
    let listener = forebay_http::Listener::tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let addr = listener.tcp_address().unwrap();
    let echo = |request: forebay_http::Request| async move { Ok(reply::ok(request.id().as_str())) };
    let app =
        forebay_http::App::from(table([(Method::GET, "/id/{x}", echo)])).with_metrics(&metrics);
    let limits = Limits {
        trust_request_id: true,
        ..Limits::default()
    };
    tasks.spawn(
        "http",
        forebay_http::serve(listener, app, limits, tasks.clone()),
    );
    let client = forebay_http::Client::tcp(&format!("http://{addr}")).unwrap();
    let call = client
        .call(Method::GET, "/id/1")
        .header("x-request-id", "from-a-friend")
        .unwrap();
    let answer = call.send().await.unwrap();
    assert_eq!(answer.header("x-request-id"), Some("from-a-friend"));
    assert_eq!(answer.json::<String>().unwrap(), "from-a-friend");
    let answer = client.call(Method::GET, "/id/2").send().await.unwrap();
    assert_eq!(
        answer.header("x-request-id"),
        Some(answer.json::<String>().unwrap().as_str())
    );
    client.get::<String>("/nowhere").await.unwrap_err();
    let text = metrics.encode();
    for line in [
        "forebay_http_requests_total{method=\"GET\",route=\"/id/{x}\",status=\"200\"} 2\n",
        "forebay_http_requests_total{method=\"GET\",route=\"(none)\",status=\"404\"} 1\n",
        "forebay_http_request_seconds_count{route=\"/id/{x}\"} 2\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    tasks.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn any_warp_filter_can_be_served_and_its_rejections_are_problems() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("page.txt"), "a page").unwrap();
    let mut routes = hello();
    routes.fallback(
        warp::fs::dir(directory.path().to_owned())
            .map(warp::Reply::into_response)
            .boxed(),
    );
    let by_hand = warp::path!("hand" / u32)
        .and(request())
        .map(|number: u32, request: forebay_http::Request| {
            reply::ok(&(number, request.method().as_str()))
        })
        .boxed();
    routes.add(Route::filter(
        Method::GET,
        "/hand/{n}",
        Access::Public,
        by_hand,
    ));
    let site = Site::start(routes, Limits::default()).await;
    let client = site.client();
    let page = client.call(Method::GET, "/page.txt").send().await.unwrap();
    assert_eq!(page.body, "a page");
    assert_eq!(
        client.get::<(u32, String)>("/hand/7").await.unwrap(),
        (7, "GET".to_owned())
    );
    for path in [
        "/nothing",
        "/hand/x",
        "/../etc/passwd",
        "/%2e%2e/etc/passwd",
    ] {
        let error = client.get::<String>(path).await.unwrap_err();
        let problem = error.problem().unwrap_or_else(|| panic!("{path}: {error}"));
        assert_eq!(problem.code, Code::NotFound, "{path}");
        assert!(!problem.request_id.is_empty());
    }
    site.drain().await;
}

#[tokio::test]
async fn sixty_routes_are_listed_and_dispatched() {
    let mut routes = Table::new();
    for n in 0..60 {
        let access = if n == 0 {
            Access::Public
        } else {
            Access::Authenticated
        };
        routes.add(Route::with(
            &n,
            Method::GET,
            &format!("/r{n}/{{id}}"),
            access,
            |n: u32, request: forebay_http::Request| async move {
                Ok::<_, Problem>(reply::ok(&(n, request.param::<u32>("id", "thing")?)))
            },
        ));
    }
    let listed: Vec<_> = routes.routes().map(|route| format!("{route:?}")).collect();
    assert_eq!(listed.len(), 60);
    assert_eq!(
        listed[..2],
        ["GET /r0/{id} (Public)", "GET /r1/{id} (Authenticated)"]
    );
    assert_eq!(routes.routes().nth(7).unwrap().example_path(), "/r7/id");
    let site = Site::start(routes, Limits::default()).await;
    let client = site.client();
    assert_eq!(client.get::<(u32, u32)>("/r59/7").await.unwrap(), (59, 7));
    let error = client.get::<(u32, u32)>("/r59/seven").await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::NotFound);
    let error = client.post::<_, ()>("/r59/7", &()).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::MethodNotAllowed);
    site.drain().await;
}

#[tokio::test]
async fn an_idle_http2_connection_ends_and_the_client_opens_another() {
    let limits = Limits {
        idle_timeout: short(100),
        connections_max: 1,
        ..Limits::default()
    };
    let site = Site::start(hello(), limits).await;
    let url = format!("http://{}", site.addr);
    let client =
        forebay_http::Client::tcp_with(&url, forebay_http::client::ClientLimits::default(), true)
            .unwrap();
    assert_eq!(client.get::<String>("/hello").await.unwrap(), "hello");
    sleep(short(300)).await;
    // The only place must be free again.
    assert!(
        exchange(&mut site.connect().await, GET_CLOSE)
            .await
            .contains("200 OK")
    );
    assert_eq!(client.get::<String>("/hello").await.unwrap(), "hello");
    site.drain().await;
}

#[tokio::test]
async fn upgraded_connections_count_and_are_cut_at_the_drain_deadline() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let tasks = forebay_service::Tasks::new();
    let mut routes = Table::new();
    routes.add(Route::with(
        &tasks,
        Method::GET,
        "/echo",
        Access::Public,
        |tasks: forebay_service::Tasks, request: forebay_http::Request| async move {
            request.upgrade(&tasks, "echo", |mut io| async move {
                let mut buffer = [0; 64];
                while let Ok(count @ 1..) = io.read(&mut buffer).await {
                    if io.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            })
        },
    ));
    let limits = Limits {
        connections_max: 1,
        drain_deadline: short(150),
        idle_timeout: short(50),
        ..Limits::default()
    };
    let site = Site::start(routes, limits).await;
    let mut io = site.client().upgrade("/echo", "echo").await.unwrap();
    // Longer than the idle timeout of a connection that still speaks HTTP.
    sleep(short(200)).await;
    let mut waiting = site.connect().await;
    waiting.write_all(GET).await.unwrap();
    io.write_all(b"still here").await.unwrap();
    let mut buffer = [0; 10];
    io.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"still here");
    assert!(
        tokio::time::timeout(short(50), waiting.readable())
            .await
            .is_err(),
        "it holds the place"
    );
    drop(waiting);
    site.drain().await;
    let end = tokio::time::timeout(Duration::from_secs(5), io.read(&mut buffer));
    assert_eq!(end.await.expect("is cut").unwrap_or(0), 0);
    tasks
        .drain(Duration::from_secs(5))
        .await
        .expect("its owner has seen the end");
}
