//! Asks a service over HTTP or HTTPS how it is.

use std::time::Duration;

use forebay_http::Client;
use forebay_http::client::ClientLimits;
use forebay_http::tls::Trust;
use http::Method;

use super::Pin;

/// One question.
const DEADLINE: Duration = Duration::from_secs(5);

/// What a GET is answered with, if that is 2xx. With a pin over TLS.
pub(super) async fn get(
    address: &str,
    pin: Option<Pin>,
    path: &str,
    token: Option<&str>,
) -> Option<String> {
    let limits = ClientLimits {
        deadline: DEADLINE,
        answer_bytes_max: 1 << 20,
        ..ClientLimits::default()
    };
    let client = match pin {
        Some(pin) => {
            let url = format!("https://{address}");
            Client::to_with(&url, Trust::Pin(pin), limits, false)
        }
        None => Client::tcp_with(&format!("http://{address}"), limits, false),
    };
    let client = match token {
        Some(token) => client.ok()?.with_bearer(&token.into()),
        None => client,
    };
    let answer = client.ok()?.call(Method::GET, path).send().await.ok()?;
    String::from_utf8(answer.body.to_vec()).ok()
}

/// Whether the service says that it can do its work.
pub(super) async fn is_ready(address: &str, pin: Option<Pin>) -> bool {
    get(address, pin, "/health/ready", None).await.is_some()
}
