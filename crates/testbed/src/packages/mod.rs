//! Which packages each server comes in, on Debian and Ubuntu (apt) and on Fedora and Enterprise
//! Linux (dnf), why it is wanted, and how one sees that it is there.

mod install;
pub mod other_postgres;
mod policy;

use std::path::{Path, PathBuf};

pub(crate) use install::run;
pub use install::{Error, install};
pub use policy::PolicyGuard;

/// A server, or an ability of one, that the testbed starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// The databases.
    Postgres,
    /// What brings another version of them, from `PyPI`.
    OtherPostgres,
    /// Who speaks, between Slurm's daemons and its users.
    Munge,
    /// The scheduler.
    Slurm,
    /// Its accounting.
    SlurmAccounting,
    /// Its REST interface.
    SlurmRest,
    /// The library that shows a program another time.
    Faketime,
    /// What builds the page.
    Node,
    /// What opens the page.
    Chromium,
}

/// How one sees that a package is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Program(&'static str),
    SlurmPlugin(&'static str),
    Faketime,
    /// Debian keeps Postgres' servers out of `PATH`, one directory per version.
    PostgresServer,
    /// Chromium has other names elsewhere.
    Browser,
}

/// A package by its names on both families of systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// Name on Debian and Ubuntu.
    pub apt: &'static str,
    /// Name on Fedora and Enterprise Linux (there: EPEL).
    pub dnf: &'static str,
    /// Why it is wanted, in one line.
    pub why: &'static str,
    proof: Proof,
}

const fn package(apt: &'static str, dnf: &'static str, why: &'static str, proof: Proof) -> Package {
    Package {
        apt,
        dnf,
        why,
        proof,
    }
}

const POSTGRES: &[Package] = &[package(
    "postgresql",
    "postgresql-server",
    "a private Postgres holds Forebay's queue and state",
    Proof::PostgresServer,
)];
const PIP: &[Package] = &[package(
    "python3-pip",
    "python3-pip",
    "brings another version of Postgres, to test upgrades with",
    Proof::Program("pip3"),
)];
const MUNGE: &[Package] = &[package(
    "munge",
    "munge",
    "tells Slurm which Unix account speaks",
    Proof::Program("munged"),
)];
const SLURM: &[Package] = &[
    MUNGE[0],
    package(
        "slurmctld",
        "slurm-slurmctld",
        "Slurm's controller",
        Proof::Program("slurmctld"),
    ),
    package(
        "slurmd",
        "slurm-slurmd",
        "Slurm's node daemon, runs the jobs",
        Proof::Program("slurmd"),
    ),
    package(
        "slurm-client",
        "slurm",
        "sbatch, squeue, scancel, scontrol, sinfo, sacct",
        Proof::Program("sbatch"),
    ),
    package(
        "slurm-wlm-basic-plugins",
        "slurm",
        "Slurm's plugins, loaded by all of its programs",
        Proof::SlurmPlugin("select_cons_tres.so"),
    ),
];
const ACCOUNTING: &[Package] = &[
    package(
        "slurmdbd",
        "slurm-slurmdbd",
        "Slurm's accounting: how jobs ended",
        Proof::Program("slurmdbd"),
    ),
    package(
        "mariadb-server",
        "mariadb-server",
        "the database slurmdbd writes to",
        Proof::Program("mariadbd"),
    ),
    package(
        "mariadb-client",
        "mariadb",
        "prepares slurmdbd's database",
        Proof::Program("mariadb"),
    ),
    package(
        "slurm-wlm-mysql-plugin",
        "slurm-slurmdbd",
        "lets slurmdbd use MariaDB",
        Proof::SlurmPlugin("accounting_storage_mysql.so"),
    ),
];
const REST: &[Package] = &[
    package(
        "slurmrestd",
        "slurm-slurmrestd",
        "Slurm's REST interface",
        Proof::Program("slurmrestd"),
    ),
    package(
        "slurm-wlm-jwt-plugin",
        "slurm",
        "tokens for the REST interface",
        Proof::SlurmPlugin("auth_jwt.so"),
    ),
];

const FAKETIME: &[Package] = &[package(
    "libfaketime",
    "libfaketime",
    "shows an agent a clock that is wrong, in tests",
    Proof::Faketime,
)];
const NODE: &[Package] = &[
    package(
        "nodejs",
        "nodejs",
        "builds the page",
        Proof::Program("node"),
    ),
    package(
        "npm",
        "nodejs-npm",
        "fetches what the page is built with",
        Proof::Program("npm"),
    ),
];
const CHROMIUM: &[Package] = &[package(
    "chromium",
    "chromium",
    "opens the page as people do",
    Proof::Browser,
)];

/// Everything a server needs, in the order to name it.
pub fn wanted(server: Server) -> &'static [Package] {
    match server {
        Server::Postgres => POSTGRES,
        Server::OtherPostgres => PIP,
        Server::Munge => MUNGE,
        Server::Slurm => SLURM,
        Server::SlurmAccounting => ACCOUNTING,
        Server::SlurmRest => REST,
        Server::Faketime => FAKETIME,
        Server::Node => NODE,
        Server::Chromium => CHROMIUM,
    }
}

/// What of it is not on this machine.
pub fn missing(servers: &[Server]) -> Vec<Package> {
    let mut found: Vec<Package> = Vec::new();
    for package in servers.iter().flat_map(|server| wanted(*server)) {
        if !is_there(package.proof) && !found.contains(package) {
            found.push(*package);
        }
    }
    found
}

/// The kind of package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Debian, Ubuntu and their kin.
    Apt,
    /// Fedora, Enterprise Linux and their kin.
    Dnf,
}

/// This machine's package manager, if it is one we know.
pub fn system() -> Option<System> {
    if program("apt-get").is_some() {
        Some(System::Apt)
    } else if program("dnf").is_some() {
        Some(System::Dnf)
    } else {
        None
    }
}

/// The package's names on a system, each once.
fn names(packages: &[Package], system: System) -> Vec<&'static str> {
    let mut names = Vec::new();
    for package in packages {
        let name = match system {
            System::Apt => package.apt,
            System::Dnf => package.dnf,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The line an administrator types to install them; `None` where we know no package manager.
pub fn install_line(packages: &[Package]) -> Option<String> {
    let system = system()?;
    let names = names(packages, system).join(" ");
    Some(match system {
        System::Apt => format!("sudo apt-get install --no-install-recommends {names}"),
        System::Dnf => format!("sudo dnf install --setopt=install_weak_deps=False {names}"),
    })
}

/// What is missing and what to type, in one sentence.
pub fn sentence(missing: &[Package]) -> String {
    match install_line(missing) {
        Some(line) => format!("programs are missing; install them with: {line}"),
        None => format!(
            "programs are missing (Debian's packages {}; Fedora's {}), and this system has neither apt-get nor dnf",
            names(missing, System::Apt).join(" "),
            names(missing, System::Dnf).join(" ")
        ),
    }
}

/// The path of a program, looked for in `PATH` and where systems keep servers.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/usr/libexec",
    ];
    std::env::split_paths(&path)
        .chain(more.into_iter().map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Files `<base>/<any>/<rest>`.
fn below_any(base: &str, rest: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(base) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path().join(rest))
        .filter(|path| path.exists())
        .collect()
}

fn is_there(proof: Proof) -> bool {
    match proof {
        Proof::Program(name) => program(name).is_some(),
        Proof::SlurmPlugin(name) => slurm_plugin(name),
        Proof::PostgresServer => postgres_bin().is_some(),
        Proof::Faketime => faketime().is_some(),
        Proof::Browser => browser().is_some(),
    }
}

fn slurm_plugin(name: &str) -> bool {
    let places = [
        "/usr/lib64/slurm",
        "/usr/lib/slurm",
        "/usr/lib/slurm-wlm",
        "/usr/local/lib/slurm",
    ];
    let debian = format!("slurm-wlm/{name}");
    places
        .iter()
        .any(|place| Path::new(place).join(name).exists())
        || !below_any("/usr/lib", &debian).is_empty()
}

/// The library that shows a program another time, for `LD_PRELOAD`.
pub fn faketime() -> Option<PathBuf> {
    let name = "faketime/libfaketimeMT.so.1";
    let mut found = below_any("/usr/lib", name);
    found.extend(["/usr/lib64", "/usr/lib"].map(|base| Path::new(base).join(name)));
    found.into_iter().find(|path| path.exists())
}

/// The directory of Postgres' server programs, the newest version's.
pub fn postgres_bin() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = below_any("/usr/lib/postgresql", "bin/postgres")
        .into_iter()
        .filter_map(|path| {
            let bin = path.parent()?;
            let version = bin.parent()?.file_name()?.to_str()?.parse().ok()?;
            Some((version, bin.to_owned()))
        })
        .collect();
    found.sort();
    let newest = found.pop().map(|(_, bin)| bin);
    newest.or_else(|| Some(program("postgres")?.parent()?.to_owned()))
}

/// Chromium, or what is made of it.
pub fn browser() -> Option<PathBuf> {
    let names = [
        "chromium",
        "chromium-browser",
        "chromium-headless-shell",
        "google-chrome",
    ];
    names.iter().find_map(|name| program(name))
}

/// Writes a script that can be run at once. Written by another process, because a thread of this
/// one that forks meanwhile would hold it open, and what is open for writing cannot be run.
#[cfg(test)]
fn write_program(path: &Path, text: &str, mode: u32) {
    use std::io::Write;
    let script = format!("cat >\"$1\" && chmod {mode:o} \"$1\"");
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &script, "sh"])
        .arg(path)
        .stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_missing_where_everything_is_installed() {
        crate::need!(Postgres, Slurm, SlurmAccounting, SlurmRest, Chromium);
        let all = [
            Server::Postgres,
            Server::Munge,
            Server::Slurm,
            Server::SlurmAccounting,
            Server::SlurmRest,
            Server::Chromium,
        ];
        assert_eq!(missing(&all), []);
        assert!(postgres_bin().unwrap().join("initdb").exists());
    }

    #[test]
    fn what_is_missing_is_named_once() {
        let (apt, dnf) = (names(SLURM, System::Apt), names(SLURM, System::Dnf));
        assert_eq!(
            apt,
            [
                "munge",
                "slurmctld",
                "slurmd",
                "slurm-client",
                "slurm-wlm-basic-plugins"
            ]
        );
        assert_eq!(dnf, ["munge", "slurm-slurmctld", "slurm-slurmd", "slurm"]);
        let line = sentence(REST);
        assert!(line.contains("slurmrestd"), "{line}");
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert!(program("sh").is_some());
        assert_eq!(program("no-such-program-here"), None);
        assert!(!is_there(Proof::SlurmPlugin("no_such_plugin.so")));
    }
}
