//! `cargo xtask ci`: everything that must hold before a change goes in.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::args::Args;
use crate::build::Env;
use crate::clock::Clock;
use crate::test::outcome::Outcome;
use crate::workspace::cargo;
use crate::{test, tidy};

pub(crate) fn command(args: Args) -> Result<ExitCode> {
    args.finish()?;
    let whole = Clock::start();
    let mut env = Env::new();
    if let Some(dir) = target_dir() {
        eprintln!("ci: building in {}", dir.display());
        env.push(("CARGO_TARGET_DIR".into(), dir.into()));
    }
    let mut phases = Phases::default();
    phases.run("format", || format(&env));
    phases.run("tidy", tidy::check);
    let mut outcome = Outcome::default();
    phases.run("lints and tests", || {
        outcome = lints_and_tests(&env)?;
        Ok(())
    });
    phases.run("documentation", || documentation(&env));
    println!("\nci: {whole} in all");
    for line in &phases.times {
        println!("  {line}");
    }
    for line in &phases.failures {
        println!("failed: {line}");
    }
    outcome.failed += phases.failures.len();
    Ok(test::close(&outcome))
}

/// One after the other, going on after a failure: one run tells everything.
#[derive(Default)]
struct Phases {
    times: Vec<String>,
    failures: Vec<String>,
}

impl Phases {
    fn run(&mut self, name: &str, phase: impl FnOnce() -> Result<()>) {
        eprintln!("ci: {name}");
        let clock = Clock::start();
        if let Err(error) = phase() {
            self.failures.push(format!("{name}: {error:#}"));
        }
        self.times.push(format!("{name}: {clock}"));
    }
}

fn format(env: &Env) -> Result<()> {
    let status = cargo()
        .args(["fmt", "--all", "--check"])
        .envs(env.iter().map(|(key, value)| (key, value)))
        .status()
        .context("cannot run cargo fmt")?;
    if !status.success() {
        bail!("`cargo fmt --all` changes something, or rustfmt is not installed");
    }
    Ok(())
}

/// Links within the documentation lead somewhere, and what rustdoc warns of.
fn documentation(env: &Env) -> Result<()> {
    let status = cargo()
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--all-features",
            "--quiet",
        ])
        .envs(env.iter().map(|(key, value)| (key, value)))
        .env("RUSTDOCFLAGS", "-Dwarnings")
        .status()
        .context("cannot run cargo doc")?;
    if !status.success() {
        bail!("`RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --all-features` fails");
    }
    Ok(())
}

/// Clippy compiles our crates in rustc's place, so that its lints cost no second
/// build; dependencies stay with rustc and are shared with every other build.
fn lints_and_tests(env: &Env) -> Result<Outcome> {
    let mut options = test::Options::everything();
    options.env.clone_from(env);
    let driver = clippy_driver()?;
    options
        .env
        .push(("RUSTC_WORKSPACE_WRAPPER".into(), driver.into()));
    // How `cargo clippy -- -D warnings` itself tells the driver; part of the
    // fingerprint of our crates, and of theirs not.
    options
        .env
        .push(("CLIPPY_ARGS".into(), "-Dwarnings__CLIPPY_HACKERY__".into()));
    options.env.push(("CARGO_INCREMENTAL".into(), "0".into()));
    options.env.push(("FOREBAY_REQUIRE".into(), "all".into()));
    test::run(&options)
}

/// Clippy's compiler, beside the one in use.
fn clippy_driver() -> Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = String::from_utf8(output.context("cannot run rustc")?.stdout)?;
    let driver = Path::new(sysroot.trim()).join("bin/clippy-driver");
    if !driver.exists() {
        bail!(
            "clippy is not installed: `rustup component add clippy` (no {})",
            driver.display()
        );
    }
    Ok(driver)
}

/// Where to build; `None` leaves it to cargo.
fn target_dir() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(dir) = var("FOREBAY_TARGET_DIR").or_else(|| var("CARGO_TARGET_DIR")) {
        return Some(dir.into());
    }
    let cache = match var("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(var("HOME")?).join(".cache"),
    };
    let dir = cache.join("forebay/target");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir)
}
