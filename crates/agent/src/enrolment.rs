//! What makes this agent its site's: a key that never leaves the site, and
//! where the view-server is that knows it.
//!
//! Both are in one directory of mode 0700: `key`, the private key, and
//! `enrolment.json`, which holds no secret.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use forebay_http::{Client, ClientError, client::ClientLimits, tls::Trust};
use forebay_service::{
    Strictness,
    secrets::{self, SecretError},
};
use forebay_wire::{
    KeyId, Pin, SiteName, Timestamp, hex,
    link::{
        ASSERTION_CONTEXT, ASSERTION_S, Assertion, Enrol, Enrolled, OpenSession, Statement, Ticket,
        TicketError,
    },
};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const KEY: &str = "key";
const FILE: &str = "enrolment.json";
/// Of either file, and of a ticket.
const BYTES_MAX: usize = 8 << 10;

/// The site cannot be enrolled, or is not.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    /// Nobody has enrolled it.
    #[error(
        "this site is not enrolled: {} is not there. Have `forebay-view-server site enrol NAME` make a token, then run \
         `forebay-agent enrol --token-file FILE`",
        .0.display()
    )]
    None(PathBuf),
    /// It is enrolled.
    #[error(
        "{} holds the enrolment of site {site} already; move it away to enrol anew",
        path.display()
    )]
    Already {
        /// The directory.
        path: PathBuf,
        /// As whom.
        site: SiteName,
    },
    /// A file of it.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be understood.
    #[error("{} is not an enrolment of this version", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The key, or the token, is not where only this account can read it.
    #[error("a secret cannot be read")]
    Secret(#[from] SecretError),
    /// What was read is no key.
    #[error("{} does not hold an Ed25519 key", .0.display())]
    Key(PathBuf),
    /// The token.
    #[error("the token cannot be used")]
    Ticket(#[from] TicketError),
    /// Where it leads.
    #[error(
        "{0} reaches beyond loopback without TLS: others on the way could speak for either side. Give the view-server a \
         certificate (allowed only with --dev)"
    )]
    Exposed(String),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The view-server.
    #[error("the view-server did not enrol this site")]
    Refused(#[source] ClientError),
    /// Its address.
    #[error("the view-server's address cannot be used")]
    Address(#[source] ClientError),
}

/// A site's enrolment, with its key.
#[derive(Debug)]
pub struct Enrolment {
    place: Place,
    pair: Ed25519KeyPair,
}

/// The file, which holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    site: SiteName,
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<Pin>,
    key: KeyId,
    installation: Uuid,
}

impl Enrolment {
    /// Reads it.
    pub fn load(dir: &Path) -> Result<Self, EnrolmentError> {
        let place = place(dir)?.ok_or_else(|| EnrolmentError::None(dir.join(FILE)))?;
        Ok(Self {
            place,
            pair: read_key(&dir.join(KEY))?,
        })
    }

    /// As whom.
    pub fn site(&self) -> &SiteName {
        &self.place.site
    }

    /// Where the view-server is.
    pub fn url(&self) -> &str {
        &self.place.url
    }

    /// Calls to it; `dev` allows to speak in the clear beyond this host.
    pub fn client(&self, strictness: Strictness) -> Result<Client, EnrolmentError> {
        client(&self.place.url, self.place.pin, strictness)
    }

    /// Says who this is, once.
    pub fn assertion(&self, open: OpenSession) -> Result<Assertion, serde_json::Error> {
        let now = Timestamp::now();
        let statement = Statement {
            site: self.place.site.clone(),
            aud: self.place.installation,
            issued_at: now,
            expires_at: (now.get() + Duration::from_secs(ASSERTION_S)).into(),
            jti: Uuid::new_v4(),
            open,
        };
        let statement = serde_json::to_string(&statement)?;
        let signed = [ASSERTION_CONTEXT, &statement].concat();
        Ok(Assertion {
            key: self.place.key,
            signature: hex::encode(self.pair.sign(signed.as_bytes()).as_ref()),
            statement,
        })
    }
}

/// Makes a key in `dir`, registers it, and writes down as whom. A try that came to nothing can be
/// repeated with the same token: the key is kept.
pub async fn enrol(
    dir: &Path,
    ticket: &Ticket,
    strictness: Strictness,
) -> Result<Enrolment, EnrolmentError> {
    if let Some(known) = place(dir)? {
        return Err(EnrolmentError::Already {
            path: dir.to_owned(),
            site: known.site,
        });
    }
    // Before anything is made or sent.
    let client = client(&ticket.url, ticket.pin, strictness)?;
    let token: SecretString = ticket.token.clone().into();
    let client = client
        .with_bearer(&token)
        .map_err(EnrolmentError::Address)?;
    let pair = make_key(dir)?;
    let request = Enrol {
        public_key: hex::encode(pair.public_key().as_ref()),
    };
    let enrolled: Enrolled = client
        .post("/link/v1/enrol", &request)
        .await
        .map_err(EnrolmentError::Refused)?;
    let place = Place {
        site: enrolled.site,
        url: ticket.url.clone(),
        pin: ticket.pin,
        key: enrolled.key,
        installation: enrolled.installation,
    };
    let path = dir.join(FILE);
    let text =
        serde_json::to_string_pretty(&place).map_err(|source| EnrolmentError::Unreadable {
            path: path.clone(),
            source,
        })?;
    write_new(&path, &text)?;
    Ok(Enrolment { place, pair })
}

/// The ticket in a file of this account, or on standard input.
pub fn ticket(file: Option<&Path>) -> Result<Ticket, EnrolmentError> {
    let text = match file {
        Some(file) => secrets::read(file, BYTES_MAX)?,
        None => {
            let mut text = String::new();
            let limit = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
            io::stdin()
                .take(limit)
                .read_to_string(&mut text)
                .map_err(at(Path::new("standard input")))?;
            text.into()
        }
    };
    Ok(text.expose_secret().parse()?)
}

/// Whether a host is this one.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn client(url: &str, pin: Option<Pin>, strictness: Strictness) -> Result<Client, EnrolmentError> {
    let uri = url.parse::<http::Uri>().ok();
    let encrypted = uri.as_ref().and_then(http::Uri::scheme_str) == Some("https");
    let here = uri
        .as_ref()
        .and_then(http::Uri::host)
        .is_some_and(is_loopback);
    if !encrypted && !here && !strictness.dev {
        return Err(EnrolmentError::Exposed(url.to_owned()));
    }
    let trust = pin.map_or(Trust::System, Trust::Pin);
    Client::to_with(url, trust, ClientLimits::default(), false).map_err(EnrolmentError::Address)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> EnrolmentError {
    let path = path.to_owned();
    |source| EnrolmentError::File { path, source }
}

fn place(dir: &Path) -> Result<Option<Place>, EnrolmentError> {
    let path = dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path)(error)),
    };
    let place = serde_json::from_str(&text);
    place
        .map(Some)
        .map_err(|source| EnrolmentError::Unreadable { path, source })
}

fn read_key(path: &Path) -> Result<Ed25519KeyPair, EnrolmentError> {
    let text = secrets::read(path, BYTES_MAX)?;
    hex::decode(text.expose_secret())
        .and_then(|pkcs8| Ed25519KeyPair::from_pkcs8(&pkcs8).ok())
        .ok_or_else(|| EnrolmentError::Key(path.to_owned()))
}

/// The key of a try that came to nothing, or a new one.
fn make_key(dir: &Path) -> Result<Ed25519KeyPair, EnrolmentError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(at(dir))?;
    let path = dir.join(KEY);
    if !path.exists() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|_| EnrolmentError::Random)?;
        write_new(&path, &hex::encode(pkcs8.as_ref()))?;
    }
    read_key(&path)
}

/// A file of mode 0600, whole or not at all.
fn write_new(path: &Path, text: &str) -> Result<(), EnrolmentError> {
    let mut half = path.as_os_str().to_owned();
    half.push(format!(".{}", std::process::id()));
    let half = PathBuf::from(half);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&half)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&half, path)?;
        match path.parent() {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|error| {
        let _ = fs::remove_file(&half);
        at(path)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Strictness = Strictness { dev: false };

    #[test]
    fn plain_http_stays_on_this_host() {
        for url in [
            "http://hpc.example.org",
            "http://10.0.0.1:3001",
            "http://[2001:db8::1]",
        ] {
            let refused = client(url, None, STRICT).expect_err(url);
            assert!(matches!(refused, EnrolmentError::Exposed(_)), "{refused:?}");
            assert!(client(url, None, Strictness { dev: true }).is_ok());
        }
        for url in [
            "http://127.0.0.1:3001",
            "http://localhost",
            "http://[::1]:3001",
        ] {
            assert!(client(url, None, STRICT).is_ok(), "{url}");
        }
        let pin = Pin::new([1; 32]);
        assert!(client("https://hpc.example.org", Some(pin), STRICT).is_ok());
        for url in ["ftp://127.0.0.1", "127.0.0.1", "http://u:p@127.0.0.1"] {
            assert!(client(url, None, STRICT).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_or_made_where_the_way_is_not_safe() {
        let dir = forebay_testbed::dirs::Dir::new("enrol").expect("a directory");
        let place = dir.path().join("enrolment");
        let ticket: Ticket = "fe_k1_s@http://hpc.example.org".parse().expect("a ticket");
        let refused = enrol(&place, &ticket, STRICT)
            .await
            .expect_err("in the clear");
        assert!(matches!(refused, EnrolmentError::Exposed(_)), "{refused:?}");
        assert!(!place.exists());
        assert!(matches!(
            Enrolment::load(&place),
            Err(EnrolmentError::None(_))
        ));
    }

    #[test]
    fn a_key_is_private_and_kept() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = forebay_testbed::dirs::Dir::new("enrol").expect("a directory");
        let place = dir.path().join("enrolment");
        let first = make_key(&place).expect("a key");
        let again = make_key(&place).expect("the key");
        assert_eq!(first.public_key().as_ref(), again.public_key().as_ref());
        let mode = |path: &Path| {
            let metadata = fs::metadata(path).expect("there");
            metadata.permissions().mode() & 0o7777
        };
        assert_eq!((mode(&place), mode(&place.join(KEY))), (0o700, 0o600));
        fs::set_permissions(place.join(KEY), fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(make_key(&place), Err(EnrolmentError::Secret(_))));
    }
}
