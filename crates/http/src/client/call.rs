//! One call and its answer.

use super::{Client, ClientError, Transport};
use crate::{ndjson, request::UpgradedIo};
use bytes::{Bytes, BytesMut};
use forebay_wire::Problem;
use futures_util::{Stream, StreamExt as _};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, UPGRADE},
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::{error::Error, io, time::Duration};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

/// A problem is read no further than this; it is for messages.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// A call that is being put together.
#[derive(Debug)]
#[must_use = "nothing is sent before `send` or `stream` is awaited"]
pub struct Call {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    deadline: Duration,
}

impl Call {
    pub(super) fn new(client: Client, method: Method, path: &str) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(value) = &client.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let deadline = client.limits.deadline;
        Self {
            client,
            method,
            path: path.to_owned(),
            headers,
            body: Bytes::new(),
            deadline,
        }
    }

    /// With `value` as JSON for its body.
    pub fn json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self, ClientError> {
        let body = serde_json::to_vec(value).map_err(ClientError::Encode)?;
        Ok(self.body("application/json", body))
    }

    /// With a body of some other kind.
    pub fn body(mut self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body.into();
        self
    }

    /// With a header; what cannot stand in one is an error.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ClientError> {
        let invalid = || ClientError::Header(name.to_owned());
        let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        self.headers
            .insert(name.parse::<HeaderName>().map_err(|_| invalid())?, value);
        Ok(self)
    }

    /// With `key=value` added to the query, both encoded here.
    pub fn query(mut self, key: &str, value: &str) -> Self {
        self.path
            .push(if self.path.contains('?') { '&' } else { '?' });
        encode_into(&mut self.path, key);
        self.path.push('=');
        encode_into(&mut self.path, value);
        self
    }

    /// With another deadline than the client's.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Send it and read the whole answer, within the deadline. A status other than 2xx is an error.
    pub async fn send(self) -> Result<Answer<Bytes>, ClientError> {
        let bytes_max = self.client.limits.answer_bytes_max;
        let (endpoint, until, after) = (
            self.client.endpoint.clone(),
            Instant::now() + self.deadline,
            self.deadline,
        );
        let answer = self.begin(until).await?;
        let Answer {
            status,
            headers,
            body,
            ..
        } = answer;
        let BodyStream { body, _slot } = body;
        let read = collect(body, bytes_max, &endpoint);
        let late = || ClientError::Deadline {
            endpoint: endpoint.to_string(),
            after,
        };
        let body = timeout_at(until, read).await.map_err(|_| late())??;
        Ok(Answer {
            status,
            headers,
            body,
            endpoint: endpoint.to_string(),
        })
    }

    /// Send it and take the answer's body as a stream; the deadline is for the begin of the answer.
    pub async fn stream(self) -> Result<Answer<BodyStream>, ClientError> {
        let until = Instant::now() + self.deadline;
        self.begin(until).await
    }

    /// Ask the server to switch to `protocol`, and take the connection over.
    pub async fn upgrade(self, protocol: &str) -> Result<UpgradedIo, ClientError> {
        let mut call = self.header(UPGRADE.as_str(), protocol)?;
        call.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        let (until, after) = (Instant::now() + call.deadline, call.deadline);
        let endpoint = call.client.endpoint.to_string();
        let (response, _slot) = call.exchange(until).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            let error = refusal(response, &endpoint, until).await;
            return Err(match error {
                ClientError::Status { .. } => ClientError::NotUpgraded { endpoint, status },
                other => other,
            });
        }
        match timeout_at(until, hyper::upgrade::on(response)).await {
            Ok(Ok(upgraded)) => Ok(TokioIo::new(upgraded)),
            Ok(Err(error)) => Err(ClientError::Broken {
                endpoint,
                source: error.into(),
            }),
            Err(_) => Err(ClientError::Deadline { endpoint, after }),
        }
    }

    async fn begin(self, until: Instant) -> Result<Answer<BodyStream>, ClientError> {
        let endpoint = self.client.endpoint.to_string();
        let (response, slot) = self.exchange(until).await?;
        if !response.status().is_success() {
            return Err(refusal(response, &endpoint, until).await);
        }
        let (head, body) = response.into_parts();
        let body = BodyStream { body, _slot: slot };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            endpoint,
        })
    }

    /// Send the request and wait for the head of the answer.
    async fn exchange(
        self,
        until: Instant,
    ) -> Result<(http::Response<Incoming>, OwnedSemaphorePermit), ClientError> {
        let Self {
            client,
            method,
            path,
            headers,
            body,
            deadline,
        } = self;
        let endpoint = client.endpoint.to_string();
        if !path.starts_with('/') {
            return Err(ClientError::Path(path));
        }
        let built = Request::builder()
            .method(method)
            .uri([&*client.base, &*path].concat());
        let mut request = built
            .body(Full::new(body))
            .map_err(|_| ClientError::Path(path))?;
        *request.headers_mut() = headers;
        let exchange = async {
            let slot = client.slots.clone().acquire_owned().await;
            let slot = slot.map_err(|error| unreachable(&endpoint, error))?;
            let response = match client.transport {
                Transport::Pool(pool) => pool.request(request).await.map_err(|error| {
                    if error.is_connect() {
                        ClientError::connecting(&endpoint, error.into())
                    } else {
                        broken(&endpoint, error)
                    }
                })?,
                Transport::Link(mut sender) => {
                    sender
                        .ready()
                        .await
                        .map_err(|error| unreachable(&endpoint, error))?;
                    sender
                        .send_request(request)
                        .await
                        .map_err(|error| broken(&endpoint, error))?
                }
            };
            Ok((response, slot))
        };
        let late = |_| ClientError::Deadline {
            endpoint: endpoint.clone(),
            after: deadline,
        };
        timeout_at(until, exchange).await.map_err(late)?
    }
}

fn unreachable(endpoint: &str, source: impl Error + Send + Sync + 'static) -> ClientError {
    ClientError::Unreachable {
        endpoint: endpoint.to_owned(),
        source: source.into(),
    }
}

fn broken(endpoint: &str, source: impl Error + Send + Sync + 'static) -> ClientError {
    ClientError::Broken {
        endpoint: endpoint.to_owned(),
        source: source.into(),
    }
}

/// The error in an answer whose status is not one of success.
async fn refusal(
    response: http::Response<Incoming>,
    endpoint: &str,
    until: Instant,
) -> ClientError {
    let status = response.status().as_u16();
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if is_json {
        let body = collect(response.into_body(), PROBLEM_BYTES_MAX, endpoint);
        if let Ok(Ok(body)) = timeout_at(until, body).await
            && let Ok(problem) = serde_json::from_slice::<Problem>(&body)
        {
            return ClientError::Problem(Box::new(problem));
        }
    }
    ClientError::Status {
        endpoint: endpoint.to_owned(),
        status,
    }
}

/// Read a body whole, of at most `bytes_max`.
async fn collect<B>(mut body: B, bytes_max: usize, endpoint: &str) -> Result<Bytes, ClientError>
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| broken(endpoint, error))?.into_data() else {
            continue;
        };
        if whole.len().saturating_add(piece.len()) > bytes_max {
            return Err(ClientError::TooLarge {
                endpoint: endpoint.to_owned(),
                bytes_max,
            });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Everything but letters, digits and `-._~`.
fn encode_into(out: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// The answer to a call, with a status of success.
#[derive(Debug)]
pub struct Answer<B> {
    /// 2xx.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole ([`Call::send`]) or to be read ([`Call::stream`]).
    pub body: B,
    endpoint: String,
}

impl<B> Answer<B> {
    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Answer<Bytes> {
    /// The body's JSON as a `T`. An empty body stands for `null`, so that a 204 is a `()`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let text: &[u8] = if self.body.is_empty() {
            b"null"
        } else {
            &self.body
        };
        serde_json::from_slice(text).map_err(|error| ClientError::Malformed {
            endpoint: self.endpoint.clone(),
            source: error.into(),
        })
    }
}

/// An answer's body, read in pieces.
#[derive(Debug)]
pub struct BodyStream {
    body: Incoming,
    /// A call is under way until its body has been read or dropped.
    _slot: OwnedSemaphorePermit,
}

impl Answer<BodyStream> {
    /// The body as a stream of bytes, as they arrive. Dropping it cancels the rest. It has no
    /// deadline; a reader with one is [`lines`](Self::lines).
    pub fn into_bytes(self) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static {
        let BodyStream { body, _slot: slot } = self.body;
        let body = http_body_util::BodyDataStream::new(body);
        body.map(move |piece| {
            // Moved in, to be held as long as the stream.
            let _held = &slot;
            piece.map_err(io::Error::other)
        })
    }

    /// The body as JSON lines of at most `line_bytes_max` bytes; when nothing comes for
    /// `silence_max`, not even a heartbeat, the server counts as gone.
    pub fn lines(self, line_bytes_max: usize, silence_max: Duration) -> ndjson::Reader {
        ndjson::Reader::new(self.into_bytes(), line_bytes_max, silence_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_has_a_meaning_in_a_query() {
        let call = Client::unix("/x", None).call(Method::GET, "/jobs");
        let call = call
            .query("q", "a b&c=d/ü")
            .query("state", "running,pending");
        assert_eq!(
            call.path,
            "/jobs?q=a%20b%26c%3Dd%2F%C3%BC&state=running%2Cpending"
        );
    }

    #[test]
    fn urls_that_cannot_be_used_are_refused() {
        for url in [
            "",
            "host",
            "ftp://x",
            "https://x",
            "http://u:p@x",
            "http://x/?q=1",
        ] {
            assert!(Client::tcp(url).is_err(), "{url}");
        }
        assert_eq!(
            Client::tcp("http://[::1]:80/api/").unwrap().endpoint(),
            "http://[::1]:80/api"
        );
    }
}
