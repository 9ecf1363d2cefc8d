//! The page's cookie. Over TLS its name begins with `__Host-`: then a browser takes it only from
//! this very host and only over TLS, so that neither a sister domain nor somebody on the wire can
//! put one of theirs in its place.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use secrecy::{ExposeSecret as _, SecretString};

/// Its name over TLS.
pub(crate) const SECURE: &str = "__Host-forebay";
/// Its name without, on loopback.
const PLAIN: &str = "forebay";

const fn name(secure: bool) -> &'static str {
    if secure { SECURE } else { PLAIN }
}

/// The session's secret, if the request has exactly one.
pub(crate) fn session(headers: &HeaderMap, secure: bool) -> Option<SecretString> {
    let pairs = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'));
    let mut ours = pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name(secure));
    let (_, secret) = ours.next()?;
    // Of two, one is not ours, and nobody knows which.
    ours.next().is_none().then(|| secret.into())
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

    fn found(cookies: &[&str], secure: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_str(cookie).expect("text"));
        }
        session(&headers, secure).map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn each_scheme_has_its_own_name() {
        let both = ["a=b; forebay=plain;c=d", "__Host-forebay=host"];
        assert_eq!(found(&both, false).as_deref(), Some("plain"));
        assert_eq!(found(&both, true).as_deref(), Some("host"));
        assert_eq!(found(&["forebay=plain"], true), None);
        assert_eq!(found(&["xforebay=1; forebay"], false), None);
        assert_eq!(found(&["forebay=1; forebay=2"], false), None);
        assert_eq!(found(&["forebay=1", "forebay=2"], false), None);
    }

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
