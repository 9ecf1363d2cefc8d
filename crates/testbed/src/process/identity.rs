//! Whose process it is, and what is set between fork and exec.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;

use nix::unistd::{Gid, Uid, getgrouplist, setgid, setgroups, setuid};
use rustix::fs::Mode;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::accounts::Account;

/// A user and the groups the account database gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All groups, the primary one among them.
    pub groups: Vec<u32>,
}

impl User {
    /// The account's user with its supplementary groups.
    pub fn of(account: &Account) -> io::Result<Self> {
        let name = CString::new(account.name.as_str())?;
        let groups = getgrouplist(&name, Gid::from_raw(account.gid)).map_err(io::Error::from)?;
        Ok(Self {
            uid: account.uid,
            gid: account.gid,
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        })
    }
}

/// Makes the process the leader of its own session, of the given user, with this umask, and
/// killed when the thread that starts it ends.
pub(super) fn prepare(
    command: &mut std::process::Command,
    user: Option<&User>,
    umask: Option<u32>,
) {
    let ids = user.map(|user| {
        let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
        (Uid::from_raw(user.uid), Gid::from_raw(user.gid), groups)
    });
    let closure = move || -> io::Result<()> {
        rustix::process::setsid()?;
        if let Some(mask) = umask {
            rustix::process::umask(Mode::from_raw_mode(mask));
        }
        if let Some((uid, gid, groups)) = &ids {
            setgroups(groups)?;
            setgid(*gid)?;
            setuid(*uid)?;
        }
        // Last, because the kernel clears it when the user changes.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(())
    };
    // SAFETY: the closure only makes system calls; everything it needs was allocated before. (It
    // runs in a guard, which has one thread, so nothing could be held by another either.)
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(closure);
    }
}
