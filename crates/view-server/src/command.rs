//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use forebay_wire::{AnnouncementId, KeyId, Pin, SiteName, TokenId, feed::Level};

/// The public API of Forebay, and the central side of its sites' links.
#[derive(Debug, Parser)]
#[command(name = "forebay-view-server", version)]
pub struct Command {
    /// The configuration; without this /etc/forebay/view-server.toml if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The built page, to be served; instead of `ui_dir` in the configuration.
    #[arg(long, value_name = "DIR", global = true)]
    pub ui_dir: Option<PathBuf>,
    /// Allow insecure settings, with a warning.
    #[arg(long, global = true)]
    pub dev: bool,
    /// What to do; `serve` if nothing is said.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve until told to stop. Migrates the database first.
    Serve,
    /// Users of this installation.
    #[command(subcommand)]
    User(User),
    /// Tokens of users.
    #[command(subcommand)]
    Token(Token),
    /// Sites and their keys.
    #[command(subcommand)]
    Site(Site),
    /// Certificates.
    #[command(subcommand)]
    Tls(Tls),
    /// What is said to everybody who has signed in.
    #[command(subcommand)]
    Announce(Announce),
    /// Bring the database's schema up to date and end.
    Migrate,
    /// Print the `OpenAPI` document.
    Openapi,
    /// Check the configuration and end.
    Check,
}

/// Users of this installation.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a user, who has the name of a Unix account on the clusters.
    Add {
        /// The name.
        name: String,
    },
    /// Refuse all of a user's tokens from now on.
    Disable {
        /// The name.
        name: String,
    },
}

/// Tokens of users.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token; it is shown once.
    Create(TokenCreate),
    /// List tokens, without their secrets.
    List {
        /// Only this user's.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Refuse a token from now on.
    Revoke {
        /// Its id, `k…`, as `token list` shows it.
        id: TokenId,
    },
}

/// Makes a token.
#[derive(Debug, Args)]
pub struct TokenCreate {
    /// Whose it is.
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// What it is for.
    #[arg(long, default_value = "")]
    pub note: String,
    /// When it ends: `12h`, `30d`, `52w`; never if left out.
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    pub expires_in: Option<std::time::Duration>,
    /// Write it to this new file, of mode 0600, instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Sites and their keys.
#[derive(Debug, Subcommand)]
pub enum Site {
    /// Make a one-time token by which a site's agent registers its key. Adds the site if it is new.
    Enrol(SiteEnrol),
    /// Refuse a site's keys from now on, and what tokens it has left.
    Revoke {
        /// Its name.
        name: SiteName,
        /// Only this key, `e…`, as `site list` shows it.
        #[arg(long, value_name = "ID")]
        key: Option<KeyId>,
    },
    /// List sites with their keys.
    List,
}

/// Makes a token for a site.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  forebay-view-server site enrol here --out here.token
  forebay-agent enrol --token-file here.token        (at the site)

The token holds this server's address and, with TLS, the SHA-256 of its certificate's key, by
which the agent knows it. It is good once. Carry it to the site as you would a password.")]
pub struct SiteEnrol {
    /// Its name.
    pub name: SiteName,
    /// Where the agent reaches this server; the configuration's `url` if left out.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The key of the certificate there, where it is not `tls.cert`: `sha256:…`.
    #[arg(long, value_name = "PIN", conflicts_with = "system_roots")]
    pub pin: Option<Pin>,
    /// The certificate there is of an authority that the site's system trusts.
    #[arg(long)]
    pub system_roots: bool,
    /// How long it is good: `15m`, `12h`, at most `7d`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_age)]
    pub expires_in: std::time::Duration,
    /// Write it to this new file, of mode 0600, instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Certificates.
#[derive(Debug, Subcommand)]
pub enum Tls {
    /// Make a certificate that nobody vouches for: agents and commands know it by its key.
    SelfSigned(SelfSigned),
    /// Print the SHA-256 of a certificate's key, for `--pin`.
    Pin {
        /// The certificate.
        #[arg(long, value_name = "FILE")]
        cert: PathBuf,
        /// Its key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

/// Makes a certificate.
#[derive(Debug, Args)]
pub struct SelfSigned {
    /// The new file of the certificate.
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,
    /// The new file of its key, of mode 0600.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// A host name or address of this server, besides those of loopback; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub name: Vec<String>,
}

/// What is said to everybody who has signed in.
#[derive(Debug, Subcommand)]
pub enum Announce {
    /// Announce something, at once.
    Add {
        /// Plain text, at most 2,000 characters.
        text: String,
        /// `info` or `warning`.
        #[arg(long, default_value = "info")]
        level: Level,
        /// When it ends by itself: `12h`, `3d`; when it is withdrawn if left out.
        #[arg(long, value_name = "TIME", value_parser = parse_age)]
        ends_in: Option<std::time::Duration>,
    },
    /// List what is in force.
    List,
    /// Take an announcement back.
    Withdraw {
        /// Its id, `n…`, as `announce list` shows it.
        id: AnnouncementId,
    },
}

/// `90s`, `15m`, `12h`, `30d`, `52w`.
pub fn parse_age(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 12h or 30d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    match count.checked_mul(seconds) {
        Some(seconds) if (1..=100 * 366 * 86_400).contains(&seconds) => {
            Ok(std::time::Duration::from_secs(seconds))
        }
        _ => Err(format!("`{text}` is out of range: 1 second to 100 years")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn ages() {
        assert_eq!(parse_age("30d").map(|age| age.as_secs()), Ok(30 * 86_400));
        for bad in ["", "d", "0d", "-1d", "5", "5y", "999999999999w", "é"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
