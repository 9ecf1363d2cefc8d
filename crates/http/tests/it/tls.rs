//! TLS: who is believed, and certificates that change while they are used.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use forebay_http::{
    Client, ClientError, Limits, Listener, Problem, Request, Response, reply,
    routes::{Access, Route, Table},
    tls::{Certificates, TlsError, Trust},
};
use forebay_service::{Tasks, logs};
use forebay_wire::Pin;
use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

struct Files {
    _dir: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let this = Self {
            cert: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
            _dir: dir,
        };
        this.renew();
        this
    }

    /// Another key and its certificate, in place of those before.
    fn renew(&self) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        fs::write(&self.cert, made.cert.pem()).unwrap();
        fs::write(&self.key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&self.key, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

async fn hello(_state: (), request: Request) -> Result<Response, Problem> {
    let version = request.header("x-name").unwrap_or("nobody").to_owned();
    Ok(reply::ok(&version))
}

async fn switch(tasks: Tasks, request: Request) -> Result<Response, Problem> {
    request.upgrade(&tasks, "echo", |mut io| async move {
        let mut byte = [0; 1];
        while io.read_exact(&mut byte).await.is_ok() {
            if io.write_all(&byte).await.is_err() {
                break;
            }
        }
    })
}

async fn serve(certificates: &Certificates, limits: Limits) -> (String, Tasks) {
    let tasks = Tasks::new();
    let mut table = Table::new();
    table.add(Route::with(
        &(),
        Method::GET,
        "/hello",
        Access::Public,
        hello,
    ));
    table.add(Route::with(
        &tasks,
        Method::GET,
        "/echo",
        Access::Public,
        switch,
    ));
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let listener = listener.with_tls(certificates).unwrap();
    let url = format!("https://{}", listener.tcp_address().unwrap());
    let server = forebay_http::serve(listener, table, limits, tasks.clone());
    drop(tasks.spawn("http", server));
    (url, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_key_is_believed_and_no_other() {
    let (files, other) = (Files::new(), Files::new());
    let certificates = Certificates::load(&files.cert, &files.key).unwrap();
    let (url, _tasks) = serve(&certificates, Limits::default()).await;
    let pin = certificates.pin();
    for http2 in [false, true] {
        let limits = forebay_http::client::ClientLimits::default();
        let client = Client::to_with(&url, Trust::Pin(pin), limits, http2).unwrap();
        let call = client.call(Method::GET, "/hello").header("x-name", "ann");
        let answer = call.unwrap().send().await.unwrap();
        assert_eq!(answer.json::<String>().unwrap(), "ann");
    }
    // A tunnel goes through it as well.
    let client = Client::to(&url, Trust::Pin(pin)).unwrap();
    let mut io = client.upgrade("/echo", "echo").await.unwrap();
    io.write_all(b"x").await.unwrap();
    let mut byte = [0; 1];
    io.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"x");

    let wrong = Certificates::load(&other.cert, &other.key).unwrap().pin();
    let refused = Client::to(&url, Trust::Pin(wrong)).unwrap();
    let refused = refused.get::<String>("/hello").await.unwrap_err();
    let ClientError::WrongKey {
        expected, found, ..
    } = &refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((*expected, *found), (wrong, pin));
    assert!(!refused.may_have_arrived());
    // Nobody vouches for it.
    match Client::to(&url, Trust::System) {
        Ok(client) => {
            let refused = client.get::<String>("/hello").await.unwrap_err();
            assert!(
                matches!(refused, ClientError::Unreachable { .. }),
                "{refused:?}"
            );
            assert!(
                logs::chain(&refused).contains("certificate"),
                "{}",
                logs::chain(&refused)
            );
        }
        // A machine without any authorities.
        Err(error) => assert!(matches!(error, ClientError::Tls(_)), "{error:?}"),
    }
    // Without a word on trust there is no https, and plain HTTP gets no answer from TLS.
    assert!(matches!(Client::tcp(&url), Err(ClientError::Url { .. })));
    let plain = Client::tcp(&url.replace("https", "http")).unwrap();
    assert!(plain.get::<String>("/hello").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let files = Files::new();
    let certificates = Certificates::load(&files.cert, &files.key).unwrap();
    let (url, _tasks) = serve(&certificates, Limits::default()).await;
    let before = certificates.pin();
    assert!(!certificates.refresh().unwrap());
    let get = |pin: Pin| {
        let client = Client::to(&url, Trust::Pin(pin)).unwrap();
        async move { client.get::<String>("/hello").await }
    };
    get(before).await.unwrap();
    // Half of it: the key is there, its certificate not yet.
    let old = fs::read(&files.cert).unwrap();
    files.renew();
    let new = fs::read(&files.cert).unwrap();
    fs::write(&files.cert, old).unwrap();
    assert!(matches!(certificates.refresh(), Err(TlsError::Pair(_))));
    get(before).await.unwrap();
    fs::write(&files.cert, new).unwrap();
    assert!(certificates.refresh().unwrap());
    let after = certificates.pin();
    assert_ne!(after, before);
    get(after).await.unwrap();
    assert!(matches!(
        get(before).await,
        Err(ClientError::WrongKey { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shakes_no_hands_is_cut_and_delays_nobody() {
    let files = Files::new();
    let certificates = Certificates::load(&files.cert, &files.key).unwrap();
    let limits = Limits {
        header_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let (url, _tasks) = serve(&certificates, limits).await;
    let address = url.strip_prefix("https://").unwrap();
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut garbage = tokio::net::TcpStream::connect(address).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let client = Client::to(&url, Trust::Pin(certificates.pin())).unwrap();
    client.get::<String>("/hello").await.unwrap();
    for peer in [&mut silent, &mut garbage] {
        let mut rest = Vec::new();
        let read = peer.read_to_end(&mut rest);
        let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(ended.is_ok(), "the connection stays open");
    }
}

#[test]
fn keys_that_others_can_read_and_pairs_that_do_not_fit_are_refused() {
    let (files, other) = (Files::new(), Files::new());
    assert!(matches!(
        Certificates::load(&files.cert, &other.key),
        Err(TlsError::Pair(_))
    ));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = Certificates::load(&files.cert, &files.key).unwrap_err();
    assert!(
        logs::chain(&open).contains("chmod 0600"),
        "{}",
        logs::chain(&open)
    );
    let none = Certificates::load(&other.key, &other.key).unwrap_err();
    assert!(matches!(none, TlsError::Certificate { .. }), "{none:?}");
}
