//! Configuration: raw from TOML, then validated as a whole, every problem named
//! with its file, line and column.

mod raw;
mod reach;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use forebay_central::Retention;
use forebay_postgres::Target;
use forebay_service::{
    Strictness,
    config::{ConfigError, Problems, Spanned, load, parse},
    logs::Format,
    secrets,
};
use secrecy::ExposeSecret as _;

use raw::Raw;

pub use reach::Reach;
pub(crate) use reach::is_loopback;

/// Where the configuration is, unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/forebay/view-server.toml";
/// The development port; see the table of ports.
const DEFAULT_PORT: u16 = 3001;
/// The most bytes of a file that holds a URL.
const URL_BYTES: usize = 4_096;

/// Everything the view-server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How others reach it.
    pub reach: Reach,
    /// A unix socket to listen on as well.
    pub unix_socket: Option<PathBuf>,
    /// A gateway in front ends TLS and says where calls came from.
    pub behind_tls: bool,
    /// `dev`, `staging`, `prod`: part of default paths.
    pub environment: String,
    /// The built page; none is served without.
    pub ui_dir: Option<PathBuf>,
    /// Where the page finds feeds; its own origin if absent.
    pub realtime_url: Option<String>,
    /// The central database.
    pub database: Database,
    /// Bounds.
    pub limits: Limits,
    /// How long things are kept.
    pub retention: Retention,
    /// How it logs.
    pub log: Log,
    /// Whether insecure settings are allowed.
    pub dev: bool,
}

/// The central database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where it is.
    pub target: Target,
    /// Connections at most.
    pub connections: usize,
}

/// Bounds of the public side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once.
    pub connections: u32,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Bytes of a script.
    pub script_bytes: usize,
    /// For so long after its tunnel ended, or after our own start, a site is likely to be back in
    /// a moment: readers of logs wait for it.
    pub site_return: Duration,
}

/// How it logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// Text or JSON.
    pub format: Format,
    /// A level, or `target=level,…`.
    pub filter: String,
}

impl Config {
    /// From the file, which must exist.
    pub fn load(path: &Path, strictness: Strictness) -> Result<Self, ConfigError> {
        let (raw, problems) = load(path)?;
        Self::validate(raw, problems, strictness)
    }

    /// What holds where there is no file.
    pub fn defaults(strictness: Strictness) -> Result<Self, ConfigError> {
        Self::from_text("(defaults)", "", strictness)
    }

    /// From text, which errors call `name`.
    pub fn from_text(name: &str, text: &str, strictness: Strictness) -> Result<Self, ConfigError> {
        let (raw, problems) = parse(&[(name, text)])?;
        Self::validate(raw, problems, strictness)
    }

    fn validate(
        raw: Raw,
        mut problems: Problems,
        strictness: Strictness,
    ) -> Result<Self, ConfigError> {
        let environment = environment(&raw, &mut problems);
        let config = Self {
            listen: listen(&raw, &mut problems, strictness),
            reach: reach::reach(&raw, &mut problems, strictness),
            unix_socket: raw
                .unix_socket
                .and_then(|path| absolute(&path, &mut problems)),
            behind_tls: raw.behind_tls.unwrap_or(false),
            ui_dir: raw.ui_dir.and_then(|path| absolute(&path, &mut problems)),
            realtime_url: realtime_url(raw.realtime_url.as_ref(), &mut problems, strictness),
            database: database(&raw.database, &environment, &mut problems, strictness),
            environment,
            limits: Limits {
                connections: problems.within(raw.limits.connections.as_ref(), 1..=1_000_000, 1_024),
                body_bytes: bytes(raw.limits.body_bytes.as_ref(), &mut problems),
                script_bytes: bytes(raw.limits.script_bytes.as_ref(), &mut problems),
                // Agents wait at most 30 seconds between two tries.
                site_return: Duration::from_secs(problems.within(
                    raw.limits.site_return_s.as_ref(),
                    0..=600,
                    40,
                )),
            },
            retention: retention(&raw.retention, &mut problems),
            log: log(raw.log),
            dev: strictness.dev,
        };
        problems.finish(config)
    }

    /// Where agents reach this server: as it was said, or where it listens.
    pub fn url(&self) -> Option<String> {
        let listens = || self.url_at(self.listen);
        self.reach.url.clone().or_else(listens)
    }

    /// The URL of an address, unless that says nothing, as `0.0.0.0` does.
    pub(crate) fn url_at(&self, address: SocketAddr) -> Option<String> {
        let scheme = match self.reach.certificates {
            Some(_) => "https",
            None => "http",
        };
        (!address.ip().is_unspecified()).then(|| format!("{scheme}://{address}"))
    }

    /// How requests reach this service, for a person: `127.0.0.1:3001`.
    pub fn address(&self) -> String {
        self.listen.to_string()
    }
}

fn environment(raw: &Raw, problems: &mut Problems) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let check = |name: &String| {
        let good = !name.is_empty() && name.len() <= 32 && name.chars().all(plain);
        good.then(|| name.clone())
            .ok_or("must be 1 to 32 of a-z, 0-9 and -")
    };
    let given = raw
        .environment
        .as_ref()
        .and_then(|name| problems.convert(name, check));
    given.unwrap_or_else(|| "dev".into())
}

fn listen(raw: &Raw, problems: &mut Problems, strictness: Strictness) -> SocketAddr {
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_PORT);
    let Some(text) = &raw.listen else {
        return default;
    };
    let parse = |text: &String| {
        text.parse::<SocketAddr>()
            .map_err(|_| "must be an address and port, such as 127.0.0.1:3001")
    };
    let Some(address) = problems.convert(text, parse) else {
        return default;
    };
    let encrypted = raw.tls.cert.is_some() || raw.behind_tls.unwrap_or(false);
    if !address.ip().is_loopback() && !encrypted {
        let message = "listens beyond loopback without TLS: tokens would travel in the clear; give tls.cert and \
                       tls.key, or put a gateway that ends TLS in front and set behind_tls = true";
        strictness.insecure(problems, text.span(), message);
    }
    address
}

/// An origin: it becomes part of the page's Content-Security-Policy.
fn realtime_url(
    raw: Option<&Spanned<String>>,
    problems: &mut Problems,
    strictness: Strictness,
) -> Option<String> {
    let raw = raw?;
    let parse = |text: &String| {
        let wrong =
            "must be an origin, such as https://portal.example.org or http://127.0.0.1:5001";
        let uri: http::Uri = text.parse().map_err(|_| wrong)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority))
                if matches!(uri.path(), "" | "/")
                    && uri.query().is_none()
                    && authority.as_str().chars().all(plain) =>
            {
                Ok((
                    format!("{scheme}://{authority}"),
                    scheme == "https" || is_loopback(authority.host()),
                ))
            }
            _ => Err(wrong),
        }
    };
    let (origin, safe) = problems.convert(raw, parse)?;
    if !safe {
        let message = "goes beyond loopback without TLS: the session's cookie would travel in the clear; use https";
        strictness.insecure(problems, raw.span(), message);
    }
    Some(origin)
}

fn absolute(path: &Spanned<PathBuf>, problems: &mut Problems) -> Option<PathBuf> {
    problems.convert(path, |path| {
        let good = path.is_absolute().then(|| path.clone());
        good.ok_or("must be an absolute path")
    })
}

fn database(
    raw: &raw::Database,
    environment: &str,
    problems: &mut Problems,
    strictness: Strictness,
) -> Database {
    let ways = [
        raw.url.as_ref().map(Spanned::span),
        raw.url_file.as_ref().map(Spanned::span),
        raw.socket_dir.as_ref().map(Spanned::span),
    ];
    for span in ways.into_iter().flatten().skip(1) {
        problems.at(span, "give only one of url, url_file and socket_dir");
    }
    Database {
        target: target(raw, environment, problems, strictness),
        connections: problems.within(raw.connections.as_ref(), 2..=1_000, 16),
    }
}

fn target(
    raw: &raw::Database,
    environment: &str,
    problems: &mut Problems,
    strictness: Strictness,
) -> Target {
    let socket_dir = raw
        .socket_dir
        .as_ref()
        .and_then(|path| absolute(path, problems));
    let private = Target::Private {
        socket_dir: socket_dir
            .unwrap_or_else(|| PathBuf::from(format!("/run/forebay/{environment}/db"))),
        database: raw.name.clone().unwrap_or_else(|| "forebay".into()),
        role: raw.role.clone().unwrap_or_else(|| "forebay".into()),
    };
    let found = if let Some(url) = &raw.url {
        let target = problems.convert(url, |url| Target::url(url));
        if let Some(Target::Url(config)) = &target
            && config.get_password().is_some()
        {
            let message = "holds a password, which others may read here; put the URL into a file of mode 0600 \
                           and name it as url_file";
            strictness.insecure(problems, url.span(), message);
        }
        target
    } else if let Some(path) = &raw.url_file {
        problems.convert(path, |path| {
            let text = secrets::read(path, URL_BYTES)
                .map_err(|error| forebay_service::logs::chain(&error))?;
            Target::url(text.expose_secret()).map_err(|error| error.to_string())
        })
    } else {
        None
    };
    found.unwrap_or(private)
}

fn bytes(raw: Option<&Spanned<usize>>, problems: &mut Problems) -> usize {
    problems.within(raw, 1_024..=(64 << 20), 4 << 20)
}

fn retention(raw: &raw::Retention, problems: &mut Problems) -> Retention {
    let usual = Retention::default();
    let mut days = |value: Option<&Spanned<u64>>, default: Duration| {
        let default = default.as_secs() / 86_400;
        Duration::from_secs(problems.within(value, 1..=36_500, default) * 86_400)
    };
    Retention {
        jobs: days(raw.jobs_days.as_ref(), usual.jobs),
        audit: days(raw.audit_days.as_ref(), usual.audit),
        feed: days(raw.feed_days.as_ref(), usual.feed),
    }
}

fn log(raw: raw::Log) -> Log {
    Log {
        format: match raw.format {
            Some(raw::LogFormat::Json) => Format::Json,
            Some(raw::LogFormat::Pretty) | None => Format::Pretty,
        },
        filter: raw.filter.unwrap_or_else(|| "info".into()),
    }
}
