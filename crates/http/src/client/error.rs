//! Why a call failed.

use super::connect::WrongUid;
use forebay_wire::{Pin, Problem, Retry};
use std::{error::Error, time::Duration};

/// A call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server refused or failed, and says why.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The server, or something before it, answered with an error in a form of its own.
    #[error("{endpoint} answered {status}")]
    Status {
        /// Where the server is.
        endpoint: String,
        /// Its status, not one of success.
        status: u16,
    },
    /// No connection: the call did not arrive.
    #[error("cannot reach {endpoint}")]
    Unreachable {
        /// Where the server is.
        endpoint: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another account listens on the socket than should: nothing was sent.
    #[error("{endpoint} is served by uid {found} instead of uid {expected}")]
    WrongServer {
        /// The socket.
        endpoint: String,
        /// Whose it should be.
        expected: u32,
        /// Whose it is.
        found: u32,
    },
    /// The server's certificate has another key than the pinned one: nothing was sent.
    #[error(
        "{endpoint} is not the server that was pinned: its certificate has the key {found} instead of {expected}"
    )]
    WrongKey {
        /// Where the server is.
        endpoint: String,
        /// The key that it should have.
        expected: Pin,
        /// The key that it has.
        found: Pin,
    },
    /// The connection broke after the call may have been sent.
    #[error("the connection to {endpoint} broke")]
    Broken {
        /// Where the server is.
        endpoint: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer in time; the call may have arrived.
    #[error("no answer from {endpoint} within {after:?}")]
    Deadline {
        /// Where the server is.
        endpoint: String,
        /// The deadline.
        after: Duration,
    },
    /// The answer is larger than allowed.
    #[error("the answer from {endpoint} is larger than {bytes_max} bytes")]
    TooLarge {
        /// Where the server is.
        endpoint: String,
        /// What is allowed.
        bytes_max: usize,
    },
    /// The answer is not what was expected.
    #[error("the answer from {endpoint} is not understood")]
    Malformed {
        /// Where the server is.
        endpoint: String,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server did not switch to the protocol asked for.
    #[error("{endpoint} did not switch protocols but answered {status}")]
    NotUpgraded {
        /// Where the server is.
        endpoint: String,
        /// Its status.
        status: u16,
    },
    /// The base URL cannot be used.
    #[error("cannot use the URL {url:?}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS cannot be set up here: nothing was sent.
    #[error("TLS cannot be set up")]
    Tls(#[source] Box<dyn Error + Send + Sync>),
    /// A path or query is not in the form of a URL.
    #[error("cannot call {0:?}: it is not a path")]
    Path(String),
    /// A header's name or value holds characters that cannot be sent.
    #[error("the header {0} cannot be sent")]
    Header(String),
    /// The body cannot be written as JSON.
    #[error("the request cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl ClientError {
    /// Whether the server may have acted on the call. If so, only a call that is safe to repeat may
    /// be repeated.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::WrongServer { .. }
            | Self::WrongKey { .. }
            | Self::Url { .. }
            | Self::Tls(_)
            | Self::Path(_)
            | Self::Header(_)
            | Self::Encode(_) => false,
            Self::Problem(_)
            | Self::Status { .. }
            | Self::Broken { .. }
            | Self::Deadline { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::NotUpgraded { .. } => true,
        }
    }

    /// Whether the same call may succeed later, without a change. Whether repeating it is safe is
    /// another question: see [`may_have_arrived`](Self::may_have_arrived).
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Problem(problem) => problem.retry != Retry::No,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Deadline { .. } => true,
            _ => false,
        }
    }

    /// What the server said, if it said a problem.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// A connection could not be had.
    pub(crate) fn connecting(endpoint: &str, source: Box<dyn Error + Send + Sync>) -> Self {
        let endpoint = endpoint.to_owned();
        let mut cause: Option<&(dyn Error + 'static)> = Some(source.as_ref());
        while let Some(error) = cause {
            // An io::Error shows what it wraps only through get_ref().
            let inner = error
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref);
            if let Some(wrong) = inner.and_then(|inner| inner.downcast_ref::<WrongUid>()) {
                let (expected, found) = (wrong.expected, wrong.found);
                return Self::WrongServer {
                    endpoint,
                    expected,
                    found,
                };
            }
            #[cfg(feature = "tls")]
            if let Some((expected, found)) = inner.and_then(wrong_key) {
                return Self::WrongKey {
                    endpoint,
                    expected,
                    found,
                };
            }
            cause = error.source();
        }
        Self::Unreachable { endpoint, source }
    }
}

/// The keys, if a handshake failed because of a pin.
#[cfg(feature = "tls")]
fn wrong_key(error: &(dyn Error + Send + Sync + 'static)) -> Option<(Pin, Pin)> {
    use rustls::{CertificateError, Error::InvalidCertificate};
    let Some(InvalidCertificate(CertificateError::Other(other))) = error.downcast_ref() else {
        return None;
    };
    let wrong = other.0.downcast_ref::<crate::tls::WrongPin>()?;
    Some((wrong.expected, wrong.found))
}
