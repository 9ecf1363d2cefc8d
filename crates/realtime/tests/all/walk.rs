//! Who gets in.

use std::time::Duration;

use forebay_http::{ClientError, Code, routes::Access};
use forebay_realtime::{Realtime, config::Config, server};
use forebay_service::{Metrics, Strictness, Tasks};
use http::Method;

use crate::{reader::Socket, rig::Rig};

/// Everything but this list answers 401 to callers without a good token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_without_credentials() {
    let rig = Rig::new().await;
    let running = rig.realtime("").await;
    let config = Config::from_text("test.toml", "", Strictness::default()).expect("good");
    let realtime = Realtime::new(rig.db.store(), config, Tasks::new(), Metrics::new());
    let public = ["/health/live", "/health/ready", "/metrics"];
    let bad = [
        "fb_x",
        "garbage",
        "fb_k00000000000000000000000000_0000000000000000000000000000000000000000000",
    ];
    let bad = bad.map(|token| {
        running
            .client()
            .with_bearer(&token.into())
            .expect("a token")
    });
    let mut walked = 0;
    for route in server::table(&realtime).routes() {
        let expected = public.contains(&route.template());
        assert_eq!(route.access() == Access::Public, expected, "{route:?}");
        for client in bad.iter().chain([&running.client()]) {
            let answer = client
                .call(route.method().clone(), route.template())
                .send()
                .await;
            match answer {
                Ok(_) => assert!(expected, "{route:?}"),
                Err(ClientError::Problem(problem)) => {
                    assert_eq!(problem.code, Code::Unauthenticated, "{route:?}");
                    assert!(!problem.request_id.is_empty());
                }
                Err(error) => panic!("{route:?}: {error}"),
            }
        }
        walked += 1;
    }
    assert!(walked >= 5, "{walked}");
    // The same for one that knocks as WebSockets do.
    for headers in [&[][..], &[("authorization", "Bearer fb_x")][..]] {
        let refused = Socket::try_open(&running, headers).await.err();
        assert_eq!(refused.expect("refused").0, 401);
    }
}

/// A browser opens a WebSocket for any page, and says only which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_opens_no_socket() {
    let rig = Rig::new().await;
    let running = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let bearer = ann.bearer();
    for (origin, good) in [
        ("https://portal.example.org", true),
        ("https://portal.example.org.evil.example", false),
        ("http://portal.example.org", false),
        ("null", false),
        ("", false),
    ] {
        let headers = [("authorization", bearer.as_str()), ("origin", origin)];
        let opened = Socket::try_open(&running, &headers).await;
        match opened {
            Ok(_) => assert!(good, "{origin}"),
            Err((status, text)) => {
                assert_eq!((status, good), (403, false), "{origin}: {text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_websocket_is_told_so() {
    let rig = Rig::new().await;
    let running = rig.realtime("").await;
    let ann = rig.user("ann").await;
    let client = running.client_of(&ann);
    for headers in [
        &[][..],
        &[("sec-websocket-version", "13")],
        &[
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        &[
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
    ] {
        let mut call = client.call(Method::GET, "/rt/v1/ws");
        for (name, value) in headers {
            call = call.header(name, value).expect("a header");
        }
        match call.send().await {
            Err(ClientError::Problem(problem)) => {
                assert_eq!(problem.code, Code::Version, "{headers:?}");
            }
            other => panic!("{headers:?}: {other:?}"),
        }
    }
    // Nothing was taken by those.
    tokio::time::sleep(Duration::from_millis(10)).await;
    Socket::open(&running, &ann).await;
}
