//! A connection on which the side that dialled serves.

use super::{Site, short, table, until};
use forebay_http::{
    Client, ClientError, Code, Limits, Request,
    client::ClientLimits,
    link::{self, KeepAlive, Link},
    reply,
    routes::{Access, Route, Table},
};
use forebay_service::Tasks;
use futures_util::stream;
use http::{Method, StatusCode};
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

const PROTOCOL: &str = "forebay-link";

/// The side that is dialled: hands each link it accepts to the test.
async fn hub(keep_alive: KeepAlive) -> (Site, mpsc::Receiver<Link>) {
    let (sender, receiver) = mpsc::channel(8);
    let tasks = Tasks::new();
    let mut routes = Table::new();
    let state = (tasks.clone(), sender);
    routes.add(Route::with(
        &state,
        Method::GET,
        "/link",
        Access::Rule("agent"),
        move |(tasks, sender): (Tasks, mpsc::Sender<Link>), request: Request| async move {
            let driver = tasks.clone();
            request.upgrade(&tasks, PROTOCOL, move |io| async move {
                let link = Link::connect(io, &driver, ClientLimits::default(), keep_alive).await;
                sender.send(link.unwrap()).await.unwrap();
            })
        },
    ));
    let listener = forebay_http::Listener::tcp("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let addr = listener.tcp_address().unwrap();
    tasks.spawn(
        "hub",
        forebay_http::serve(listener, routes, Limits::default(), tasks.clone()),
    );
    (Site { tasks, addr }, receiver)
}

/// The side that dials, with what it serves.
async fn dial(site: &Site, table: Table, limits: Limits) -> Tasks {
    let tasks = Tasks::new();
    let io = site.client().upgrade("/link", PROTOCOL).await.unwrap();
    tasks.spawn("link", link::serve(io, table, limits, tasks.clone()));
    tasks
}

#[tokio::test]
async fn calls_run_against_the_direction_of_the_connection() {
    let (hub, mut links) = hub(KeepAlive::default()).await;
    let logs = |request: Request| async move {
        assert_eq!(request.peer(), forebay_http::Peer::default());
        let id: String = request.param("id", "job")?;
        let pieces = (0..100).map(move |n| Ok(format!("{id} {n}\n").repeat(1000).into()));
        Ok(reply::stream(
            StatusCode::OK,
            "text/plain",
            stream::iter(pieces),
        ))
    };
    // Idle for longer than these: a link is not an ordinary connection.
    let limits = Limits {
        idle_timeout: short(50),
        header_timeout: short(50),
        ..Limits::default()
    };
    let agent = dial(&hub, table([(Method::GET, "/logs/{id}", logs)]), limits).await;
    let link = links.recv().await.unwrap();
    tokio::time::sleep(short(200)).await;

    let calls = (0..8).map(|n| {
        let client = link.client.clone();
        async move {
            client
                .call(Method::GET, &format!("/logs/j{n}"))
                .send()
                .await
                .unwrap()
                .body
        }
    });
    for (n, body) in futures_util::future::join_all(calls)
        .await
        .into_iter()
        .enumerate()
    {
        assert!(body.starts_with(format!("j{n} 0\n").as_bytes()));
        assert!(body.ends_with(format!("j{n} 99\n").as_bytes()));
    }
    let error = link.client.get::<()>("/nowhere").await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::NotFound);

    // The agent stops: the link ends and says so, and calls fail as not sent.
    agent.drain(Duration::from_secs(5)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), link.closed())
        .await
        .unwrap();
    let error = link.client.get::<()>("/logs/j1").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    hub.drain().await;
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_other_side() {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (hub, mut links) = hub(KeepAlive::default()).await;
    let (begun, cancelled) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let hang = {
        let (begun, cancelled) = (begun.clone(), cancelled.clone());
        move |_request| {
            let (begun, guard) = (begun.clone(), Guard(cancelled.clone()));
            async move {
                let _guard = guard;
                begun.store(true, Ordering::SeqCst);
                pending().await
            }
        }
    };
    let agent = dial(
        &hub,
        table([(Method::GET, "/hang", hang)]),
        Limits::default(),
    )
    .await;
    let link = links.recv().await.unwrap();
    let error = link
        .client
        .call(Method::GET, "/hang")
        .deadline(short(100))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Deadline { .. }), "{error:?}");
    assert!(begun.load(Ordering::SeqCst));
    until("cancelled", || cancelled.load(Ordering::SeqCst)).await;
    // Stopping the calling side ends the link too.
    let started = Instant::now();
    hub.drain().await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    agent.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_silent_other_side_ends_the_link() {
    let keep_alive = KeepAlive {
        interval: short(50),
        timeout: short(100),
    };
    let (hub, mut links) = hub(keep_alive).await;
    // Upgrades, shakes hands as HTTP/2, and then never reads again.
    let mut io = hub.client().upgrade("/link", PROTOCOL).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    tokio::io::AsyncWriteExt::write_all(&mut io, &settings)
        .await
        .unwrap();
    let link = links.recv().await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), link.closed())
        .await
        .expect("noticed in time");
    assert!(link.is_closed());
    drop(io);
    hub.drain().await;
}

#[tokio::test]
async fn only_what_asks_for_the_protocol_is_upgraded() {
    let (hub, _links) = hub(KeepAlive::default()).await;
    let client = hub.client();
    let error = client.get::<()>("/link").await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::Version);
    let error = client.upgrade("/link", "websocket").await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, Code::Version);
    let plain = Site::start(super::hello(), Limits::default()).await;
    let client = Client::tcp(&format!("http://{}", plain.addr)).unwrap();
    let error = client.upgrade("/hello", PROTOCOL).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotUpgraded { status: 200, .. }),
        "{error:?}"
    );
    plain.drain().await;
    hub.drain().await;
}

#[tokio::test]
async fn a_drain_ends_links_that_are_idle_and_waits_for_calls() {
    let (hub, mut links) = hub(KeepAlive::default()).await;
    let slow = |_request| async {
        tokio::time::sleep(short(200)).await;
        Ok(reply::ok("done"))
    };
    let agent = dial(
        &hub,
        table([(Method::GET, "/slow", slow)]),
        Limits::default(),
    )
    .await;
    let link = links.recv().await.unwrap();
    let (answer, drained) = tokio::join!(link.client.get::<String>("/slow"), async {
        tokio::time::sleep(short(50)).await;
        agent.drain(Duration::from_secs(5)).await
    });
    assert_eq!(answer.unwrap(), "done");
    drained.unwrap();
    hub.drain().await;
}
