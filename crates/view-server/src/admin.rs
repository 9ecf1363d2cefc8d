//! The commands for whoever runs this installation. They are the service's
//! account's own: nobody else can read its database's secret.
#![allow(clippy::print_stdout, reason = "commands speak to people")]

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use forebay_central::{Actor, Store};
use forebay_http::tls::Certificates;
use forebay_wire::{Timestamp, link::Ticket};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::{
    command::{Announce, Site, SiteEnrol, Token, TokenCreate, User},
    config::{Config, is_loopback},
};

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The store said no; the problem's words are for people.
    #[error("{}", .0.problem().message)]
    Store(#[source] forebay_central::Error),
    /// Nobody said where agents reach this server.
    #[error(
        "where do agents reach this server? Say --url https://HOST, or set `url` in the configuration"
    )]
    NoUrl,
    /// Not a URL.
    #[error("`{url}` is not a URL such as https://forebay.example.org")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// Tokens would travel in the clear.
    #[error("{url} reaches beyond loopback without TLS, and agents refuse that: use https://")]
    Exposed {
        /// As given.
        url: String,
    },
    /// The secret could not be put into its file.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<forebay_central::Error> for AdminError {
    fn from(error: forebay_central::Error) -> Self {
        Self::Store(error)
    }
}

/// Who acts in the audit: the account that runs the command.
fn operator() -> Actor {
    Actor {
        name: "operator".into(),
        request_id: Uuid::new_v4().to_string(),
        peer: format!("uid:{}", rustix::process::getuid().as_raw()),
    }
}

/// `user …`
pub async fn user(store: &Store, user: User) -> Result<(), AdminError> {
    match user {
        User::Add { name } => {
            let id = store.user_add(&name, &operator()).await?;
            println!("Added user {name}, {id}.");
        }
        User::Disable { name } => {
            store.user_disable(&name, &operator()).await?;
            println!("Disabled user {name}: all of their tokens are refused from now on.");
        }
    }
    Ok(())
}

/// `token …`
pub async fn token(store: &Store, token: Token) -> Result<(), AdminError> {
    match token {
        Token::Create(create) => token_create(store, create).await,
        Token::List { user } => {
            for token in store.token_list(user.as_deref()).await? {
                let end = match (token.revoked_at, token.expires_at) {
                    (Some(at), _) => format!("revoked {at}"),
                    (None, Some(at)) => format!("expires {at}"),
                    (None, None) => "does not expire".into(),
                };
                println!(
                    "{}  {}  made {}  {end}  {}",
                    token.id, token.user, token.created_at, token.note
                );
            }
            Ok(())
        }
        Token::Revoke { id } => {
            store.token_revoke(id, &operator()).await?;
            println!("Revoked {id}.");
            Ok(())
        }
    }
}

async fn token_create(store: &Store, create: TokenCreate) -> Result<(), AdminError> {
    let file = create.out.as_deref().map(SecretFile::create).transpose()?;
    let token = store
        .token_create(&create.user, &create.note, create.expires_in, &operator())
        .await?;
    match file {
        Some(file) => file.write(token.token.expose_secret()),
        None => {
            // The only place that shows a secret, because it was asked for.
            println!("{}", token.token.expose_secret());
            Ok(())
        }
    }
}

/// `site …`
pub async fn site(store: &Store, config: &Config, site: Site) -> Result<(), AdminError> {
    match site {
        Site::Enrol(enrol) => site_enrol(store, config, enrol).await?,
        Site::Revoke { name, key } => {
            let revoked = store.site_revoke(&name, key, &operator()).await?;
            println!(
                "Revoked {revoked} of site {name}'s keys: nothing of theirs is accepted any more."
            );
        }
        Site::List => {
            let keys = store.site_keys().await?;
            for site in store.sites().await? {
                let seen = site
                    .seen_at
                    .map_or_else(|| "never seen".into(), |at| format!("seen {at}"));
                println!(
                    "{}  link {}  {seen}  {}",
                    site.name,
                    site.epoch,
                    site.agent_version.unwrap_or_default()
                );
                for key in keys.iter().filter(|key| key.site == site.name) {
                    let end = key
                        .revoked_at
                        .map_or_else(|| "good".into(), |at| format!("revoked {at}"));
                    println!("  key {}  enrolled {}  {end}", key.id, key.created_at);
                }
            }
        }
    }
    Ok(())
}

async fn site_enrol(store: &Store, config: &Config, enrol: SiteEnrol) -> Result<(), AdminError> {
    let url = enrol.url.clone().or_else(|| config.url());
    let url = url.ok_or(AdminError::NoUrl)?;
    let uri = url.parse::<http::Uri>().ok();
    let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
    let host = uri.as_ref().and_then(http::Uri::host);
    let pin = match (scheme, host) {
        (Some("https"), Some(_)) if enrol.system_roots => None,
        (Some("https"), Some(_)) => enrol
            .pin
            .or_else(|| config.reach.certificates.as_ref().map(Certificates::pin)),
        (Some("http"), Some(host)) => {
            if !is_loopback(host) && !config.dev {
                return Err(AdminError::Exposed { url });
            }
            None
        }
        _ => return Err(AdminError::BadUrl { url }),
    };
    let file = enrol.out.as_deref().map(SecretFile::create).transpose()?;
    let token = store
        .site_enrol(&enrol.name, enrol.expires_in, &operator())
        .await?;
    let ticket = Ticket {
        token: token.token.expose_secret().to_owned(),
        url,
        pin,
    };
    match file {
        Some(file) => file.write(&ticket.text()),
        None => {
            println!("{}", ticket.text());
            Ok(())
        }
    }
}

/// `announce …`
pub async fn announce(store: &Store, announce: Announce) -> Result<(), AdminError> {
    match announce {
        Announce::Add {
            text,
            level,
            ends_in,
        } => {
            let until =
                ends_in.and_then(|age| Timestamp::now().get().checked_add(age.try_into().ok()?));
            let id = store
                .announce(&text, level, until.map(Timestamp::from), &operator())
                .await?;
            println!("Announced {id}.");
        }
        Announce::List => {
            for one in store.announcements().await? {
                let end = one
                    .until
                    .map_or_else(|| "until withdrawn".into(), |at| format!("until {at}"));
                println!(
                    "{}  {}  made {}  {end}  {}",
                    one.id,
                    one.level,
                    one.created_at,
                    one.text.replace('\n', " ")
                );
            }
        }
        Announce::Withdraw { id } => {
            store.announcement_withdraw(id, &operator()).await?;
            println!("Withdrew {id}.");
        }
    }
    Ok(())
}

/// A new file for a secret, made before the secret, so that none is made in vain.
struct SecretFile<'a> {
    path: &'a Path,
    file: std::fs::File,
    written: bool,
}

impl<'a> SecretFile<'a> {
    fn create(path: &'a Path) -> Result<Self, AdminError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let file = file.map_err(|source| AdminError::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path,
            file,
            written: false,
        })
    }

    fn write(mut self, secret: &str) -> Result<(), AdminError> {
        let written = writeln!(self.file, "{secret}").and_then(|()| self.file.sync_all());
        written.map_err(|source| AdminError::Write {
            path: self.path.to_owned(),
            source,
        })?;
        self.written = true;
        Ok(())
    }
}

impl Drop for SecretFile<'_> {
    /// An empty file would look like a token.
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(self.path);
        }
    }
}
