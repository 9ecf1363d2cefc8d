//! What a private instance is told, and the checks that need nothing but the values.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Error;
use super::{ADMIN, PORT, SOCKET_PATH_BYTES_MAX};

/// A database, and the role that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// The database's name: lower-case letters, digits and underscores.
    pub name: String,
    /// The role that owns it and the only one, besides the administrator, that may connect to it.
    pub role: String,
    /// Accounts of this system that may be that role, besides [`Config::os_users`].
    pub os_users: Vec<String>,
}

/// How a private instance is set up. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Config {
    /// Holds the data. Made with its parents if missing; under root 0711, else 0700.
    pub state_dir: PathBuf,
    /// Holds the socket, for this instance alone. Made with its parents if missing, 0755.
    pub socket_dir: PathBuf,
    /// Where `initdb` and `postgres` are; searched for when `None`.
    pub bin_dir: Option<PathBuf>,
    /// The account to run as when started by root; `None` is `forebay` if it exists, else `postgres`. A plain user
    /// can only run it as itself.
    pub run_as: Option<String>,
    /// What clients find there. Made when missing, never removed.
    pub databases: Vec<Database>,
    /// Accounts that may be any of the roles. The account it runs as and the one that supervises it always may, and
    /// those two are also the administrator `postgres`.
    pub os_users: Vec<String>,
    /// Connections that the server allows.
    pub connections_max: u16,
    /// Whether commits survive a power failure. Only tests have a reason to say no; a killed process loses nothing
    /// either way.
    pub fsync: bool,
    /// How long a start may take. After a crash the server first replays its log.
    pub start_max: Duration,
    /// How long an orderly stop may take before it is made disorderly (which loses nothing, but the next start
    /// replays the log).
    pub stop_max: Duration,
}

impl Config {
    /// The defaults: programs searched for, the usual account, 100 connections, 10 minutes to start, 60 s to stop.
    pub fn new(
        state_dir: impl Into<PathBuf>,
        socket_dir: impl Into<PathBuf>,
        databases: Vec<Database>,
    ) -> Config {
        Config {
            state_dir: state_dir.into(),
            socket_dir: socket_dir.into(),
            bin_dir: None,
            run_as: None,
            databases,
            os_users: Vec::new(),
            connections_max: 100,
            fsync: true,
            start_max: Duration::from_secs(600),
            stop_max: Duration::from_secs(60),
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        for (setting, path) in [
            ("state_dir", &self.state_dir),
            ("socket_dir", &self.socket_dir),
        ] {
            if !path.is_absolute() {
                return Err(Error::config(
                    setting,
                    format!("{} is not an absolute path", path.display()),
                ));
            }
            // They stand in the server's arguments, one of them in a list with commas.
            let plain = |b: &u8| !b.is_ascii_control() && !matches!(b, b',' | b'"' | b'\'' | b'\\');
            if path
                .to_str()
                .is_none_or(|text| !text.as_bytes().iter().all(plain))
            {
                return Err(Error::config(
                    setting,
                    format!(
                        "{} holds a comma, a quote, a backslash or a byte that is no text",
                        path.display()
                    ),
                ));
            }
        }
        let socket = socket_path(&self.socket_dir);
        let length = socket.as_os_str().as_bytes().len();
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(Error::SocketPathTooLong {
                path: socket,
                length,
            });
        }
        if self.connections_max < 10 {
            return Err(Error::config("connections_max", "at least 10 are needed"));
        }
        for database in &self.databases {
            for name in [&database.name, &database.role] {
                if !is_plain_name(name) {
                    return Err(Error::config(
                        "databases",
                        format!("{name:?} is not a plain lower-case name"),
                    ));
                }
                if name == ADMIN || name.starts_with("pg_") || name.starts_with("template") {
                    return Err(Error::config(
                        "databases",
                        format!("{name} is a name of PostgreSQL's own"),
                    ));
                }
            }
        }
        let accounts = self
            .os_users
            .iter()
            .chain(self.databases.iter().flat_map(|d| &d.os_users));
        for account in accounts {
            if !is_account_name(account) {
                return Err(Error::config(
                    "os_users",
                    format!("{account:?} is not an account's name"),
                ));
            }
        }
        Ok(())
    }
}

/// The socket that clients connect to.
pub fn socket_path(socket_dir: &Path) -> PathBuf {
    socket_dir.join(format!(".s.PGSQL.{PORT}"))
}

/// A name that needs no quoting in SQL.
pub(crate) fn is_plain_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// A name that means itself, and not a pattern or a keyword, in `pg_ident.conf`.
fn is_account_name(name: &str) -> bool {
    let body = name.strip_suffix('$').unwrap_or(name);
    (1..=64).contains(&body.len())
        && !body.starts_with(['-', '.'])
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@'))
}

/// The two files that say who may connect: by kernel uid over the socket, nothing else; no password, no trust.
pub(super) struct AccessFiles {
    pub(super) hba: String,
    pub(super) ident: String,
}

impl AccessFiles {
    /// `keepers` are the account that the server runs as and the one that supervises it.
    pub(super) fn render(config: &Config, keepers: &[&str]) -> AccessFiles {
        let mut hba = format!(
            "# Written at each start; changes are lost.\nlocal all {ADMIN} peer map=forebay\n"
        );
        let mut ident = "# Written at each start; changes are lost.\n".to_owned();
        let mut allow = |account: &str, role: &str| {
            let line = format!("forebay \"{account}\" {role}\n");
            if !ident.contains(&line) {
                ident.push_str(&line);
            }
        };
        for keeper in keepers {
            allow(keeper, ADMIN);
        }
        for database in &config.databases {
            let Database {
                name,
                role,
                os_users,
            } = database;
            let line = format!("local {name} {role} peer map=forebay\n");
            if !hba.contains(&line) {
                hba.push_str(&line);
            }
            let plain = config.os_users.iter().chain(os_users).map(String::as_str);
            for account in keepers.iter().copied().chain(plain) {
                allow(account, role);
            }
        }
        AccessFiles { hba, ident }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let database = |name: &str, account: &str| Database {
            name: name.to_owned(),
            role: name.to_owned(),
            os_users: vec![account.to_owned()],
        };
        let databases = vec![
            database("forebay", "forebay-web"),
            database("forebay_site", "forebay-agent"),
        ];
        Config {
            os_users: vec!["operator".to_owned()],
            ..Config::new("/var/lib/x", "/run/x", databases)
        }
    }

    #[test]
    fn each_account_reaches_its_own_database_only() {
        let files = AccessFiles::render(&config(), &["postgres", "root"]);
        insta::assert_snapshot!(format!("{}---\n{}", files.hba, files.ident));
    }

    #[test]
    fn settings_that_would_change_the_meaning_of_a_file_are_refused() {
        config().check().expect("a good configuration");
        for account in ["", "/^.*$", "+group", "a b", "a\"b", "a\nb", "all#", "-x"] {
            let bad = Config {
                os_users: vec![account.to_owned()],
                ..config()
            };
            assert!(bad.check().is_err(), "{account:?}");
        }
        for name in [
            "",
            "Upper",
            "a-b",
            "1a",
            "a\"b",
            "postgres",
            "pg_x",
            "template1",
            "é",
        ] {
            let mut bad = config();
            bad.databases[0].role = name.to_owned();
            assert!(bad.check().is_err(), "{name:?}");
        }
        for dir in ["relative", "/a,b", "/a\"b", "/a\nb"] {
            let bad = Config {
                socket_dir: dir.into(),
                ..config()
            };
            assert!(bad.check().is_err(), "{dir:?}");
        }
    }

    #[test]
    fn a_socket_path_may_have_107_bytes() {
        let of_length = |length: usize| {
            let dir = format!(
                "/{}",
                "d".repeat(length - "/".len() - "/.s.PGSQL.5432".len())
            );
            Config {
                socket_dir: dir.into(),
                ..config()
            }
            .check()
        };
        of_length(107).expect("fits");
        let error = of_length(108).expect_err("too long");
        assert!(
            matches!(error, Error::SocketPathTooLong { length: 108, .. }),
            "{error}"
        );
    }
}
