//! Configuration: raw from TOML, then validated as a whole, every problem named
//! with its file, line and column.

mod raw;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use forebay_postgres::Target;
use forebay_service::{
    Strictness,
    config::{ConfigError, Problems, Spanned, load, parse},
    logs::Format,
    secrets,
};
use secrecy::ExposeSecret as _;

use raw::Raw;

/// Where the configuration is, unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/forebay/realtime.toml";
/// The development port; see the table of ports.
const DEFAULT_PORT: u16 = 5001;
/// The most bytes of a file that holds a URL.
const URL_BYTES: usize = 4_096;

/// Everything that realtime is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// A unix socket to listen on as well.
    pub unix_socket: Option<PathBuf>,
    /// `dev`, `staging`, `prod`: part of default paths.
    pub environment: String,
    /// The central database.
    pub database: Database,
    /// Bounds.
    pub limits: Limits,
    /// Pages of these origins may open a WebSocket.
    pub origins: Vec<String>,
    /// How it logs.
    pub log: Log,
}

/// The central database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where it is.
    pub target: Target,
    /// Connections at most.
    pub connections: usize,
}

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Readers connected at once.
    pub clients: u32,
    /// The same for one user.
    pub clients_per_user: u32,
    /// Without the doorbell, look for news this often.
    pub poll: Duration,
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
            unix_socket: raw
                .unix_socket
                .and_then(|path| absolute(&path, &mut problems)),
            database: database(&raw.database, &environment, &mut problems, strictness),
            environment,
            origins: origins(&raw.origins, &mut problems),
            limits: Limits {
                clients: problems.within(raw.limits.clients.as_ref(), 1..=1_000_000, 12_000),
                clients_per_user: problems.within(
                    raw.limits.clients_per_user.as_ref(),
                    1..=1_000_000,
                    64,
                ),
                poll: Duration::from_millis(problems.within(
                    raw.limits.poll_ms.as_ref(),
                    100..=60_000,
                    1_000,
                )),
            },
            log: log(raw.log),
        };
        problems.finish(config)
    }

    /// How requests reach this service, for a person: `127.0.0.1:5001`.
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
            .map_err(|_| "must be an address and port, such as 127.0.0.1:5001")
    };
    let Some(address) = problems.convert(text, parse) else {
        return default;
    };
    if !address.ip().is_loopback() && !raw.behind_tls.unwrap_or(false) {
        let message = "listens beyond loopback without TLS: tokens would travel in the clear; put a gateway that \
                       ends TLS in front and set behind_tls = true";
        strictness.insecure(problems, text.span(), message);
    }
    address
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

/// As browsers send them: `https://portal.example.org`, with a port unless it is the scheme's own.
fn origins(raw: &[Spanned<String>], problems: &mut Problems) -> Vec<String> {
    let check = |text: &String| {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:[]".contains(c);
        let good = rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(plain));
        good.then(|| text.clone())
            .ok_or("must be an origin as browsers send it, such as https://portal.example.org")
    };
    raw.iter()
        .filter_map(|origin| problems.convert(origin, check))
        .collect()
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
