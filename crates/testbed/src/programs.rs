//! Where the roots' programs are: this crate starts them and never links them.
//!
//! Looked for in `FOREBAY_BIN_DIR`, else beside the running executable (`target/<profile>`, also
//! from a test in `target/<profile>/deps`). As root they are first linked, or copied where that
//! is not possible, into a directory that test accounts can enter: root's home is closed to them.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::guard::{self, Guard};

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has not been built.
    #[error(
        "there is no {name} in {dir}: build it with `cargo build -p {package}`, or set FOREBAY_BIN_DIR"
    )]
    NotBuilt {
        /// The program.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// The package that makes it.
        package: String,
    },
    /// It is there, but cannot be given to other accounts.
    #[error("cannot put {path} where test accounts can run it")]
    Stage {
        /// The program.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No guard for the directory.
    #[error("cannot make a directory for programs")]
    Guard(#[source] guard::Error),
}

/// The path at which every account can run the program `name`, such as `forebay-agent`.
pub fn path(name: &str) -> Result<PathBuf, Error> {
    let source = find(name)?;
    if rustix::process::geteuid().is_root() {
        stage(name, &source)
    } else {
        Ok(source)
    }
}

/// The directory programs are looked for in.
pub fn dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("FOREBAY_BIN_DIR") {
        return PathBuf::from(dir);
    }
    let exe = std::env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new("."));
    let is_test = dir.ends_with("deps") || dir.ends_with("examples");
    let dir = if is_test {
        dir.parent().unwrap_or(dir)
    } else {
        dir
    };
    dir.to_owned()
}

/// The directory of the built page: `FOREBAY_UI_DIR`, else where `cargo xtask ui` puts it.
pub fn page() -> Option<PathBuf> {
    let dir = match std::env::var_os("FOREBAY_UI_DIR") {
        Some(dir) => PathBuf::from(dir),
        // Beside `target/<profile>`.
        None => dir().parent()?.join("ui"),
    };
    dir.join("index.html").is_file().then_some(dir)
}

fn find(name: &str) -> Result<PathBuf, Error> {
    let dir = dir();
    let path = dir.join(name);
    let is_program = fs::metadata(&path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    if is_program {
        return Ok(path);
    }
    // The command's package is called as the command: forebay.
    Err(Error::NotBuilt {
        name: name.to_owned(),
        dir,
        package: name.to_owned(),
    })
}

/// One directory per process, made when first needed; its guard removes it when the process ends.
fn stage(name: &str, source: &Path) -> Result<PathBuf, Error> {
    static STAGE: Mutex<Option<Arc<Guard>>> = Mutex::new(None);
    let mut stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let guard = match &*stage {
        Some(guard) => Arc::clone(guard),
        None => Arc::clone(stage.insert(Guard::with_dir("programs").map_err(Error::Guard)?)),
    };
    let path = guard.dir().join(name);
    put(source, &path).map_err(|error| Error::Stage {
        path: source.to_owned(),
        source: error,
    })?;
    Ok(path)
}

fn put(source: &Path, path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    match fs::hard_link(source, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Another file system, or one without links.
        Err(_) => copy(source, path),
        Ok(()) => Ok(()),
    }?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o055 == 0o055 {
        Ok(())
    } else {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    }
}

/// By another process: were another thread to fork while this one writes, its child would hold
/// the file open, and what is open for writing cannot be run.
fn copy(source: &Path, path: &Path) -> io::Result<()> {
    let status = std::process::Command::new("cp")
        .arg("--")
        .args([source, path])
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("cp: {status}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_built_says_how_to_build_it() {
        let error = path("forebay-nothing").unwrap_err().to_string();
        assert!(error.contains("cargo build -p forebay-nothing"), "{error}");
    }

    #[test]
    fn beside_the_tests_directory() {
        let dir = dir();
        assert!(!dir.ends_with("deps"), "{}", dir.display());
    }

    #[test]
    fn a_staged_program_runs_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("closed");
        copy(Path::new("/bin/true"), &source).unwrap();
        fs::set_permissions(&source, fs::Permissions::from_mode(0o700)).unwrap();
        let staged = stage("closed", &source).unwrap();
        assert_eq!(
            fs::metadata(&staged).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert!(
            std::process::Command::new(&staged)
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(stage("closed", &source).unwrap(), staged);
    }
}
