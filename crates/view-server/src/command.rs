//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use forebay_wire::{SiteName, TokenId};

/// The public API of Forebay, and the central side of its sites' links.
#[derive(Debug, Parser)]
#[command(name = "forebay-view-server", version)]
pub struct Command {
    /// The configuration; without this /etc/forebay/view-server.toml if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
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
    /// Sites and their tokens.
    #[command(subcommand)]
    Site(Site),
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

/// Sites and their tokens.
#[derive(Debug, Subcommand)]
pub enum Site {
    /// Add a site, or give a known one another token.
    Add {
        /// Its name.
        name: SiteName,
        /// The new file, of mode 0600, that the token is written to.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// Refuse the site's other tokens from now on.
        #[arg(long)]
        revoke_others: bool,
    },
    /// List sites.
    List,
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
