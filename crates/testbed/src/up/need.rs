//! What must be on this machine, and what will run the jobs.

use super::args::Args;
use super::progress::Progress;
use super::scheduler::{Choice, Wanted};
use super::{Error, progress};
use crate::packages::{self, Package, Server, System};

/// Servers of a Slurm with accounting.
const SLURM: [Server; 3] = [Server::Munge, Server::Slurm, Server::SlurmAccounting];

/// Installs what is missing, as root, or says what to type; decides on the scheduler.
pub(super) async fn check(args: &Args, progress: &Progress) -> Result<Choice, Error> {
    progress.say("looking for the programs it needs");
    let is_root = rustix::process::geteuid().is_root();
    have(&[Server::Postgres], is_root, progress).await?;
    match args.scheduler {
        Some(Wanted::Local) => Ok(Choice::Local),
        wanted => slurm(wanted.is_some(), is_root, progress).await,
    }
}

async fn slurm(is_required: bool, is_root: bool, progress: &Progress) -> Result<Choice, Error> {
    let reason = if is_root {
        match have(&SLURM, is_root, progress).await {
            Ok(()) => return Ok(Choice::Slurm { is_required }),
            Err(error) => error.to_string(),
        }
    } else {
        "it needs root, because it runs jobs as their owners".to_owned()
    };
    if is_required {
        return Err(Error::NoSlurm(reason));
    }
    progress.say(&format!(
        "no Slurm here: {reason}; plain processes (--scheduler local) instead"
    ));
    Ok(Choice::Local)
}

async fn have(servers: &[Server], is_root: bool, progress: &Progress) -> Result<(), Error> {
    let missing = packages::missing(servers);
    if missing.is_empty() {
        return Ok(());
    }
    explain(&missing, progress);
    let sentence = packages::sentence(&missing);
    if !is_root {
        return Err(Error::Missing(sentence));
    }
    progress.say("installing them; their services are kept from starting");
    let installed = packages::install(&missing, &mut progress::line).await;
    if let Err(error) = installed {
        progress.failed(&error);
        return Err(Error::Missing(sentence));
    }
    let left = packages::missing(servers);
    if left.is_empty() {
        return Ok(());
    }
    let sentence = packages::sentence(&left);
    Err(Error::Missing(format!("installed, and still {sentence}")))
}

fn explain(missing: &[Package], progress: &Progress) {
    let is_dnf = packages::system() == Some(System::Dnf);
    for package in missing {
        let name = if is_dnf { package.dnf } else { package.apt };
        progress.say(&format!("missing: {name:<24} {}", package.why));
    }
}
