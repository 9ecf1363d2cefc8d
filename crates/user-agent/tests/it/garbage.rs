//! Callers that speak nonsense.

use std::time::Duration;

use forebay_wire::ipc::Hello;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::rig::{JSON, Rig};

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

#[tokio::test]
async fn a_thousand_garbled_connections_do_no_harm() {
    let rig = Rig::start().await;
    rig.get("/v1/hello").await.json::<Hello>();
    let pid = rig.daemon.pid();
    let before = (descriptors(pid), rig.daemon.memory().unwrap().rss);
    let garbage: [&[u8]; 5] = [
        b"",
        b"\x00\xff\x16\x03\x01 not http\r\n\r\n",
        b"GET /v1/hello HTTP/1.1\r\n",
        b"POST /v1/run HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for batch in 0..10 {
        let mut open = Vec::new();
        for number in 0..100 {
            let mut stream = UnixStream::connect(&rig.socket).await.unwrap();
            // It may be cut while we write.
            let _ = stream
                .write_all(garbage[(batch + number) % garbage.len()])
                .await;
            open.push(stream);
        }
        rig.get("/v1/hello").await.json::<Hello>();
    }
    let begun = tokio::time::Instant::now();
    while descriptors(pid) > before.0 + 4 {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{} descriptors",
            descriptors(pid)
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = rig.daemon.memory().unwrap().rss;
    assert!(
        after < before.1 + (16 << 20),
        "from {} to {after} bytes",
        before.1
    );
}

#[tokio::test]
async fn bodies_that_are_not_what_is_asked_for_are_problems() {
    use bytes::Bytes;
    use forebay_wire::Code;

    let rig = Rig::start().await;
    for body in [
        &b""[..],
        b"nonsense",
        b"[]",
        b"{\"program\":7}",
        b"\xff\xfe",
        b"{}",
    ] {
        let answer = crate::rig::call(
            &rig.socket,
            "POST",
            "/v1/run",
            &[JSON],
            Bytes::from_static(body),
        )
        .await;
        assert_eq!(answer.problem().code, Code::Malformed, "{body:?}");
    }
    let deep = vec![b'['; 1 << 20];
    let answer =
        crate::rig::call(&rig.socket, "POST", "/v1/local/jobs", &[JSON], deep.into()).await;
    assert_eq!(answer.problem().code, Code::Malformed);
}

/// A connection that is held open without a request is closed before long.
#[tokio::test]
async fn silence_is_cut() {
    let rig = Rig::start().await;
    let mut stream = UnixStream::connect(&rig.socket).await.unwrap();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "still open after 30 s");
}
