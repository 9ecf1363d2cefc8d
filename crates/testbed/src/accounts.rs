//! Unix accounts to run tests and the demonstration as.
//!
//! Made once, under a lock, and kept: making and removing accounts at each run would wear out
//! uids, and a uid given again could own what an earlier account left. An account is one of ours
//! if its home is below [`HOMES`]; others of the same name are refused, never altered.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{FlockOperation, flock};

const ROOT: &str = "/var/lib/forebay-test";
/// Where the accounts' homes are.
pub const HOMES: &str = "/var/lib/forebay-test/home";
/// `slurmrestd` refuses to run as root or as Slurm's own account, so it gets one.
pub(crate) const REST: &str = "fbtestrest";
/// The view-server needs no rights but to its database: it runs as nobody in particular.
pub(crate) const VIEW: &str = "fbtestview";
const UID_MIN: u32 = 1000;

/// A Unix account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
}

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Only root makes accounts.
    #[error("making the account {0} needs root")]
    NotRoot(String),
    /// Somebody else made an account of that name.
    #[error("the account {0} exists and is not one of ours (its home is not below {HOMES})")]
    NotOurs(String),
    /// Not a name we make accounts of.
    #[error(
        "{0:?} is not an account name: a letter, then at most 30 letters, digits or dashes, in lower case"
    )]
    BadName(String),
    /// `useradd` failed.
    #[error("useradd {name}: {message}")]
    UserAdd {
        /// The account.
        name: String,
        /// What it printed.
        message: String,
    },
    /// The account database could not be asked, or a file not be made.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Looks an account up, as the system does (files, LDAP, …).
pub fn lookup(name: &str) -> Result<Option<Account>, Error> {
    let found = nix::unistd::User::from_name(name).map_err(|source| Error::System {
        what: format!("look up the account {name}"),
        source: source.into(),
    })?;
    Ok(found.map(|user| Account {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        home: user.dir,
    }))
}

/// The account this process runs as.
pub fn current() -> Result<Account, Error> {
    let uid = nix::unistd::geteuid();
    let what = || format!("look up the account with uid {uid}");
    let found = nix::unistd::User::from_uid(uid).map_err(|source| Error::System {
        what: what(),
        source: source.into(),
    })?;
    let user = found.ok_or_else(|| Error::System {
        what: what(),
        source: io::ErrorKind::NotFound.into(),
    })?;
    Ok(Account {
        name: user.name,
        uid: uid.as_raw(),
        gid: user.gid.as_raw(),
        home: user.dir,
    })
}

/// `fbtest<number>`, made if it does not exist.
pub fn test_account(number: u32) -> Result<Account, Error> {
    ensure(&format!("fbtest{number}"))
}

/// `fbtest1` to `fbtest<count>`.
pub fn test_accounts(count: u32) -> Result<Vec<Account>, Error> {
    (1..=count).map(test_account).collect()
}

/// The account of that name, one of ours; made if it does not exist. Its home is private (0700).
pub fn ensure(name: &str) -> Result<Account, Error> {
    make(name, Kind::Person)
}

/// The account that `slurmrestd` runs as: a system account without a shell.
pub(crate) fn ensure_rest() -> Result<Account, Error> {
    make(REST, Kind::Service)
}

/// The account that the view-server runs as: the same.
pub(crate) fn ensure_view() -> Result<Account, Error> {
    make(VIEW, Kind::Service)
}

/// The accounts made here that still exist.
pub fn list() -> Vec<Account> {
    let Ok(homes) = fs::read_dir(HOMES) else {
        return Vec::new();
    };
    let mut names: Vec<String> = homes
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| lookup(name).ok().flatten())
        .filter(is_ours)
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Person,
    Service,
}

fn is_ours(account: &Account) -> bool {
    account.home == Path::new(HOMES).join(&account.name)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && name.len() <= 31
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn make(name: &str, kind: Kind) -> Result<Account, Error> {
    if !is_name(name) {
        return Err(Error::BadName(name.to_owned()));
    }
    let existing = |account: Account| match kind {
        _ if !is_ours(&account) => Err(Error::NotOurs(account.name)),
        Kind::Person if account.uid < UID_MIN => Err(Error::NotOurs(account.name)),
        _ => Ok(account),
    };
    if !rustix::process::geteuid().is_root() {
        return match lookup(name)? {
            Some(account) => existing(account),
            None => Err(Error::NotRoot(name.to_owned())),
        };
    }
    let system = |what: &str| {
        let what = what.to_owned();
        move |source| Error::System { what, source }
    };
    let dir = |path: &str| match fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
    {
        // Whatever the umask was: accounts must get through.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        error => error,
    };
    dir(ROOT)
        .and_then(|()| dir(HOMES))
        .map_err(system("make the directory of homes"))?;
    // Held until the account and its home are there; the kernel releases it with the file.
    let lock =
        File::create(Path::new(ROOT).join("lock")).map_err(system("open the lock of accounts"))?;
    flock(&lock, FlockOperation::LockExclusive)
        .map_err(|error| system("lock the accounts")(error.into()))?;
    let account = if let Some(account) = lookup(name)? {
        existing(account)?
    } else {
        user_add(name, kind)?;
        let message = "made, but not found".to_owned();
        lookup(name)?.ok_or_else(|| Error::UserAdd {
            name: name.to_owned(),
            message,
        })?
    };
    private_home(&account).map_err(|source| Error::System {
        what: format!("make the home of {name}"),
        source,
    })?;
    Ok(account)
}

fn user_add(name: &str, kind: Kind) -> Result<(), Error> {
    let failed = |message: String| Error::UserAdd {
        name: name.to_owned(),
        message,
    };
    let mut command = std::process::Command::new("useradd");
    command.args([
        "--no-create-home",
        "--user-group",
        "--comment",
        "Forebay test account",
    ]);
    command.args(["--home-dir", &format!("{HOMES}/{name}")]);
    match kind {
        Kind::Person => command.args(["--shell", "/bin/sh"]),
        Kind::Service => command.args(["--system", "--shell", "/usr/sbin/nologin"]),
    };
    let output = command.arg(name).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

fn private_home(account: &Account) -> io::Result<()> {
    let home = &account.home;
    match fs::DirBuilder::new().mode(0o700).create(home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let meta = fs::symlink_metadata(home)?;
    if !meta.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if meta.uid() != account.uid || meta.gid() != account.gid {
        chown(home, Some(account.uid), Some(account.gid))?;
    }
    if meta.mode() & 0o777 != 0o700 {
        fs::set_permissions(home, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_makers_get_one_account() {
        crate::need!(Root);
        let accounts = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| test_account(3).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<Vec<_>>()
        });
        let first = accounts.first().unwrap();
        assert!(accounts.iter().all(|account| account == first));
        assert!(first.uid >= UID_MIN && first.gid >= UID_MIN);
        let meta = fs::metadata(&first.home).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (first.uid, 0o700));
        assert!(list().contains(first));
    }

    #[test]
    fn an_account_of_others_is_refused_and_bad_names_never_reach_useradd() {
        assert!(matches!(ensure("daemon"), Err(Error::NotOurs(_))));
        for name in [
            "",
            "-x",
            "a b",
            "Root",
            "a:b",
            "é",
            "../etc",
            &"a".repeat(32),
        ] {
            assert!(matches!(ensure(name), Err(Error::BadName(_))), "{name}");
        }
        assert_eq!(lookup("no-such-account-here").unwrap(), None);
        assert_eq!(current().unwrap().uid, rustix::process::geteuid().as_raw());
    }
}
