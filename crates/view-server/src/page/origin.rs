//! Whether a change comes from the page itself. A browser says on whose behalf it calls, and no
//! script can make it say otherwise.

use forebay_http::{Code, Problem, Request};
use http::{
    HeaderMap, Uri,
    header::{HOST, ORIGIN},
};

const FETCH_SITE: &str = "sec-fetch-site";

/// Refuses what does not come from the page's own origin.
pub(crate) fn check(request: &Request, secure: bool) -> Result<(), Problem> {
    if is_own(request.headers(), request.uri(), secure) {
        return Ok(());
    }
    Err(Problem::new(
        Code::Forbidden,
        "This call must come from Forebay's own page. Programs use `Authorization: Bearer <token>` instead.",
    ))
}

/// Both headers, as far as they are there, say so; and one is.
fn is_own(headers: &HeaderMap, uri: &Uri, secure: bool) -> bool {
    let fetch = match headers.get(FETCH_SITE) {
        Some(value) if value == "same-origin" => true,
        Some(_) => return false,
        None => false,
    };
    // HTTP/2 has the host in the URI.
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(http::uri::Authority::as_str),
    };
    let scheme = if secure { "https" } else { "http" };
    let own = host.map(|host| format!("{scheme}://{host}"));
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => fetch,
        (Some(origin), None) => own.is_some_and(|own| origin.as_bytes() == own.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn own(headers: &[(&'static str, &str)], secure: bool) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("text"));
        }
        is_own(&map, &Uri::from_static("/api/v1/jobs"), secure)
    }

    #[test]
    fn only_the_page_itself() {
        let host = ("host", "portal:3001");
        let at = |origin: &'static str| ("origin", origin);
        let site = |site: &'static str| ("sec-fetch-site", site);
        assert!(own(&[host, at("http://portal:3001")], false));
        assert!(own(&[host, at("https://portal:3001")], true));
        assert!(own(
            &[host, at("http://portal:3001"), site("same-origin")],
            false
        ));
        assert!(own(&[host, site("same-origin")], false));
        for (headers, secure) in [
            (vec![host], false),
            (vec![host, at("http://portal:3001")], true),
            (vec![host, at("https://portal:3001")], false),
            (vec![host, at("http://portal:3002")], false),
            (vec![host, at("http://portal")], false),
            (vec![host, at("http://evil.example")], false),
            (vec![host, at("null")], false),
            (vec![at("http://portal:3001")], false),
            (vec![host, site("same-site")], false),
            (vec![host, site("cross-site")], false),
            (vec![host, site("none")], false),
            (
                vec![host, at("http://portal:3001"), site("cross-site")],
                false,
            ),
            (vec![host, at("http://evil"), site("same-origin")], false),
            (
                vec![host, at("http://portal:3001"), at("http://evil")],
                false,
            ),
        ] {
            assert!(!own(&headers, secure), "{headers:?} {secure}");
        }
    }

    #[test]
    fn http2_has_the_host_in_its_uri() {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static("https://portal"));
        let uri = Uri::from_static("https://portal/api/v1/jobs");
        assert!(is_own(&headers, &uri, true));
        let uri = Uri::from_static("https://other/api/v1/jobs");
        assert!(!is_own(&headers, &uri, true));
    }
}
