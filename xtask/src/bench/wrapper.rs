//! This program as cargo's `RUSTC_WRAPPER`: runs the compiler and notes its CPU time.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::clock::children_cpu;

/// Names the file that gets a line for each compiled crate.
pub(crate) const LOG: &str = "FOREBAY_RUSTC_LOG";

/// One crate, compiled once.
#[derive(Debug, PartialEq)]
pub(crate) struct Compiled {
    pub(crate) crate_name: String,
    /// Whether its manifest lies in our workspace.
    pub(crate) ours: bool,
    pub(crate) cpu: Duration,
}

impl Compiled {
    fn line(&self) -> String {
        let whose = if self.ours { "ours" } else { "theirs" };
        format!("{whose} {} {}\n", self.cpu.as_millis(), self.crate_name)
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let ours = match words.next()? {
            "ours" => true,
            "theirs" => false,
            _ => return None,
        };
        let cpu = Duration::from_millis(words.next()?.parse().ok()?);
        Some(Self {
            ours,
            cpu,
            crate_name: words.next()?.to_owned(),
        })
    }
}

/// Compiles and notes, if this is what we were called for.
pub(crate) fn run_if_wrapping() -> Option<ExitCode> {
    let log = std::env::var_os(LOG)?;
    let mut words = std::env::args_os().skip(1);
    let rustc = words.next()?;
    let args: Vec<OsString> = words.collect();
    let status = match Command::new(&rustc).args(&args).status() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("xtask: cannot run {}: {error}", rustc.display());
            return Some(ExitCode::FAILURE);
        }
    };
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    // Cargo also asks the compiler about itself; that compiles nothing.
    let name = args
        .iter()
        .position(|arg| arg == "--crate-name")
        .and_then(|at| args.get(at + 1))
        .filter(|name| *name != "___");
    let (Some(name), Some(manifest)) = (name, std::env::var_os("CARGO_MANIFEST_DIR")) else {
        return Some(ExitCode::from(code));
    };
    let compiled = Compiled {
        crate_name: name.to_string_lossy().into_owned(),
        // Not `workspace::root()`: cargo has set our variables to the crate's.
        ours: std::env::var_os("FOREBAY_WORKSPACE")
            .is_some_and(|root| Path::new(&manifest).starts_with(root)),
        cpu: children_cpu(),
    };
    // One write of one short line: lines of compilers side by side do not mix.
    let noted = std::fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .and_then(|mut file| file.write_all(compiled.line().as_bytes()));
    if let Err(error) = noted {
        eprintln!(
            "xtask: cannot note CPU time in {}: {error}",
            Path::new(&log).display()
        );
        return Some(ExitCode::FAILURE);
    }
    Some(ExitCode::from(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_nonsense_does_not() {
        let compiled = Compiled {
            crate_name: "forebay_wire".into(),
            ours: true,
            cpu: Duration::from_millis(1230),
        };
        assert_eq!(Compiled::parse(compiled.line().trim_end()), Some(compiled));
        assert_eq!(Compiled::parse("ours"), None);
        assert_eq!(Compiled::parse("mine 1 x"), None);
    }
}
