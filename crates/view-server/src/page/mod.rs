//! The page: its files, its cookie, and what keeps others from using that.

mod attempts;
pub(crate) mod cookie;
mod files;
pub(crate) mod origin;

use std::net::IpAddr;

pub use files::FilesError;
use forebay_http::{Code, Problem, Request, Response, reply};
use http::{
    HeaderMap, Method, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH,
        REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};

use crate::{config::Config, view::View};
use attempts::Attempts;
use files::{File, Files};

/// Not the page's: what is not there is not found, and no page.
const NOT_OURS: [&str; 5] = ["api", "link", "rt", "health", "metrics"];
/// Names with a hash of what is in them: a name never gets other contents.
const HASHED: &str = "/assets/";

/// What concerns the page.
#[derive(Debug)]
pub struct Page {
    files: Option<Files>,
    behind_tls: bool,
    realtime_url: Option<String>,
    policy: HeaderValue,
    attempts: Attempts,
}

impl Page {
    /// As the configuration says. Reads the whole page.
    pub fn new(config: &Config) -> Result<Self, FilesError> {
        Ok(Self {
            files: config.ui_dir.as_deref().map(Files::load).transpose()?,
            behind_tls: config.behind_tls,
            realtime_url: config.realtime_url.clone(),
            policy: policy(config.realtime_url.as_deref()),
            attempts: Attempts::default(),
        })
    }

    /// Whether there is one to serve.
    pub(crate) fn is_there(&self) -> bool {
        self.files.is_some()
    }

    pub(crate) fn realtime_url(&self) -> Option<&str> {
        self.realtime_url.as_deref()
    }

    pub(crate) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Whether the browser spoke TLS. Whoever lies about it gets a cookie that does not come back.
    pub(crate) fn is_secure(&self, headers: &HeaderMap) -> bool {
        let forwarded = headers.get("x-forwarded-proto");
        self.behind_tls || forwarded.is_some_and(|scheme| scheme == "https")
    }

    /// Where a call came from, as far as sign-ins are counted: the connection's other end, or what
    /// the gateway in front says about its own.
    pub(crate) fn origin_of_call(&self, request: &Request) -> String {
        let last = || {
            let text = request.header("x-forwarded-for")?;
            text.rsplit(',').next()?.trim().parse::<IpAddr>().ok()
        };
        let address = if self.behind_tls { last() } else { None };
        match address.or_else(|| Some(request.peer().addr?.ip())) {
            Some(address) => network(address),
            None => request.peer().to_string(),
        }
    }
}

/// One customer's network is one place: who has one IPv6 address has 2^64.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// Scripts and styles come from files of ours; nothing else does, and nobody frames the page.
fn policy(realtime_url: Option<&str>) -> HeaderValue {
    let realtime = realtime_url.map_or_else(String::new, |url| {
        format!(" {url} {}", url.replacen("http", "ws", 1))
    });
    let text = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'{realtime}; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    );
    // The configuration has checked the only part that is not ours.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// A file of the page, or the page itself for the paths that it knows by itself.
pub(crate) async fn serve(view: View, request: Request) -> Result<Response, Problem> {
    let nothing = || Problem::new(Code::NotFound, "There is nothing at this path.");
    let page = view.page();
    let path = request.path();
    let first = path.split('/').nth(1).unwrap_or_default();
    let files = page.files.as_ref().ok_or_else(nothing)?;
    if NOT_OURS.contains(&first) {
        return Err(nothing());
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = "This path knows only GET.";
        return Err(Problem::new(Code::MethodNotAllowed, message));
    }
    let file = match files.get(path) {
        Some(file) => file,
        // An old page asks for what an update took away: the page would be no answer to that.
        None if path.starts_with(HASHED) => return Err(nothing()),
        None => files.index(),
    };
    Ok(answer(page, file, path, &request))
}

fn answer(page: &Page, file: &File, path: &str, request: &Request) -> Response {
    let known = request.header(IF_NONE_MATCH.as_str());
    let mut response = if known.is_some_and(|known| file.tag == known) {
        let mut response = reply::no_content();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        reply::bytes(StatusCode::OK, file.kind, file.body.clone())
    };
    let cache = if path.starts_with(HASHED) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, cache),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(ETAG, file.tag.clone());
    headers.insert(CONTENT_SECURITY_POLICY, page.policy.clone());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_of_another_origin_are_allowed_and_nothing_else() {
        let text = |url| policy(url).to_str().expect("text").to_owned();
        assert!(text(None).contains("connect-src 'self';"));
        assert!(text(Some("https://p:1")).contains("connect-src 'self' https://p:1 wss://p:1;"));
        assert!(text(Some("http://p")).contains("connect-src 'self' http://p ws://p;"));
        assert!(!text(None).contains("unsafe"));
    }

    #[test]
    fn one_customer_is_one_place() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }
}
