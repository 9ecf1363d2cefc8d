//! Tasks that the testbed does: we build what it needs and become it, so that
//! signals, the terminal and the exit code are its own.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::args::Args;
use crate::build::{Built, Env, build};
use crate::ui::Page;

/// What `up` and `bench` run: every program of the workspace but this one.
pub(crate) const PROGRAMS: [&str; 3] = ["--workspace", "--exclude=xtask", "--bins"];

/// Tells the testbed where the built page is.
pub(crate) const UI_DIR: &str = "FOREBAY_UI_DIR";

pub(crate) fn setup(args: Args) -> Result<ExitCode> {
    eprintln!("building forebay-testbed, which knows what the tests need");
    let built = build(&["--package=forebay-testbed", "--bins"], &Env::new())?;
    become_testbed(&built, "setup", args.all())
}

pub(crate) fn up(args: Args) -> Result<ExitCode> {
    eprintln!(
        "building the services and forebay-testbed, which starts them \
         (the first time this compiles everything: minutes)"
    );
    let built = build(&PROGRAMS, &Env::new())?;
    let args = args.all();
    // Who sees one job and leaves needs no page.
    if !args.iter().any(|word| word == "--once" || word == "--help") {
        let page = Page::find(&Env::new())?;
        match page.build() {
            Ok(()) => return become_testbed_with(&built, "up", args, Some(&page.out)),
            Err(error) => eprintln!("without the page: {error:#}"),
        }
    }
    become_testbed(&built, "up", args)
}

/// Replaces this process by `forebay-testbed TASK ARGS`; returns only on error.
pub(crate) fn become_testbed(built: &Built, task: &str, args: Vec<String>) -> Result<ExitCode> {
    become_testbed_with(built, task, args, None)
}

fn become_testbed_with(
    built: &Built,
    task: &str,
    args: Vec<String>,
    page: Option<&Path>,
) -> Result<ExitCode> {
    let mut command = testbed(built)?;
    if let Some(dir) = page {
        command.env(UI_DIR, dir);
    }
    let error = command.arg(task).args(args).exec();
    Err(error).context("cannot run forebay-testbed")
}

/// The testbed's program, told where the others lie.
pub(crate) fn testbed(built: &Built) -> Result<Command> {
    let mut command = Command::new(built.testbed()?);
    command
        .env("FOREBAY_BIN_DIR", built.dir()?)
        .current_dir(crate::workspace::root());
    Ok(command)
}
