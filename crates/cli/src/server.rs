//! The address of a server, checked before a token is sent there.

use std::{fmt, net::IpAddr};

use http::Uri;
use thiserror::Error;

/// Where the API is: scheme, host, port and perhaps a path before `/api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Without a slash at the end.
    base: String,
    loopback: bool,
    encrypted: bool,
}

/// Why a text is not the address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ServerError {
    /// Not a URL with a host.
    #[error("expected an address such as http://127.0.0.1:3001")]
    Shape,
    /// Another protocol.
    #[error("the address must begin with http:// or https://")]
    Scheme,
    /// `user:password@host`.
    #[error("the address must not hold a user or a password; forebay login asks for a token")]
    Credentials,
    /// `?` or `#`.
    #[error("the address must not hold a query")]
    Query,
}

impl Server {
    /// Reads an address.
    ///
    /// ```
    /// let server: forebay::server::Server = "http://127.0.0.1:3001/".parse()?;
    /// assert_eq!(server.to_string(), "http://127.0.0.1:3001");
    /// # Ok::<(), forebay::server::ServerError>(())
    /// ```
    fn read(text: &str) -> Result<Self, ServerError> {
        if text.contains(['?', '#']) {
            return Err(ServerError::Query);
        }
        let uri: Uri = text.parse().map_err(|_| ServerError::Shape)?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(ServerError::Scheme),
            None => return Err(ServerError::Shape),
        };
        let authority = uri.authority().ok_or(ServerError::Shape)?;
        if authority.as_str().contains('@') {
            return Err(ServerError::Credentials);
        }
        if authority.host().is_empty() {
            return Err(ServerError::Shape);
        }
        let scheme = if encrypted { "https" } else { "http" };
        let base = format!(
            "{scheme}://{}{}",
            authority.as_str().to_ascii_lowercase(),
            uri.path()
        );
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            loopback: is_loopback(authority.host()),
            encrypted,
        })
    }

    /// The address of a path that begins with `/`.
    pub fn at(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    /// Whether what is sent there can be read on the way.
    pub fn is_exposed(&self) -> bool {
        !self.encrypted && !self.loopback
    }

    /// Whether it is reached by `https`.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }
}

impl std::str::FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        Self::read(text)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normal_and_hold_no_secrets() {
        let good = [
            ("http://127.0.0.1:3001", "http://127.0.0.1:3001", false),
            ("http://[::1]:3001/", "http://[::1]:3001", false),
            ("HTTP://LocalHost:80", "http://localhost:80", false),
            (
                "https://hpc.example.org/forebay/",
                "https://hpc.example.org/forebay",
                false,
            ),
            ("http://hpc.example.org", "http://hpc.example.org", true),
            (
                "http://localhost.example.org",
                "http://localhost.example.org",
                true,
            ),
            (
                "http://127.0.0.1.example.org",
                "http://127.0.0.1.example.org",
                true,
            ),
        ];
        for (text, base, exposed) in good {
            let server: Server = text.parse().expect(text);
            assert_eq!(
                (server.to_string().as_str(), server.is_exposed()),
                (base, exposed),
                "{text}"
            );
        }
        let bad = [
            ("", ServerError::Shape),
            ("127.0.0.1:3001", ServerError::Shape),
            ("/tmp/socket", ServerError::Shape),
            ("http://", ServerError::Shape),
            ("ftp://x", ServerError::Scheme),
            ("http://u:p@x", ServerError::Credentials),
            ("http://x/?a=1", ServerError::Query),
            ("http://x/#a", ServerError::Query),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<Server>(), Err(error), "{text}");
        }
    }
}
