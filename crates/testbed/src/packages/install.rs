//! Installing packages with the system's own package manager.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::Command;
use tokio::time::timeout;

use super::policy::PolicyGuard;
use super::{Package, System, names, system};

/// A whole installation takes a minute or two; a mirror that hangs is given up after this.
const DEADLINE: Duration = Duration::from_secs(1200);

/// Why packages were not installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system has neither apt-get nor dnf.
    #[error("this system has neither apt-get nor dnf")]
    UnknownSystem,
    /// Only root installs packages.
    #[error("installing packages needs root")]
    NotRoot,
    /// Services could not be kept from starting, so nothing was installed.
    #[error("cannot keep packages from starting their services")]
    Policy(#[source] std::io::Error),
    /// The package manager could not be run, or was too slow.
    #[error("cannot run {program}")]
    Run {
        /// Its path.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The package manager failed; what it said was printed.
    #[error("{0} failed")]
    Failed(String),
}

/// Installs packages, without what they merely recommend and without starting their services.
/// Each line the package manager prints goes to `printer`. Nothing is done for an empty list.
pub async fn install(
    packages: &[Package],
    printer: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Error> {
    if packages.is_empty() {
        return Ok(());
    }
    let system = system().ok_or(Error::UnknownSystem)?;
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let names = names(packages, system);
    match system {
        System::Apt => {
            // Restores what was there when it goes out of scope.
            let _policy = PolicyGuard::new().map_err(Error::Policy)?;
            apt(Path::new("/usr/bin"), &names, printer).await
        }
        System::Dnf => dnf(Path::new("/usr/bin"), &names, printer).await,
    }
}

async fn apt(
    bin: &Path,
    names: &[&str],
    printer: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Error> {
    let install = [
        "-y",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=300",
        "install",
    ];
    let install: Vec<&str> = install.iter().chain(names).copied().collect();
    // A fresh machine has no package lists; one left alone for weeks has old ones, whose files are
    // gone from the mirror: then the first try fails.
    if has_candidates(bin, names).await?
        && run(&bin.join("apt-get"), &install, printer).await.is_ok()
    {
        return Ok(());
    }
    run(
        &bin.join("apt-get"),
        &["-o", "DPkg::Lock::Timeout=300", "update"],
        printer,
    )
    .await?;
    run(&bin.join("apt-get"), &install, printer).await
}

async fn dnf(
    bin: &Path,
    names: &[&str],
    printer: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Error> {
    let install = ["-y", "--setopt=install_weak_deps=False", "install"];
    let install: Vec<&str> = install.iter().chain(names).copied().collect();
    run(&bin.join("dnf"), &install, printer).await
}

/// Whether the package lists of this machine know every name.
async fn has_candidates(bin: &Path, names: &[&str]) -> Result<bool, Error> {
    let program = bin.join("apt-cache");
    let mut command = Command::new(&program);
    command
        .arg("policy")
        .args(names)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    let output = timeout(DEADLINE, command.output())
        .await
        .map_err(std::io::Error::from)
        .flatten();
    let output = output.map_err(|source| Error::Run { program, source })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let known = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"));
    Ok(known.filter(|version| version.trim() != "(none)").count() == names.len())
}

/// Runs a program, and prints what it says.
pub(crate) async fn run(
    program: &Path,
    args: &[&str],
    printer: &mut (dyn FnMut(&str) + Send),
) -> Result<(), Error> {
    let failed = |source| Error::Run {
        program: program.to_owned(),
        source,
    };
    printer(&format!("$ {} {}", program.display(), args.join(" ")));
    let mut command = Command::new(program);
    command
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Not killed when given up: a package manager killed halfway leaves packages half installed.
    let mut child = command.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finish = async {
        let (mut out, mut err) = (stdout.map(lines), stderr.map(lines));
        while out.is_some() || err.is_some() {
            tokio::select! {
                line = next(&mut out), if out.is_some() => print(line, &mut out, printer),
                line = next(&mut err), if err.is_some() => print(line, &mut err, printer),
            }
        }
        child.wait().await
    };
    let status = timeout(DEADLINE, finish)
        .await
        .map_err(std::io::Error::from)
        .flatten()
        .map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{} {}",
        program.display(),
        args.join(" ")
    )))
}

fn lines<R: AsyncRead>(reader: R) -> Lines<BufReader<R>> {
    BufReader::new(reader).lines()
}

async fn next<R: AsyncRead + Unpin>(lines: &mut Option<Lines<BufReader<R>>>) -> Option<String> {
    // Text that is no UTF-8 ends the printing, not the installation.
    lines.as_mut()?.next_line().await.ok().flatten()
}

fn print<T>(line: Option<String>, lines: &mut Option<T>, printer: &mut (dyn FnMut(&str) + Send)) {
    match line {
        Some(line) => printer(&line),
        None => *lines = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory with stand-ins for the package manager that note how they were called.
    fn stand_ins(scripts: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, body) in scripts {
            let path = dir.path().join(name);
            let log = dir.path().join("calls");
            let asks = if name == &"apt-get" {
                " $DEBIAN_FRONTEND"
            } else {
                ""
            };
            let text = format!(
                "#!/bin/sh\necho \"{name}{asks} $*\" >>{}\n{body}\n",
                log.display()
            );
            super::super::write_program(&path, &text, 0o755);
        }
        dir
    }

    fn calls(dir: &tempfile::TempDir) -> Vec<String> {
        let text = fs::read_to_string(dir.path().join("calls")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    const INSTALL: &str =
        "apt-get noninteractive -y --no-install-recommends -o DPkg::Lock::Timeout=300 install a b";
    const UPDATE: &str = "apt-get noninteractive -o DPkg::Lock::Timeout=300 update";

    #[tokio::test]
    async fn known_packages_are_installed_without_an_update() {
        let policy = "echo a:; echo '  Candidate: 1'; echo b:; echo '  Candidate: 2'";
        let dir = stand_ins(&[("apt-cache", policy), ("apt-get", "echo out; echo err >&2")]);
        let mut printed = Vec::new();
        apt(dir.path(), &["a", "b"], &mut |line| {
            printed.push(line.to_owned());
        })
        .await
        .unwrap();
        assert_eq!(calls(&dir), ["apt-cache policy a b", INSTALL]);
        assert!(
            printed.contains(&"out".to_owned()) && printed.contains(&"err".to_owned()),
            "{printed:?}"
        );
    }

    #[tokio::test]
    async fn unknown_packages_and_old_lists_lead_to_an_update() {
        let dir = stand_ins(&[
            ("apt-cache", "echo a:; echo '  Candidate: (none)'"),
            ("apt-get", ""),
        ]);
        apt(dir.path(), &["a", "b"], &mut |_| {}).await.unwrap();
        assert_eq!(calls(&dir), ["apt-cache policy a b", UPDATE, INSTALL]);

        let policy = "echo '  Candidate: 1'; echo '  Candidate: 2'";
        let stale = "d=$(dirname \"$0\"); case \"$*\" in *update) touch $d/fresh;; *) test -e $d/fresh;; esac";
        let dir = stand_ins(&[("apt-cache", policy), ("apt-get", stale)]);
        apt(dir.path(), &["a", "b"], &mut |_| {}).await.unwrap();
        assert_eq!(
            calls(&dir),
            ["apt-cache policy a b", INSTALL, UPDATE, INSTALL]
        );
    }

    #[tokio::test]
    async fn a_failure_is_an_error_that_names_the_command() {
        let dir = stand_ins(&[("dnf", "exit 1")]);
        let error = dnf(dir.path(), &["a"], &mut |_| {}).await.unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("dnf -y --setopt=install_weak_deps=False install a failed"),
            "{error}"
        );
        assert!(install(&[], &mut |_| {}).await.is_ok());
    }
}
