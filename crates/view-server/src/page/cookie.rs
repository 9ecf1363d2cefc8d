//! The page's cookie.

use std::time::Duration;

use forebay_http::Request;
use forebay_wire::api::{SESSION_COOKIE, SESSION_COOKIE_PLAIN};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};

const fn name(secure: bool) -> &'static str {
    if secure {
        SESSION_COOKIE
    } else {
        SESSION_COOKIE_PLAIN
    }
}

/// The session's secret, if the request has one of the name that counts for its scheme.
pub(crate) fn session(request: &Request, secure: bool) -> Option<SecretString> {
    request.cookie(name(secure)).map(SecretString::from)
}

/// The header that gives a browser its session.
pub(crate) fn set(secure: bool, secret: &SecretString, age: Duration) -> HeaderValue {
    header(secure, secret.expose_secret(), age.as_secs())
}

/// The header that takes it away.
pub(crate) fn clear(secure: bool) -> HeaderValue {
    header(secure, "", 0)
}

fn header(secure: bool, value: &str, age_s: u64) -> HeaderValue {
    let name = name(secure);
    let flag = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{flag}");
    let mut header = HeaderValue::try_from(text)
        .expect("secrets are made of letters, digits, dashes and underscores");
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_other_sites_do_not_get_it() {
        let secret = "fp_k_secret".into();
        let text = |header: HeaderValue| header.to_str().expect("text").to_owned();
        assert_eq!(
            text(set(true, &secret, Duration::from_secs(60))),
            "__Host-forebay=fp_k_secret; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
        );
        assert_eq!(
            text(clear(false)),
            "forebay=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
        );
        assert!(!format!("{:?}", set(true, &secret, Duration::ZERO)).contains("fp_k"));
    }
}
