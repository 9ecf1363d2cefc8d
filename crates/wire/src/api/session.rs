//! Signing in on the page, and what the page must know when it is opened.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Me;
use crate::Timestamp;

/// The page's cookie over TLS: with this prefix a browser takes it only from this very host and only
/// over TLS, so that neither a sister domain nor somebody on the wire can put one of theirs there.
pub const SESSION_COOKIE: &str = "__Host-forebay";
/// The same without TLS, on loopback.
pub const SESSION_COOKIE_PLAIN: &str = "forebay";

/// The body of `POST /api/v1/session`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SignIn {
    /// A Forebay token.
    pub token: String,
}

/// Without the token: what is printed ends up in logs.
impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").finish_non_exhaustive()
    }
}

/// A sign-in of the page. Its secret is in the cookie alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SignedIn {
    /// Who has signed in.
    pub me: Me,
    /// When the session ends, whatever is done in it.
    pub expires_at: Timestamp,
}

/// The answer of `GET /api/v1/page`: what the page must know when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PageSettings {
    /// The program's version.
    pub version: String,
    /// Where feeds are served; the page's own origin if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realtime_url: Option<String>,
    /// Who has signed in, as the cookie says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub me: Option<Me>,
}
