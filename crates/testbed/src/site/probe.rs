//! Asks a service over HTTP how it is. One request on one connection: no client needed.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// One question.
const DEADLINE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Whether a GET is answered with 200; and the answer, headers and all.
pub(super) async fn get(address: &str, path: &str, token: Option<&str>) -> (bool, String) {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let credentials = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\n{credentials}Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer)
            .await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match timeout(DEADLINE, ask).await {
        Ok(Ok(answer)) => (answer.starts_with("HTTP/1.1 200 "), answer),
        Ok(Err(_)) | Err(_) => (false, String::new()),
    }
}

/// Whether the service says that it can do its work.
pub(super) async fn is_ready(address: &str) -> bool {
    get(address, "/health/ready", None).await.0
}
