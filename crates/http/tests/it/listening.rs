//! Unix sockets: permissions, stale files, who is at the other end.

use super::{hello, read_to_end, short, table};
use forebay_http::{
    Client, ClientError, Limits, ListenError, Listener, Peer, Request, reply, serve,
};
use forebay_service::Tasks;
use http::Method;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};
use tokio::io::AsyncWriteExt as _;

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test]
async fn a_handler_knows_the_uid_of_its_peer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let tasks = Tasks::new();
    let who = |request: Request| async move {
        let Peer { uid, addr } = request.peer();
        Ok(reply::ok(&(uid, addr)))
    };
    let listener = Listener::unix(&path, 0o660).unwrap();
    assert_eq!(listener.address().to_string(), path.display().to_string());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o660
    );
    tasks.spawn(
        "http",
        serve(
            listener,
            table([(Method::GET, "/who", who)]),
            Limits::default(),
            tasks.clone(),
        ),
    );

    let client = Client::unix(&path, Some(uid()));
    let (seen, addr): (Option<u32>, Option<String>) = client.get("/who").await.unwrap();
    assert_eq!((seen, addr), (Some(uid()), None));

    // The client knows its server as well, and sends nothing to another.
    let error = Client::unix(&path, Some(uid() + 1))
        .get::<()>("/who")
        .await
        .unwrap_err();
    let ClientError::WrongServer {
        expected, found, ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!((*expected, *found), (uid() + 1, uid()));
    assert!(!error.may_have_arrived());

    tasks.drain(Duration::from_secs(5)).await.unwrap();
    assert!(!path.exists(), "removed at the end");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        0,
        "nothing is left behind"
    );
    let error = client.get::<()>("/who").await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    // As a process that was killed leaves it.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = Listener::unix(&path, 0o600).unwrap();
    assert!(matches!(
        Listener::unix(&path, 0o600),
        Err(ListenError::InUse(_))
    ));
    drop(listener);
    assert!(!path.exists());

    // A listener does not remove what another has put in its place.
    let first = Listener::unix(&path, 0o600).unwrap();
    fs::remove_file(&path).unwrap();
    let second = Listener::unix(&path, 0o600).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);

    fs::write(&path, "precious").unwrap();
    assert!(matches!(
        Listener::unix(&path, 0o600),
        Err(ListenError::NotASocket(_))
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let missing = Path::new("/nonexistent/forebay/http.sock");
    assert!(matches!(
        Listener::unix(missing, 0o600),
        Err(ListenError::System { .. })
    ));
    let long = directory.path().join("x".repeat(120));
    assert!(matches!(
        Listener::unix(&long, 0o600),
        Err(ListenError::System { .. })
    ));
}

#[tokio::test]
async fn of_two_that_start_at_once_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let runtime = tokio::runtime::Handle::current();
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let (path, runtime) = (path.clone(), runtime.clone());
            std::thread::spawn(move || {
                let _entered = runtime.enter();
                Listener::unix(&path, 0o600)
            })
        })
        .collect();
    let results: Vec<_> = starts
        .into_iter()
        .map(|start| start.join().unwrap())
        .collect();
    assert_eq!(
        results.iter().filter(|result| result.is_ok()).count(),
        1,
        "{results:?}"
    );
}

#[tokio::test]
async fn an_inherited_socket_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    // Bound, but not listening: as a launcher passes it on.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    let tasks = Tasks::new();
    let listener = Listener::from_fd(socket).unwrap();
    tasks.spawn(
        "http",
        serve(listener, hello(), Limits::default(), tasks.clone()),
    );
    assert_eq!(
        Client::unix(&path, Some(uid()))
            .get::<String>("/hello")
            .await
            .unwrap(),
        "hello"
    );

    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = tcp.local_addr().unwrap();
    let listener = Listener::from_fd(tcp.into()).unwrap();
    assert_eq!(listener.tcp_address(), Some(addr));
    tasks.spawn(
        "http",
        serve(listener, hello(), Limits::default(), tasks.clone()),
    );
    let client = Client::tcp(&format!("http://{addr}")).unwrap();
    assert_eq!(client.get::<String>("/hello").await.unwrap(), "hello");
    tasks.drain(Duration::from_secs(5)).await.unwrap();
    assert!(path.exists(), "left to whoever made it");
}

#[tokio::test]
async fn running_out_of_descriptors_passes() {
    // In a process of its own: the limit is the whole process's.
    if std::env::var_os("FOREBAY_HTTP_TEST_DESCRIPTORS").is_none() {
        let status = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "listening::running_out_of_descriptors_passes",
                "--exact",
                "--nocapture",
            ])
            .env("FOREBAY_HTTP_TEST_DESCRIPTORS", "1")
            .kill_on_drop(true)
            .status()
            .await
            .unwrap();
        assert!(status.success());
        return;
    }
    let tasks = Tasks::new();
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.tcp_address().unwrap();
    tasks.spawn(
        "http",
        serve(listener, hello(), Limits::default(), tasks.clone()),
    );
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    // What else is open stays; new descriptors are refused.
    let open = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let tight = rustix::process::Rlimit {
        current: Some(open - 1),
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, tight).unwrap();
    tokio::time::sleep(short(200)).await;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(read_to_end(&mut stream).await.contains("200 OK"));
    tasks.drain(Duration::from_secs(5)).await.unwrap();
}
