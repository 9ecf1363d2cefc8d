//! What `forebay login` remembers, in `~/.config/forebay/cli.toml`.
//!
//! The file holds a token, so it is read only when nobody else can read it,
//! and written whole or not at all.

use std::{
    fs::{DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use forebay_service::secrets::{self, Reason};
use forebay_wire::{ClusterName, Pin};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::{environment::Environment, failure::Failure, server::Server};

/// Nobody writes more settings than this by hand.
const BYTES_MAX: usize = 64 * 1024;

/// What is remembered.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where the API is.
    pub server: Option<Server>,
    /// What that server's certificate's key is.
    pub pin: Option<Pin>,
    /// The token for that server and no other.
    pub token: Option<SecretString>,
    /// Where jobs go that name no cluster.
    pub cluster: Option<ClusterName>,
    /// Whether the token may cross a network unencrypted.
    pub insecure: bool,
}

/// The file as it is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<toml::Spanned<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<toml::Spanned<Pin>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<toml::Spanned<ClusterName>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
}

/// Where the settings are.
pub fn path(environment: &Environment) -> Result<PathBuf, Failure> {
    Ok(environment.config_home()?.join("forebay").join("cli.toml"))
}

/// Reads the settings; without the file, there are none.
pub fn load(path: &Path) -> Result<Settings, Failure> {
    let text = match secrets::read(path, BYTES_MAX) {
        Ok(text) => text,
        Err(error) => match &error.reason {
            Reason::Io(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(Settings::default());
            }
            Reason::Empty => return Ok(Settings::default()),
            _ => {
                return Err(Failure::caused("cannot use the settings", &error)
                    .hint("They hold your token. If you do not trust the file, remove it and run `forebay login` again."));
            }
        },
    };
    parse(text.expose_secret(), path)
}

fn parse(text: &str, path: &Path) -> Result<Settings, Failure> {
    let at = |offset: usize, message: &str| {
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Failure::new(format!("{}:{line}:{column}: {message}", path.display()))
            .hint("Correct the line, or remove the file and run `forebay login` again.")
    };
    // The error's own text quotes the line, which may be the token's.
    let raw: Raw =
        toml::from_str(text).map_err(|e| at(e.span().map_or(0, |span| span.start), e.message()))?;
    let server = match raw.url {
        None => None,
        Some(url) => Some(
            url.get_ref()
                .parse()
                .map_err(|e: crate::server::ServerError| at(url.span().start, &e.to_string()))?,
        ),
    };
    Ok(Settings {
        server,
        pin: raw.pin.map(toml::Spanned::into_inner),
        token: raw.token.map(SecretString::from),
        cluster: raw.cluster.map(toml::Spanned::into_inner),
        insecure: raw.insecure,
    })
}

/// Writes the settings: a new file takes the old one's place. The file is 0600,
/// its directory, if it is made here, 0700.
pub fn store(settings: &Settings, path: &Path) -> Result<(), Failure> {
    write(settings, path)
        .map_err(|error| Failure::caused(format!("cannot write {}", path.display()), &error))
}

fn write(settings: &Settings, path: &Path) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let spanned = |text: String| toml::Spanned::new(0..0, text);
    let raw = Raw {
        url: settings
            .server
            .as_ref()
            .map(|server| spanned(server.to_string())),
        pin: settings.pin.map(|pin| toml::Spanned::new(0..0, pin)),
        token: settings
            .token
            .as_ref()
            .map(|token| token.expose_secret().to_owned()),
        cluster: settings
            .cluster
            .clone()
            .map(|cluster| toml::Spanned::new(0..0, cluster)),
        insecure: settings.insecure,
    };
    let text = toml::to_string(&raw).map_err(io::Error::other)?;
    // Made with mode 0600, whatever the umask; removed if it does not get its name.
    let mut file = tempfile::Builder::new()
        .prefix(".cli.toml.")
        .tempfile_in(directory)?;
    file.write_all(b"# Written by `forebay login`. Keep it to yourself: it holds your token.\n")?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn settings() -> Settings {
        Settings {
            server: Some("http://127.0.0.1:3001".parse().expect("an address")),
            pin: Some(Pin::new([7; 32])),
            token: Some("fb_k0_\"s\\".to_owned().into()),
            cluster: Some("hpc".parse().expect("a name")),
            insecure: false,
        }
    }

    #[test]
    fn what_is_stored_comes_back_and_is_private() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("config/forebay/cli.toml");
        store(&settings(), &path).expect("stored");
        // A second time over the first.
        store(&settings(), &path).expect("stored");
        let mode =
            |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().expect("a directory")), 0o700);
        let back = load(&path).expect("read");
        assert_eq!(back.server, settings().server);
        assert_eq!(back.pin, settings().pin);
        assert_eq!(back.cluster, settings().cluster);
        assert_eq!(back.token.expect("a token").expose_secret(), "fb_k0_\"s\\");
        assert_eq!(
            std::fs::read_dir(path.parent().expect("a directory"))
                .expect("listed")
                .count(),
            1
        );
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("cli.toml");
        store(&settings(), &path).expect("stored");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let error = load(&path).expect_err("refused").to_string();
        assert!(error.contains("chmod 0600"), "{error}");
    }

    #[test]
    fn mistakes_name_line_and_column_and_never_the_token() {
        let path = Path::new("/x/cli.toml");
        let cases = [
            (
                "url = \"http://x\"\ntokn = \"fb_secret\"\n",
                "/x/cli.toml:2:1: unknown field `tokn`",
            ),
            ("token = \"fb_secret", "/x/cli.toml:1:"),
            (
                "\nurl = \"ftp://x\"\n",
                "/x/cli.toml:2:7: the address must begin",
            ),
            ("cluster = \"A B\"\n", "/x/cli.toml:1:11: a name has"),
        ];
        for (text, expected) in cases {
            let error = parse(text, path).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(
            load(Path::new("/nonexistent/cli.toml"))
                .expect("none")
                .token
                .is_none()
        );
    }
}
