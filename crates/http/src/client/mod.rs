//! A small HTTP client: over TCP, a unix socket, or a [`link`](crate::link).
//!
//! Every call has a deadline, every answer a size limit. Connections are kept and reused; a call is
//! sent again by itself only when it certainly never left. Whether a failed call may have arrived
//! is [`ClientError::may_have_arrived`].

mod call;
mod connect;
mod error;

pub use call::{Answer, BodyStream, Call};
pub use error::ClientError;

pub(crate) use connect::Connector;

use crate::request::UpgradedIo;
use bytes::Bytes;
use http::{HeaderValue, Method, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::client::conn::http2::SendRequest;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, future::Future, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Shorter than a server's idle timeout, so that we seldom pick a connection that it is closing.
const POOL_IDLE: Duration = Duration::from_secs(20);
const POOL_IDLE_MAX: usize = 16;

/// Bounds of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// For a whole call, or for the begin of the answer when it is streamed.
    pub deadline: Duration,
    /// For opening a connection; part of the deadline.
    pub connect_timeout: Duration,
    /// An answer that is not streamed may not be larger. Bytes.
    pub answer_bytes_max: usize,
    /// Calls under way at once, at most 2²⁰; more wait, within their deadline.
    pub calls_max: u32,
}

impl Default for ClientLimits {
    /// 30 s, 5 s, 16 MiB, 256.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            answer_bytes_max: 16 << 20,
            calls_max: 256,
        }
    }
}

fn calls_max(limits: &ClientLimits) -> u32 {
    limits.calls_max.clamp(1, 1 << 20)
}

/// Calls one server. Clones share connections.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    endpoint: Arc<str>,
    /// What every path is put behind: `http://host:port/prefix`.
    base: Arc<str>,
    authorization: Option<HeaderValue>,
    limits: ClientLimits,
    slots: Arc<Semaphore>,
}

#[derive(Clone)]
enum Transport {
    Pool(Box<legacy::Client<Connector, Full<Bytes>>>),
    Link(SendRequest<Full<Bytes>>),
}

/// The base URL of a server.
struct Url {
    https: bool,
    host: String,
    port: u16,
    /// Without a slash at the end.
    base: String,
    /// The same as `http://`: TLS is the connector's.
    plain: String,
}

impl Url {
    fn invalid(url: &str, reason: &'static str) -> ClientError {
        ClientError::Url {
            url: url.to_owned(),
            reason,
        }
    }

    fn parse(text: &str) -> Result<Self, ClientError> {
        let invalid = |reason| Self::invalid(text, reason);
        let uri: http::Uri = text.parse().map_err(|_| invalid("it is not a URL"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        if authority.as_str().contains('@') {
            // It would be logged with the endpoint.
            return Err(invalid("it contains a user name or password"));
        }
        if uri.query().is_some() {
            return Err(invalid("it has a query"));
        }
        let host = authority.host();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let rest = format!("{authority}{}", uri.path().trim_end_matches('/'));
        Ok(Self {
            https,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            base: format!("{}://{rest}", if https { "https" } else { "http" }),
            plain: format!("http://{rest}"),
        })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server on the unix socket at `path`. With `expected_uid`, nothing is sent
    /// unless that account listens there.
    pub fn unix(path: impl Into<PathBuf>, expected_uid: Option<u32>) -> Self {
        Self::unix_with(path, expected_uid, ClientLimits::default(), false)
    }

    /// [`unix`](Self::unix) with limits; `http2` for many calls at once over one connection.
    pub fn unix_with(
        path: impl Into<PathBuf>,
        expected_uid: Option<u32>,
        limits: ClientLimits,
        http2: bool,
    ) -> Self {
        let path = path.into();
        let endpoint = path.display().to_string();
        let connector = Connector::unix(path, expected_uid, limits.connect_timeout);
        Self::pooled(connector, &endpoint, "http://localhost", limits, http2)
    }

    /// A client of the server at `base_url`: `http://host[:port][/prefix]`.
    pub fn tcp(base_url: &str) -> Result<Self, ClientError> {
        Self::tcp_with(base_url, ClientLimits::default(), false)
    }

    /// [`tcp`](Self::tcp) with limits; `http2` for many calls at once over one connection, to a
    /// server known to speak it.
    pub fn tcp_with(
        base_url: &str,
        limits: ClientLimits,
        http2: bool,
    ) -> Result<Self, ClientError> {
        let url = Url::parse(base_url)?;
        if url.https {
            return Err(Url::invalid(
                base_url,
                "over https, say how the server is known",
            ));
        }
        let connector = Connector::tcp(url.host, url.port, limits.connect_timeout);
        Ok(Self::pooled(
            connector, &url.base, &url.plain, limits, http2,
        ))
    }

    /// A client of the server at `base_url`: `https://host[:port][/prefix]`, which must prove to
    /// be the right one as `trust` says, or `http://…`, where nothing is proved.
    #[cfg(feature = "tls")]
    pub fn to(base_url: &str, trust: crate::tls::Trust) -> Result<Self, ClientError> {
        Self::to_with(base_url, trust, ClientLimits::default(), false)
    }

    /// [`to`](Self::to) with limits; `http2` for many calls at once over one connection, to a
    /// server known to speak it.
    #[cfg(feature = "tls")]
    pub fn to_with(
        base_url: &str,
        trust: crate::tls::Trust,
        limits: ClientLimits,
        http2: bool,
    ) -> Result<Self, ClientError> {
        let url = Url::parse(base_url)?;
        if !url.https {
            return Self::tcp_with(base_url, limits, http2);
        }
        let name = crate::tls::server_name(&url.host)
            .map_err(|_| Url::invalid(base_url, "certificates cannot name its host"))?;
        let tls = crate::tls::TlsTarget::new(name, trust, http2)
            .map_err(|source| ClientError::Tls(Box::new(source)))?;
        let connector = Connector::tls(url.host, url.port, tls, limits.connect_timeout);
        Ok(Self::pooled(
            connector, &url.base, &url.plain, limits, http2,
        ))
    }

    fn pooled(
        connector: Connector,
        endpoint: &str,
        base: &str,
        limits: ClientLimits,
        http2: bool,
    ) -> Self {
        let pool = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .http2_only(http2)
            .http2_adaptive_window(true)
            .build(connector);
        Self::new(Transport::Pool(Box::new(pool)), endpoint, base, limits)
    }

    /// A client over a connection that is already there.
    pub(crate) fn over_link(sender: SendRequest<Full<Bytes>>, limits: ClientLimits) -> Self {
        Self::new(Transport::Link(sender), "link", "http://localhost", limits)
    }

    fn new(transport: Transport, endpoint: &str, base: &str, limits: ClientLimits) -> Self {
        Self {
            transport,
            endpoint: endpoint.into(),
            base: base.into(),
            authorization: None,
            limits,
            slots: Arc::new(Semaphore::new(calls_max(&limits) as usize)),
        }
    }

    /// The same client, sending `Authorization: Bearer <token>` with every call. A token that
    /// cannot stand in a header is refused.
    pub fn with_bearer(&self, token: &SecretString) -> Result<Self, ClientError> {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
        let mut value = value.map_err(|_| ClientError::Header(AUTHORIZATION.to_string()))?;
        value.set_sensitive(true);
        Ok(Self {
            authorization: Some(value),
            ..self.clone()
        })
    }

    /// Ends once no call is under way. Holds no connection.
    pub(crate) fn idle(&self) -> impl Future<Output = ()> + Send + 'static {
        let (slots, all) = (self.slots.clone(), calls_max(&self.limits));
        async move {
            // All slots free at once; an error would mean the same.
            let _ = slots.acquire_many(all).await;
        }
    }

    /// Where the server is, for messages.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Begin a call to `path`, which starts with a slash and is percent-encoded.
    pub fn call(&self, method: Method, path: &str) -> Call {
        Call::new(self.clone(), method, path)
    }

    /// GET `path`, and the answer's JSON as a `T`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path).send().await?.json()
    }

    /// POST `body` as JSON to `path`, and the answer's JSON as a `T`.
    pub async fn post<B, T>(&self, path: &str, body: &B) -> Result<T, ClientError>
    where
        B: Serialize + ?Sized,
        T: DeserializeOwned,
    {
        self.call(Method::POST, path)
            .json(body)?
            .send()
            .await?
            .json()
    }

    /// Ask the server to switch a connection of its own to `protocol`, and take it over.
    pub async fn upgrade(&self, path: &str, protocol: &str) -> Result<UpgradedIo, ClientError> {
        self.call(Method::GET, path).upgrade(protocol).await
    }
}
