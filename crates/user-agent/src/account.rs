//! Whose user-agent this is: the account of the process's own uid.

use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// Why there is no account to work for.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It was started as root.
    #[error("a user-agent acts as one user and never as root; start it as that user")]
    Root,
    /// Real and effective uid differ.
    #[error("real uid {real} and effective uid {effective} differ; a user-agent is one user")]
    TwoUids {
        /// Who started it.
        real: u32,
        /// Whose rights it has.
        effective: u32,
    },
    /// No account has this uid.
    #[error("there is no account with uid {uid}")]
    Unknown {
        /// The uid.
        uid: u32,
    },
    /// The accounts could not be read.
    #[error("cannot look up the account of uid {uid}")]
    Lookup {
        /// The uid.
        uid: u32,
        /// Why.
        #[source]
        source: nix::Error,
    },
}

/// A Unix account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its uid.
    pub uid: u32,
    /// Its name.
    pub name: String,
    /// Its home directory, as the system lists it; it may not exist.
    pub home: PathBuf,
    /// Its login shell.
    pub shell: PathBuf,
}

impl Account {
    /// The account this process runs as. Root is refused.
    pub fn own() -> Result<Self, AccountError> {
        let (real, effective) = (Uid::current(), Uid::effective());
        if real != effective {
            return Err(AccountError::TwoUids {
                real: real.as_raw(),
                effective: effective.as_raw(),
            });
        }
        if effective.is_root() {
            return Err(AccountError::Root);
        }
        let uid = effective.as_raw();
        match User::from_uid(effective) {
            Ok(Some(user)) => Ok(Self {
                uid,
                name: user.name,
                home: user.dir,
                shell: user.shell,
            }),
            Ok(None) => Err(AccountError::Unknown { uid }),
            Err(source) => Err(AccountError::Lookup { uid, source }),
        }
    }
}
