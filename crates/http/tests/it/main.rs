//! The server and the client against each other and against peers that misbehave, over real
//! sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod decoding;
mod link;
mod listening;
mod server;
mod streaming;
#[cfg(feature = "tls")]
mod tls;

use forebay_http::{
    Client, Limits, Listener, Problem, Request, Response, reply,
    routes::{Access, Route, Table},
    serve,
};
use forebay_service::Tasks;
use http::Method;
use std::{future::Future, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// A server on a free port of loopback.
struct Site {
    tasks: Tasks,
    addr: SocketAddr,
}

impl Site {
    async fn start(table: Table, limits: Limits) -> Self {
        let tasks = Tasks::new();
        let listener = Listener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.tcp_address().unwrap();
        tasks.spawn("http", serve(listener, table, limits, tasks.clone()));
        Self { tasks, addr }
    }

    fn client(&self) -> Client {
        Client::tcp(&format!("http://{}", self.addr)).unwrap()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Everything must end in time and without being cut.
    async fn drain(self) {
        self.tasks
            .drain(Duration::from_secs(10))
            .await
            .expect("drained in time");
    }
}

/// A table of routes that anybody may call.
fn table<H, F>(routes: impl IntoIterator<Item = (Method, &'static str, H)>) -> Table
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    let mut table = Table::new();
    for (method, path, handler) in routes {
        table.add(Route::new(method, path, Access::Public, handler));
    }
    table
}

fn hello() -> Table {
    let hello = |_request| async { Ok(reply::ok("hello")) };
    table([(Method::GET, "/hello", hello)])
}

/// Send these bytes and read until the server closes, in time.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    // The server may close while we write: then what it said still counts.
    let _ = stream.write_all(request).await;
    read_to_end(stream).await
}

/// The same as a client that takes a failed write for a broken connection, and does not read then.
async fn write_then_read(stream: &mut TcpStream, request: &[u8]) -> String {
    let written = timeout(Duration::from_secs(10), stream.write_all(request));
    written
        .await
        .expect("taken in time")
        .expect("the server takes all of it");
    read_to_end(stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the server closes in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Read until `text` has come.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut answer = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&answer).contains(text) {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(
                count > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&answer)
            );
            answer.extend_from_slice(&buffer[..count]);
        }
    };
    timeout(Duration::from_secs(10), read)
        .await
        .expect("comes in time");
    String::from_utf8_lossy(&answer).into_owned()
}

fn short(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Wait until something has become so.
async fn until(what: &str, check: impl Fn() -> bool) {
    let waiting = async {
        while !check() {
            tokio::time::sleep(short(1)).await;
        }
    };
    timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}
