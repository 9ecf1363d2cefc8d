//! The account that the server runs as. Postgres refuses to run as root.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{Uid, User};
use rustix::process::DumpableBehavior;

use super::error::Error;

/// Tried in this order when root names none.
const USUAL: [&str; 2] = ["forebay", "postgres"];

/// An unprivileged account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// This process is root and must become the account; otherwise it is the account.
    pub(super) become_it: bool,
    /// The account of this process.
    pub(super) supervisor: String,
}

impl Account {
    /// Under root the named account or the first usual one; under a plain user that user.
    pub(super) fn choose(run_as: Option<&str>) -> Result<Account, Error> {
        let refuse = |reason: String| Err(Error::Account { reason });
        let own = Uid::effective();
        let Some(me) = User::from_uid(own).map_err(lookup("this process's account"))? else {
            return refuse(format!(
                "uid {own} has no account name, which peer authentication needs"
            ));
        };
        if !own.is_root() {
            if let Some(other) = run_as.filter(|name| *name != me.name) {
                let me = me.name;
                return refuse(format!(
                    "only root can run the private database as {other}; this is {me}"
                ));
            }
            let (uid, gid) = (me.uid.as_raw(), me.gid.as_raw());
            return Ok(Account {
                name: me.name.clone(),
                uid,
                gid,
                become_it: false,
                supervisor: me.name,
            });
        }
        let names = run_as.map_or(USUAL.to_vec(), |name| vec![name]);
        for name in &names {
            if let Some(user) = User::from_name(name).map_err(lookup(name))? {
                if user.uid.is_root() {
                    return refuse(
                        "PostgreSQL refuses to run as root: name another account".to_owned(),
                    );
                }
                let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
                return Ok(Account {
                    name: user.name,
                    uid,
                    gid,
                    become_it: true,
                    supervisor: me.name,
                });
            }
        }
        refuse(match run_as {
            Some(name) => format!("the account {name} does not exist"),
            None => "started by root, the private database runs as the account forebay or postgres, and neither \
                     exists: create one (useradd --system forebay) or name another"
                .to_owned(),
        })
    }

    /// Makes the command run as the account, without supplementary groups.
    pub(super) fn apply(&self, command: &mut Command) {
        if self.become_it {
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Runs `work`, which may block, on a thread that *is* the account. Whatever lies in the account's directories
    /// (links, for example) then can do no more than the account itself could, and what the kernel shows of the
    /// account's processes it shows to this thread, also where root lacks that capability (in containers).
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let account = self.clone();
        let (send, receive) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("postgres-account".to_owned())
            .spawn(move || {
                let result = account
                    .enter()
                    .map_err(Error::io("become the account of", account.name))
                    .and_then(|()| work());
                let _ = send.send(result); // The caller may be gone.
            })
            .map_err(Error::io("start a thread for", self.name.as_str()))?;
        receive.await.unwrap_or_else(|_| {
            Err(Error::Account {
                reason: "the work ended without a result".to_owned(),
            })
        })
    }

    /// Changes the calling thread for good, and no other: the kernel's ids are per thread.
    fn enter(&self) -> io::Result<()> {
        if !self.become_it {
            return Ok(());
        }
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(self.uid),
            rustix::fs::Gid::from_raw(self.gid),
        );
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        // A change of ids marks the whole process as one that must not be inspected; nothing secret came along here.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        Ok(())
    }
}

fn lookup(what: &str) -> impl FnOnce(nix::errno::Errno) -> Error {
    let path = what.to_owned();
    |errno| Error::Io {
        what: "look up the account",
        path: path.into(),
        source: errno.into(),
    }
}
