//! Who reads.

use forebay_central::Caller;
use forebay_http::{Code, Problem, Request};
use forebay_wire::api::{SESSION_COOKIE, SESSION_COOKIE_PLAIN};
use http::header::{AUTHORIZATION, ORIGIN};
use secrecy::SecretString;

use crate::realtime::{Realtime, told};

/// Whose request this is: as a token in `Authorization` says, or without one the page's cookie.
pub(crate) async fn caller(realtime: &Realtime, request: &Request) -> Result<Caller, Problem> {
    let store = realtime.store();
    if let Some(token) = request.bearer() {
        return store.authenticate(&token).await.map_err(told);
    }
    if by_cookie(request)
        && let Some(secret) = session(request)
    {
        return store.authenticate_session(&secret).await.map_err(told);
    }
    let message = "Send `Authorization: Bearer <token>`, or sign in on the page.";
    Err(Problem::new(Code::Unauthenticated, message))
}

fn by_cookie(request: &Request) -> bool {
    !request.headers().contains_key(AUTHORIZATION)
}

/// The session's secret. Over TLS only the cookie counts that no other host can have set.
fn session(request: &Request) -> Option<SecretString> {
    let starts = |name: &str, text: &str| {
        let value = request.headers().get(name);
        value.is_some_and(|value| value.as_bytes().starts_with(text.as_bytes()))
    };
    let secret = request.cookie(SESSION_COOKIE);
    let plain = !starts("origin", "https://") && !starts("x-forwarded-proto", "https");
    secret
        .or_else(|| request.cookie(SESSION_COOKIE_PLAIN).filter(|_| plain))
        .map(SecretString::from)
}

/// Whether a page may open this WebSocket. Browsers open one for any page, with the cookies of whoever looks at it,
/// and tell us only which page it is; so every request that names a page must name one of ours, and one that comes
/// with a cookie must name a page.
pub(crate) fn origin(realtime: &Realtime, request: &Request) -> Result<(), Problem> {
    let origins = &realtime.config().origins;
    let known = match request.headers().get(ORIGIN) {
        None => !by_cookie(request),
        Some(origin) => origins
            .iter()
            .any(|known| known.as_bytes() == origin.as_bytes()),
    };
    if known {
        return Ok(());
    }
    let message = "Pages of this origin may not open a WebSocket here. Its operator lists those that may under `origins`.";
    Err(Problem::new(Code::Forbidden, message))
}
