//! Which Unix account an identity stands for.
//!
//! Until accounts have their own part of Forebay, an identity is the name of
//! the Unix account. System accounts are refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::unistd::{Gid, Uid, User};

/// For so long an answer is used again: each look at a cluster needs the
/// accounts of all its jobs, and NSS may ask a directory server.
const KEEP: Duration = Duration::from_secs(30);
/// Answers kept at most; beyond, all are asked for anew.
const KEPT_MAX: usize = 10_000;

/// How long one look-up may take.
const NSS_MAX: Duration = Duration::from_secs(10);

/// Accounts below this uid are the system's.
const UID_MIN: u32 = 1_000;
/// What the kernel shows for uids that have no meaning in a user namespace.
const UID_OVERFLOW: u32 = 65_534;

/// A Unix account that jobs run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its uid.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its name.
    pub name: String,
    /// Its home directory.
    pub home: String,
}

/// Why an identity has no account here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No such account.
    #[error("There is no account called `{0}` at this site. Ask its operators for one.")]
    Unknown(String),
    /// A system account.
    #[error(
        "The account `{name}` (uid {uid}) belongs to the system; jobs run as ordinary users only."
    )]
    System {
        /// Its name.
        name: String,
        /// Its uid.
        uid: u32,
    },
    /// The agent is not root, so it can act for one user only.
    #[error("This site's agent runs as `{agent}` and can run jobs of `{agent}` only.")]
    OneUser {
        /// The agent's own account.
        agent: String,
    },
    /// The accounts cannot be looked up at present.
    #[error("This site cannot look up accounts at present.")]
    Unavailable(String),
}

impl AccountError {
    /// Whether asking again can help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Looks up accounts; knows for whom this agent may act.
#[derive(Clone, Debug)]
pub struct Accounts {
    mode: Mode,
    known: Arc<Mutex<HashMap<String, (Account, Instant)>>>,
}

#[derive(Clone, Debug)]
enum Mode {
    /// The agent is root and starts a user-agent for each.
    All,
    /// The agent acts as the one user that it is.
    One(Account),
}

impl Accounts {
    /// As this process's own uid allows.
    pub fn of_this_process() -> Result<Self, AccountError> {
        let uid = Uid::effective();
        let mode = if uid.is_root() {
            Mode::All
        } else {
            let user = User::from_uid(uid)
                .map_err(|error| AccountError::Unavailable(error.to_string()))?
                .ok_or_else(|| AccountError::Unknown(uid.to_string()))?;
            Mode::One(account(user))
        };
        Ok(Self {
            mode,
            known: Arc::default(),
        })
    }

    /// Whether the agent is the one user whose jobs it runs.
    pub fn one_user(&self) -> Option<&Account> {
        match &self.mode {
            Mode::All => None,
            Mode::One(account) => Some(account),
        }
    }

    /// The account of an identity. Asks NSS, which may ask a directory server:
    /// the call runs where blocking is allowed.
    pub async fn resolve(&self, identity: &str) -> Result<Account, AccountError> {
        if let Mode::One(own) = &self.mode {
            return if own.name == identity {
                Ok(own.clone())
            } else {
                Err(AccountError::OneUser {
                    agent: own.name.clone(),
                })
            };
        }
        if let Some(account) = self.known(identity) {
            return Ok(account);
        }
        let name = identity.to_owned();
        let asked = tokio::task::spawn_blocking(move || User::from_name(&name));
        let found = tokio::time::timeout(NSS_MAX, asked)
            .await
            .map_err(|_| AccountError::Unavailable("no answer in time".to_owned()))?
            .map_err(|error| AccountError::Unavailable(error.to_string()))?
            .map_err(|error| AccountError::Unavailable(error.to_string()))?;
        let user = found.ok_or_else(|| AccountError::Unknown(identity.to_owned()))?;
        let account = check(account(user))?;
        self.keep(identity, &account);
        Ok(account)
    }

    fn known(&self, identity: &str) -> Option<Account> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (account, at) = known.get(identity)?;
        (at.elapsed() < KEEP).then(|| account.clone())
    }

    fn keep(&self, identity: &str, account: &Account) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        known.insert(identity.to_owned(), (account.clone(), Instant::now()));
    }
}

fn account(user: User) -> Account {
    Account {
        uid: user.uid.as_raw(),
        gid: Gid::as_raw(user.gid),
        name: user.name,
        home: user.dir.to_string_lossy().into_owned(),
    }
}

fn check(account: Account) -> Result<Account, AccountError> {
    if account.uid < UID_MIN || account.uid == UID_OVERFLOW || account.uid == u32::MAX {
        return Err(AccountError::System {
            name: account.name,
            uid: account.uid,
        });
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_uid(uid: u32) -> Account {
        Account {
            uid,
            gid: uid,
            name: "x".into(),
            home: "/x".into(),
        }
    }

    #[test]
    fn system_and_overflow_accounts_are_refused() {
        for uid in [0, 1, 999, 65_534, u32::MAX] {
            assert!(
                matches!(check(with_uid(uid)), Err(AccountError::System { .. })),
                "{uid}"
            );
        }
        for uid in [1_000, 65_533, 65_535, 4_294_967_294] {
            assert!(check(with_uid(uid)).is_ok(), "{uid}");
        }
    }
}
