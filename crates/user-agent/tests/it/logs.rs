//! Ranges of files, and waiting for them.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use forebay_wire::Code;
use forebay_wire::ipc::LOG_SIZE_HEADER;
use tokio::time::Instant;

use crate::rig::{Rig, call, escape, own, text};

fn url(path: &std::path::Path, more: &str) -> String {
    format!("/v1/log?path={}{more}", escape(&text(path)))
}

#[tokio::test]
async fn any_bytes_by_range() {
    let rig = Rig::start().await;
    let path = rig.home.join("a log & more?");
    let content: Vec<u8> = (0..=255).cycle().take(1000).collect();
    std::fs::write(&path, &content).unwrap();

    let whole = rig.get(&url(&path, "")).await;
    assert_eq!((whole.status, whole.header(LOG_SIZE_HEADER)), (200, "1000"));
    assert_eq!(whole.body, content);

    let part = rig.range(&url(&path, ""), "bytes=100-199").await;
    assert_eq!((part.status, part.header(LOG_SIZE_HEADER)), (206, "1000"));
    assert_eq!(part.header("content-range"), "bytes 100-199/1000");
    assert_eq!(part.body, content[100..200]);

    let rest = rig.range(&url(&path, "&max=16"), "bytes=990-").await;
    assert_eq!(
        (rest.status, rest.header("content-range")),
        (206, "bytes 990-999/1000")
    );
    let bounded = rig.range(&url(&path, "&max=16"), "bytes=900-").await;
    assert_eq!(bounded.header("content-range"), "bytes 900-915/1000");

    for range in ["bytes=1000-", "bytes=1000-2000", "bytes=5000-"] {
        let empty = rig.range(&url(&path, ""), range).await;
        assert_eq!(
            (empty.status, empty.header(LOG_SIZE_HEADER)),
            (206, "1000"),
            "{range}"
        );
        assert_eq!(empty.header("content-range"), "bytes */1000");
        assert!(empty.body.is_empty());
    }
}

#[tokio::test]
async fn a_wait_ends_with_growth() {
    let rig = Rig::start().await;
    let path = rig.home.join("log");
    let grow = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(&path, "first").unwrap();
        own(&path, &rig.account);
        Instant::now()
    };
    let begun = Instant::now();
    let waiting = url(&path, "&wait_ms=20000");
    let (answer, grown) = tokio::join!(rig.range(&waiting, "bytes=0-"), grow);
    assert_eq!(answer.body, "first");
    // 80 ms between looks, and room for a busy machine.
    assert!(
        grown.elapsed() < Duration::from_secs(1),
        "{:?}",
        grown.elapsed()
    );
    assert!(begun.elapsed() >= Duration::from_millis(300));

    let grow = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        file.write_all(b"second").unwrap();
        Instant::now()
    };
    let (answer, grown) = tokio::join!(rig.range(&waiting, "bytes=5-"), grow);
    assert_eq!(answer.body, "second");
    assert!(
        grown.elapsed() < Duration::from_secs(1),
        "{:?}",
        grown.elapsed()
    );

    let begun = Instant::now();
    let answer = rig.range(&url(&path, "&wait_ms=400"), "bytes=11-").await;
    assert_eq!((answer.status, answer.header(LOG_SIZE_HEADER)), (206, "11"));
    assert!(
        (400..2000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    let absent = rig
        .get(&url(&rig.home.join("absent"), "&wait_ms=200"))
        .await;
    assert_eq!(absent.problem().code, Code::NotFound);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_at_once() {
    let rig = Rig::start().await;
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        rig.home.join("fifo"),
        rustix::fs::Mode::from_raw_mode(0o666),
    )
    .unwrap();
    own(&rig.home.join("fifo"), &rig.account);
    let begun = Instant::now();
    for path in [
        rig.home.join("fifo"),
        "/dev/zero".into(),
        "/dev/tty".into(),
        rig.home.clone(),
        rig.socket.clone(),
    ] {
        let problem = rig.get(&url(&path, "&wait_ms=30000")).await.problem();
        assert_eq!(problem.code, Code::Invalid, "{}", path.display());
    }
    assert!(begun.elapsed() < Duration::from_secs(5));

    let path = rig.home.join("log");
    std::fs::write(&path, "x").unwrap();
    for bad in [
        "/v1/log".to_owned(),
        "/v1/log?path=relative".to_owned(),
        format!("/v1/log?path=%2F{}", "x".repeat(5000)),
        "/v1/log?path=%2Fa%00b".to_owned(),
        url(&path, "&wait_ms=30001"),
        url(&path, "&wait_ms=-1"),
        url(&path, "&unknown=1"),
        url(&path, "&max=0"),
    ] {
        let code = rig.get(&bad).await.problem().code;
        assert!(
            matches!(code, Code::Malformed | Code::Invalid),
            "{bad}: {code:?}"
        );
    }
    for range in ["bytes=5-2", "lines=1-2", "bytes=0-1,3-4", "nonsense"] {
        let code = rig.range(&url(&path, ""), range).await.problem().code;
        assert!(
            matches!(code, Code::Malformed | Code::Invalid),
            "{range}: {code:?}"
        );
    }
    if crate::rig::is_root() {
        std::fs::write(rig.guard.dir().join("secret"), "x").unwrap();
        std::os::unix::fs::chown(rig.guard.dir().join("secret"), Some(0), Some(0)).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(rig.guard.dir().join("secret"), mode).unwrap();
        let secret = rig.get(&url(&rig.guard.dir().join("secret"), "")).await;
        assert_eq!(secret.problem().code, Code::Forbidden);
    }
}

/// 1 GB passes through, and the process does not grow.
#[tokio::test]
async fn a_large_file_takes_constant_memory() {
    use http_body_util::BodyExt as _;

    const SIZE: u64 = 1 << 30;
    let rig = Rig::start().await;
    let path = rig.home.join("large");
    std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    own(&path, &rig.account);
    rig.range(&url(&path, ""), "bytes=0-1000000").await;
    let before = rig.daemon.memory().unwrap().rss;

    let stream = tokio::net::UnixStream::connect(&rig.socket).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    let request = hyper::Request::get(url(&path, ""))
        .header("host", "localhost")
        .header("range", "bytes=1-");
    let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let read = async {
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let (mut length, mut look_at, mut largest) = (0, 0, 0);
        while let Some(frame) = body.frame().await {
            length += frame.unwrap().into_data().unwrap().len() as u64;
            if length >= look_at {
                look_at += 32 << 20;
                largest = largest.max(rig.daemon.memory().unwrap().rss);
            }
        }
        (length, largest.max(rig.daemon.memory().unwrap().rss))
    };
    tokio::pin!(connection, read);
    let (length, largest) = tokio::select! {
        done = &mut read => done,
        _ = &mut connection => read.await,
    };
    assert_eq!(length, SIZE - 1);
    assert!(
        largest < before + (16 << 20),
        "from {before} to {largest} bytes"
    );
}

/// A reader that stops reading does not make the process read on, nor hold others up.
#[tokio::test]
async fn a_slow_reader_holds_nothing_up() {
    use tokio::io::AsyncWriteExt as _;

    let rig = Rig::start().await;
    let path = rig.home.join("large");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    own(&path, &rig.account);
    let before = rig.daemon.memory().unwrap().rss;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = tokio::net::UnixStream::connect(&rig.socket).await.unwrap();
        let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", url(&path, ""));
        stream.write_all(request.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    assert_eq!(
        call(&rig.socket, "GET", "/v1/hello", &[], Bytes::new())
            .await
            .status,
        200
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
    let after = rig.daemon.memory().unwrap().rss;
    assert!(
        after < before + (24 << 20),
        "from {before} to {after} bytes"
    );
}
