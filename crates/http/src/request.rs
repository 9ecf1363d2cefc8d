//! A request as a handler gets it: by value, not yet decoded.

use crate::{
    body::{Body, BodyLimits},
    known::read_noting_unknown,
    peer::Peer,
    query,
    reply::Response,
};
use bytes::Bytes;
use forebay_service::{Tasks, backoff::random_u64};
use forebay_wire::{Code, Problem};
use http::{
    HeaderMap, Method, StatusCode, Uri,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HeaderValue,
        UPGRADE,
    },
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use std::{fmt, future::Future, str::FromStr, sync::Arc, time::Duration};
use warp::{Filter as _, filters::BoxedFilter};

/// How long a client may take from our 101 to the first byte of its new protocol's connection.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Names one request in answers, logs and audit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The header that carries it.
    pub const HEADER: &'static str = "x-request-id";

    /// A new one: 16 hexadecimal digits.
    pub fn new() -> Self {
        Self(format!("{:016x}", random_u64()).into())
    }

    /// The one the caller sent, if callers are trusted and it is 1 to 64 letters, digits, dots,
    /// dashes or underscores; else a new one.
    pub(crate) fn of(headers: &HeaderMap, trusted: bool) -> Self {
        let valid = |id: &&str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            (1..=64).contains(&id.len()) && id.bytes().all(allowed)
        };
        let sent = headers.get(Self::HEADER).filter(|_| trusted);
        let sent = sent.and_then(|value| value.to_str().ok()).filter(valid);
        sent.map_or_else(Self::new, |id| Self(id.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the server knows before any filter runs; an extension of the request.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: RequestId,
    pub(crate) peer: Peer,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) params: Arc<[(String, String)]>,
    pub(crate) body_bytes_max: usize,
    pub(crate) body_timeout: Duration,
}

/// A request. Handlers take it by value and decode what they need; each decoding step returns the
/// [`Problem`] that a client should see.
#[derive(Debug)]
pub struct Request {
    head: Head,
    headers: HeaderMap,
    body: Body,
    upgrade: Option<OnUpgrade>,
}

/// The one filter of all routes: everything of a request, by value.
pub fn request() -> BoxedFilter<(Request,)> {
    warp::ext::get::<Head>()
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .map(|head: Head, headers: HeaderMap, upgrade, body| {
            let limits = BodyLimits {
                bytes_max: head.body_bytes_max,
                pause_max: head.body_timeout,
                declared: headers
                    .get(CONTENT_LENGTH)
                    .and_then(|length| length.to_str().ok()?.parse().ok()),
                // Such a client sends nothing until it is asked to.
                waits: headers.contains_key(EXPECT),
            };
            Request {
                body: Body::new(body, limits),
                head,
                headers,
                upgrade,
            }
        })
        .boxed()
}

impl Request {
    /// Names the request in answers, logs and audit.
    pub fn id(&self) -> &RequestId {
        &self.head.id
    }

    /// Who sent it, as the kernel knows.
    pub fn peer(&self) -> Peer {
        self.head.peer
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.head.method
    }

    /// The path as it was sent, percent-encoded.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The path and the query as they were sent.
    pub fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The token of `Authorization: Bearer <token>`.
    pub fn bearer(&self) -> Option<SecretString> {
        bearer(&self.headers)
    }

    /// The value of the cookie `name`, if there is exactly one: of two, one is somebody else's, and
    /// nobody knows which.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookie(&self.headers, name)
    }

    /// The segment that the route's template calls `name`, as a `T`. What is no `T` names no
    /// `what` either: `not_found`.
    pub fn param<T: FromStr>(&self, name: &str, what: &str) -> Result<T, Problem> {
        let value = self.param_text(name).and_then(|text| text.parse().ok());
        value.ok_or_else(|| Problem::not_found(what))
    }

    /// The decoded segment that the route's template calls `name`.
    pub fn param_text(&self, name: &str) -> Option<&str> {
        self.head
            .params
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The query string as a `T`, a struct of scalars, options and lists (given repeatedly, or with
    /// commas). Keys that `T` does not have are refused, whether or not `T` says so.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        query::decode(self.head.uri.query().unwrap_or_default())
    }

    /// The body as JSON of at most `bytes_max` bytes. Fields that `T` does not have are refused,
    /// whether or not `T` says so: a typing error must not go unnoticed. To be called once.
    pub async fn json<T: DeserializeOwned>(&mut self, bytes_max: usize) -> Result<T, Problem> {
        let (value, unknown) = decode_json(&self.json_bytes(bytes_max).await?)?;
        match unknown.as_slice() {
            [] => Ok(value),
            fields => Err(unknown_fields(fields)),
        }
    }

    /// As [`json`](Self::json), for a peer with whom a version was agreed that says what must be
    /// understood: fields that `T` does not have are ignored, because a newer peer may send them.
    pub async fn json_of_peer<T: DeserializeOwned>(
        &mut self,
        bytes_max: usize,
    ) -> Result<T, Problem> {
        decode_json(&self.json_bytes(bytes_max).await?).map(|(value, _)| value)
    }

    async fn json_bytes(&mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        let content_type = self.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            let message = "The body must be JSON, with Content-Type: application/json.";
            return Err(Problem::new(Code::Malformed, message));
        }
        self.body.bytes(bytes_max).await
    }

    /// The body as it is, of at most `bytes_max` bytes. To be called once.
    pub async fn bytes(&mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        self.body.bytes(bytes_max).await
    }

    /// The body, to be read in pieces.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Switch the connection to `protocol`: the answer is 101, and `then` runs as a task with the
    /// raw connection. Anything but a request to upgrade to just that is a problem.
    pub fn upgrade<F, Fut>(
        self,
        tasks: &Tasks,
        protocol: &'static str,
        then: F,
    ) -> Result<Response, Problem>
    where
        F: FnOnce(UpgradedIo) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let asked = self
            .header(UPGRADE.as_str())
            .is_some_and(|v| v.eq_ignore_ascii_case(protocol));
        let Some(upgrade) = self.upgrade.filter(|_| asked) else {
            let message = format!("This path answers only requests to upgrade to {protocol}.");
            return Err(Problem::new(Code::Version, message));
        };
        tasks.spawn(protocol, async move {
            match tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await {
                Ok(Ok(upgraded)) => then(TokioIo::new(upgraded)).await,
                Ok(Err(error)) => tracing::info!(%error, protocol, "the upgrade failed"),
                Err(_) => tracing::info!(protocol, "the upgrade took too long"),
            }
        });
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response
            .headers_mut()
            .insert(UPGRADE, HeaderValue::from_static(protocol));
        Ok(response)
    }
}

/// A connection that has left HTTP, as bytes.
pub type UpgradedIo = TokioIo<Upgraded>;

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut found = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(known, _)| *known == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}

fn bearer(headers: &HeaderMap) -> Option<SecretString> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.into())
}

/// JSON as a `T`, and the fields of it that `T` does not have; the problem names the field.
fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<String>), Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let read = read_noting_unknown(tracked).map_err(|error| {
        let path = track.path().to_string();
        let message = bounded(&error.to_string());
        let problem = Problem::new(Code::Malformed, format!("The body is not valid: {message}"));
        match field(&path, &message) {
            Some(field) => problem.with_detail(field, message),
            None => problem,
        }
    })?;
    json.end().map_err(|error| {
        Problem::new(Code::Malformed, format!("The body is not valid: {error}"))
    })?;
    Ok(read)
}

fn unknown_fields(fields: &[String]) -> Problem {
    let first = fields.first().map_or("", String::as_str);
    let others = match fields.len() {
        0 | 1 => "",
        _ => ", nor others that were given",
    };
    let message = format!(
        "The body is not valid: there is no field `{}` here{others}.",
        bounded(first)
    );
    fields
        .iter()
        .fold(Problem::new(Code::Malformed, message), |problem, field| {
            problem.with_detail(bounded(field), "There is no such field.")
        })
}

/// The field at fault, from the path at which decoding stopped; none for the body as a whole.
fn field(path: &str, message: &str) -> Option<String> {
    // A lone dot is the whole body; a question mark is where the text itself is broken.
    let path = Some(path).filter(|path| *path != "." && !path.ends_with('?'));
    let missing = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    match (path, missing) {
        (Some(path), Some(name)) => Some(format!("{path}.{name}")),
        (path, missing) => path.or(missing).map(bounded),
    }
}

/// Messages quote what they found, which may be as long as the body.
pub(crate) fn bounded(message: &str) -> String {
    const CHARS_MAX: usize = 300;
    match message.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn takes_bearer_tokens_only() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            bearer(&headers).map(|token| token.expose_secret().to_owned())
        };
        assert_eq!(of("Bearer fb_1_x"), Some("fb_1_x".to_owned()));
        assert_eq!(of("bearer   fb_1_x "), Some("fb_1_x".to_owned()));
        assert_eq!(of("Basic fb_1_x"), None);
        assert_eq!(of("Bearer "), None);
        assert_eq!(of("fb_1_x"), None);
    }

    #[test]
    fn a_cookie_counts_only_when_it_is_alone() {
        let of = |lines: &[&str], name: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
            }
            cookie(&headers, name).map(str::to_owned)
        };
        let lines = ["a=b; forebay=1=2;c=d", "__Host-forebay=host"];
        assert_eq!(of(&lines, "forebay").as_deref(), Some("1=2"));
        assert_eq!(of(&lines, "__Host-forebay").as_deref(), Some("host"));
        assert_eq!(of(&["xforebay=1; forebay"], "forebay"), None);
        assert_eq!(of(&["forebay=1; forebay=2"], "forebay"), None);
        assert_eq!(of(&["forebay=1", "forebay=2"], "forebay"), None);
        assert_eq!(of(&[], "forebay"), None);
    }

    #[test]
    fn request_ids_are_taken_only_when_trusted_and_plain() {
        let of = |id: &str, trusted| {
            let mut headers = HeaderMap::new();
            headers.insert(RequestId::HEADER, HeaderValue::from_str(id).unwrap());
            RequestId::of(&headers, trusted).as_str().to_owned()
        };
        assert_eq!(of("abc-1.2_3", true), "abc-1.2_3");
        for (id, trusted) in [
            ("abc", false),
            ("", true),
            ("a b", true),
            (&"x".repeat(65), true),
        ] {
            let made = of(id, trusted);
            assert_eq!(made.len(), 16);
            assert!(made.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
    }
}
