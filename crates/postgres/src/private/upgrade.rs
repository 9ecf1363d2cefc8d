//! Bringing the data to a newer major version of Postgres, with `pg_upgrade`.
//!
//! The new data is made beside the old, which stays as it is until the two change places in one step:
//!
//! ```text
//! cluster/
//!   data/          the old                     ─┐ exchanged by one system call
//!   data.upgrade/  the new, while it is made   ─┘
//!   data.old-15/   the old, afterwards
//!   up/            where pg_upgrade works: its socket, its log
//! ```
//!
//! Killed before the exchange, the old data is what there is, and the new is thrown away; killed after it, the old is
//! only put aside. [`recover`] does either, at the next start of the instance or of the upgrade. With
//! [`link`](Upgrade::link) the two share files, so an upgrade that was whole is not thrown away but finished.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::binaries::Binaries;
use super::config::socket_path;
use super::data::{Layout, Lock};
use super::error::Error;
use super::process::Running;
use super::{ADMIN, PORT, Private, SOCKET_PATH_BYTES_MAX, databases, takeover};
use crate::pool::{self, Pool};

/// How to upgrade.
#[derive(Clone, Debug, Default)]
pub struct Upgrade {
    /// Where the programs of the data's version are; searched for when `None`.
    pub old_bin_dir: Option<PathBuf>,
    /// Where the newer programs are; the newest found when `None`.
    pub new_bin_dir: Option<PathBuf>,
    /// Share files with the old data instead of copying them: quick, and there is no way back once the new server
    /// has run.
    pub link: bool,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The major version before.
    pub from: u32,
    /// The major version now; the same if there was nothing to do.
    pub to: u32,
    /// Where the old data was put.
    pub old: Option<PathBuf>,
}

/// Where an upgrade is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The old server runs for a moment, so that its log is replayed and it is stopped in order.
    Settle,
    /// The new data's empty frame is made.
    Make,
    /// `pg_upgrade --check`.
    Check,
    /// `pg_upgrade`.
    Upgrade,
    /// The two directories change places.
    Switch,
    /// The new server counts what is in its tables, so that it plans well.
    Analyse,
}

impl Private {
    /// Brings the data to a newer major version of Postgres. Fails, and changes nothing, while the instance runs.
    /// `progress` is told of each step before it begins. Ends early on `stop`, with the old data as it was.
    pub async fn upgrade(
        &self,
        how: &Upgrade,
        stop: &CancellationToken,
        mut progress: impl FnMut(Step),
    ) -> Result<Upgraded, Error> {
        let Private {
            config,
            account,
            layout,
        } = self;
        // Before anything is made: the directory may be another than was meant.
        let none = || {
            Error::upgrade(format!(
                "there is no data in {}: `forebay db run` makes it, with the newest version",
                layout.data.display()
            ))
        };
        layout.version()?.ok_or_else(none)?;
        let lock = Arc::new(layout.lock(account)?);
        layout.prepare(config, account)?;
        layout.reach(account).await?;
        recover(layout, account).await?;
        let from = layout.version()?.ok_or_else(none)?;
        let (old, new) = Binaries::pair(how, &layout.data, &from)?;
        let place = Place::new(layout);
        let done = |old_data| Upgraded {
            from: old.major,
            to: new.as_ref().map_or(old.major, |new| new.major),
            old: old_data,
        };
        let Some(new) = &new else {
            self.analyse_if_due(&place, &old, &lock, stop, &mut progress)
                .await?;
            return Ok(done(None));
        };
        let aside = place.aside(old.major);
        place.check(&aside)?;

        let old_self = self.with_programs(&old);
        let new_self = self.with_programs(new);
        progress(Step::Settle);
        old_self.settle(&lock, stop).await?;
        progress(Step::Make);
        layout
            .make(config, account, new, &place.new, stop)
            .await
            .and_then(|made| if made { Ok(()) } else { Err(Error::Stopped) })?;
        self.keep_settings(&place, &old, new).await?;
        for (step, check) in [(Step::Check, true), (Step::Upgrade, false)] {
            progress(step);
            let ran = self.pg_upgrade(&place, &old, new, how.link, check, stop);
            if let Err(error) = ran.await {
                recover(layout, account).await?;
                return Err(error);
            }
        }
        progress(Step::Switch);
        let (these, link, analyse) = (place.clone(), how.link, place.analyse.clone());
        let switched = account
            .run(move || {
                if link {
                    note(&these.whole)?;
                }
                note(&analyse)?;
                these.exchange()
            })
            .await;
        if let Err(error) = switched {
            recover(layout, account).await?;
            return Err(error);
        }
        recover(layout, account).await?;
        new_self
            .analyse_if_due(&place, new, &lock, stop, &mut progress)
            .await?;
        Ok(done(Some(aside)))
    }

    fn with_programs(&self, binaries: &Binaries) -> Private {
        let mut this = self.clone();
        this.config.bin_dir = Some(binaries.dir.clone());
        this
    }

    /// Lets the server run until it is ready, and stops it in order.
    async fn settle(&self, lock: &Arc<Lock>, stop: &CancellationToken) -> Result<(), Error> {
        self.while_it_runs(lock, stop, async |_| Ok(())).await
    }

    async fn while_it_runs(
        &self,
        lock: &Arc<Lock>,
        stop: &CancellationToken,
        work: impl AsyncFnOnce(&Private) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(server) = self.start(lock, stop).await? else {
            return Err(Error::Stopped);
        };
        let working = async {
            databases::ensure(&self.config, self.admin_config("upgrade")).await?;
            work(self).await
        };
        let worked = tokio::select! {
            worked = working => worked,
            () = stop.cancelled() => Err(Error::Stopped),
            status = server.exited() => {
                let said = format!("{status}: {}", server.said().await);
                Err(Error::Start { said })
            }
        };
        self.end(&server).await?;
        worked
    }

    /// Statistics do not come along with the data (before version 18), and without them queries are planned badly.
    async fn analyse_if_due(
        &self,
        place: &Place,
        binaries: &Binaries,
        lock: &Arc<Lock>,
        stop: &CancellationToken,
        progress: &mut impl FnMut(Step),
    ) -> Result<(), Error> {
        if !place.analyse.exists() {
            return Ok(());
        }
        progress(Step::Analyse);
        let analyse = async |this: &Private| {
            for database in &this.config.databases {
                let admin = pool::Config {
                    connections_max: 1,
                    // A large table takes its time; `stop` ends it.
                    statement_timeout: Duration::from_secs(24 * 3600),
                    ..pool::Config::new(this.target(&database.name, ADMIN), "upgrade")
                };
                let pool = Pool::new(admin).map_err(Error::Database)?;
                let client = pool.get().await.map_err(Error::Database)?;
                client
                    .named("private.analyse")
                    .batch("ANALYZE")
                    .await
                    .map_err(Error::Database)?;
            }
            Ok(())
        };
        self.with_programs(binaries)
            .while_it_runs(lock, stop, analyse)
            .await?;
        let analyse = place.analyse.clone();
        self.account.run(move || forget(&analyse)).await
    }

    /// What an operator has added to the old data's own settings is added to the new one's; the access files and all
    /// that Forebay decides are outside of both.
    async fn keep_settings(
        &self,
        place: &Place,
        old: &Binaries,
        new: &Binaries,
    ) -> Result<(), Error> {
        let (from, to, major) = (self.layout.data.clone(), place.new.clone(), old.major);
        self.account
            .run(move || keep_settings(&from, &to, major))
            .await?;
        // Read by the new program, which does not start with a setting that it does not know.
        let mut command = Command::new(new.postgres());
        command
            .arg("-D")
            .arg(&place.new)
            .args(["-C", "max_connections"]);
        self.account.apply(&mut command);
        let reading = Running::start(command, Signal::KILL, ()).await?;
        if reading.exited().await.success() {
            return Ok(());
        }
        Err(Error::upgrade(format!(
            "PostgreSQL {} does not take the settings in {}: take out there what it does not know, and try again ({})",
            new.major,
            self.layout.data.join("postgresql.conf").display(),
            reading.said().await
        )))
    }

    async fn pg_upgrade(
        &self,
        place: &Place,
        old: &Binaries,
        new: &Binaries,
        link: bool,
        check: bool,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let work = place.work.clone();
        self.account
            .run(move || {
                remove_dir(&work)?;
                fs::create_dir(&work).map_err(Error::io("make", work))
            })
            .await?;
        let access = format!(
            "-c hba_file={} -c ident_file={}",
            self.layout.hba.display(),
            self.layout.ident.display()
        );
        let mut command = Command::new(new.dir.join("pg_upgrade"));
        command
            .arg("--old-bindir")
            .arg(&old.dir)
            .arg("--new-bindir")
            .arg(&new.dir)
            .arg("--old-datadir")
            .arg(&self.layout.data)
            .arg("--new-datadir")
            .arg(&place.new)
            .args(["--username", ADMIN, "--old-options", &access])
            .args(["--new-options", &access, "--socketdir"])
            .arg(&place.work)
            .args(["--old-port", &PORT.to_string()])
            .args(["--new-port", &PORT.to_string()]);
        if check {
            command.arg("--check");
        }
        if link {
            command.arg("--link");
        }
        if !self.config.fsync {
            command.arg("--no-sync");
        }
        self.account.apply(&mut command);
        // It leaves a script in its working directory.
        let running = Running::start_talking(command, &place.work, Signal::KILL).await?;
        let status = tokio::select! {
            status = running.exited() => status,
            () = stop.cancelled() => {
                running.signal(Signal::KILL);
                running.exited().await;
                return Err(Error::Stopped);
            }
        };
        if status.success() {
            return Ok(());
        }
        let what = if check {
            "pg_upgrade --check"
        } else {
            "pg_upgrade"
        };
        Err(Error::upgrade(format!(
            "{what} did not succeed, and the data is as it was. It said: {}",
            running.said().await
        )))
    }
}

/// Where an upgrade works.
#[derive(Clone, Debug)]
struct Place {
    data: PathBuf,
    new: PathBuf,
    work: PathBuf,
    /// There while the new data is whole although it has not been switched to; with `--link` only.
    whole: PathBuf,
    /// There while the new data has not been analysed.
    analyse: PathBuf,
}

impl Place {
    fn new(layout: &Layout) -> Place {
        let beside = |name: &str| layout.data.with_file_name(name);
        Place {
            data: layout.data.clone(),
            new: beside("data.upgrade"),
            work: beside("up"),
            whole: beside("upgrade.whole"),
            analyse: beside("upgrade.analyse"),
        }
    }

    fn aside(&self, major: impl std::fmt::Display) -> PathBuf {
        self.data.with_file_name(format!("data.old-{major}"))
    }

    /// What would only show halfway.
    fn check(&self, aside: &Path) -> Result<(), Error> {
        if aside.exists() {
            return Err(Error::upgrade(format!(
                "{} is there from an earlier upgrade: remove it, or move it away",
                aside.display()
            )));
        }
        // pg_upgrade hands its paths to a shell.
        let plain = |c: char| c.is_alphanumeric() || "/._-+@:".contains(c);
        if !self.new.to_string_lossy().chars().all(plain) {
            return Err(Error::upgrade(format!(
                "pg_upgrade cannot work below {}, whose path has blanks or special characters: rename it",
                self.data.display()
            )));
        }
        let socket = socket_path(&self.work);
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(Error::SocketPathTooLong {
                path: socket,
                length,
            });
        }
        Ok(())
    }

    /// Old and new change places; there is no moment without either.
    fn exchange(&self) -> Result<(), Error> {
        renameat_with(CWD, &self.new, CWD, &self.data, RenameFlags::EXCHANGE)
            .map_err(|error| Error::io("exchange with the new data", &self.data)(error.into()))
    }

    /// Brings whatever a killed upgrade left to one of its two ends. Runs as the account.
    fn recover(&self) -> Result<(), Error> {
        let version = |dir: &Path| -> Option<u32> {
            let text = fs::read_to_string(dir.join("PG_VERSION")).ok()?;
            text.trim().parse().ok()
        };
        if self.new.exists() {
            takeover::end_all(&self.new, Duration::ZERO)?;
            takeover::end_all(&self.data, Duration::ZERO)?;
            let (data, mut beside) = (version(&self.data), version(&self.new));
            if self.whole.exists() && beside > data && data.is_some() {
                self.exchange()?;
                beside = data;
            } else if beside.is_none() || beside > data {
                remove_dir(&self.new)?;
                tracing::info!(data = %self.data.display(), "removed an unfinished upgrade; the data is as it was");
                beside = None;
                // Put out of the way by `pg_upgrade --link`, so that nobody starts the old server meanwhile.
                let control = self.data.join("global/pg_control");
                let hidden = control.with_extension("old");
                if hidden.exists() && !control.exists() {
                    fs::rename(&hidden, &control).map_err(Error::io("bring back", control))?;
                }
                forget(&self.analyse)?;
            }
            if let Some(old) = beside {
                let aside = self.aside(old);
                fs::rename(&self.new, &aside).map_err(Error::io("rename to", aside))?;
            }
        }
        forget(&self.whole)?;
        remove_dir(&self.work)
    }
}

/// See [`Place::recover`]. Called while holding the lock, so no upgrade is under way.
pub(super) async fn recover(layout: &Layout, account: &Account) -> Result<(), Error> {
    let place = Place::new(layout);
    account.run(move || place.recover()).await
}

fn keep_settings(from: &Path, to: &Path, major: u32) -> Result<(), Error> {
    let read = |path: PathBuf| match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Error::io("read", path)(error)),
    };
    for name in ["postgresql.conf", "postgresql.auto.conf"] {
        let (old, new) = (read(from.join(name))?, read(to.join(name))?);
        let path = to.join(name);
        fs::write(&path, added(&old, new, major)).map_err(Error::io("write", path))?;
    }
    Ok(())
}

/// The new settings, and behind them, where they win, those lines of the old that the new does not have.
fn added(old: &str, mut new: String, major: u32) -> String {
    let set = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let known: std::collections::HashSet<&str> = new.lines().map(str::trim).filter(set).collect();
    let kept: Vec<&str> = old
        .lines()
        .map(str::trim)
        .filter(set)
        .filter(|line| !known.contains(line))
        .collect();
    if !kept.is_empty() {
        let kept = kept.join("\n");
        new = format!("{new}\n# Kept from PostgreSQL {major}:\n{kept}\n");
    }
    new
}

fn note(path: &Path) -> Result<(), Error> {
    fs::File::create(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("write", path))
}

fn forget(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_an_operator_come_along_and_win() {
        let old =
            "# a\nmax_connections = 100\t# (change)\nwork_mem = '8MB'\n\n  include_dir 'more'\n";
        let new = "max_connections = 100\t# (change)\nio_method = worker\n".to_owned();
        let kept = added(old, new.clone(), 15);
        assert_eq!(
            kept,
            "max_connections = 100\t# (change)\nio_method = worker\n\n# Kept from PostgreSQL 15:\nwork_mem = '8MB'\ninclude_dir 'more'\n"
        );
        assert_eq!(added("# only a comment\n", new.clone(), 15), new);
    }

    /// A cluster directory with these versions in `data` and `data.upgrade`.
    fn place(data: &str, new: Option<&str>) -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path();
        let place = Place {
            data: at.join("data"),
            new: at.join("data.upgrade"),
            work: at.join("up"),
            whole: at.join("upgrade.whole"),
            analyse: at.join("upgrade.analyse"),
        };
        for (path, version) in [(&place.data, Some(data)), (&place.new, new)] {
            if let Some(version) = version {
                fs::create_dir_all(path.join("global")).expect("made");
                fs::write(path.join("PG_VERSION"), version).expect("written");
                fs::write(path.join("global/pg_control"), version).expect("written");
            }
        }
        (dir, place)
    }

    fn version(dir: &Path) -> String {
        fs::read_to_string(dir.join("PG_VERSION")).unwrap_or_default()
    }

    #[test]
    fn an_unfinished_upgrade_is_thrown_away() {
        let (_dir, place) = place("15\n", Some("18\n"));
        fs::create_dir(&place.work).expect("made");
        note(&place.analyse).expect("noted");
        place.recover().expect("recovered");
        assert_eq!(version(&place.data), "15\n");
        assert!(!place.new.exists() && !place.work.exists() && !place.analyse.exists());
        place.recover().expect("twice does no harm");
        assert_eq!(version(&place.data), "15\n");
    }

    #[test]
    fn one_that_shared_files_and_was_cut_gives_the_old_its_control_file_back() {
        let (_dir, place) = place("15\n", Some("18\n"));
        let control = place.data.join("global/pg_control");
        fs::rename(&control, control.with_extension("old")).expect("hidden");
        place.recover().expect("recovered");
        assert!(control.exists() && !place.new.exists());
    }

    #[test]
    fn one_that_shared_files_and_was_whole_is_finished() {
        let (_dir, place) = place("15\n", Some("18\n"));
        note(&place.whole).expect("noted");
        note(&place.analyse).expect("noted");
        place.recover().expect("recovered");
        assert_eq!(version(&place.data), "18\n");
        assert_eq!(version(&place.aside(15)), "15\n");
        assert!(!place.new.exists() && !place.whole.exists() && place.analyse.exists());
    }

    #[test]
    fn after_the_exchange_the_old_is_put_aside() {
        let (_dir, place) = place("15\n", Some("18\n"));
        note(&place.analyse).expect("noted");
        place.exchange().expect("exchanged");
        place.recover().expect("recovered");
        assert_eq!(version(&place.data), "18\n");
        assert_eq!(version(&place.aside(15)), "15\n");
        assert!(place.analyse.exists(), "still to be done");
    }

    #[test]
    fn what_would_only_show_halfway_is_refused_at_once() {
        let (_dir, place) = place("15\n", None);
        place.check(&place.aside(15)).expect("good");
        fs::create_dir(place.aside(15)).expect("made");
        let error = place.check(&place.aside(15)).expect_err("in the way");
        assert!(error.to_string().contains("move it away"), "{error}");
        let odd = Place {
            new: "/srv/my $(data)/data.upgrade".into(),
            ..place
        };
        assert!(odd.check(Path::new("/none")).is_err());
    }
}
