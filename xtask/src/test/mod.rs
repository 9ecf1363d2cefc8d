//! `cargo xtask test`: build everything once, install what is missing, run all
//! tests, and say what was skipped.

pub(crate) mod outcome;
mod run;
pub(crate) mod skips;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::outcome::Outcome;
use self::run::Job;
use crate::args::Args;
use crate::build::{Built, Env, TestProgram, build};
use crate::clock::Clock;
use crate::handover::{UI_DIR, testbed};
use crate::leftovers;
use crate::ui::Page;
use crate::workspace::{Package, Workspace, cargo, short};

/// What to test, and how.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Members of the workspace; none means all.
    pub(crate) crates: Vec<String>,
    pub(crate) setup: bool,
    /// Test programs at the same time.
    pub(crate) width: usize,
    /// For each test program.
    pub(crate) args: Vec<String>,
    /// For cargo and for the test programs.
    pub(crate) env: Env,
    /// How long one test program may run.
    pub(crate) deadline: Duration,
}

impl Options {
    pub(crate) fn everything() -> Self {
        Self {
            setup: true,
            width: 2,
            deadline: Duration::from_secs(20 * 60),
            ..Self::default()
        }
    }
}

pub(crate) fn command(mut args: Args) -> Result<ExitCode> {
    let mut options = Options::everything();
    options.setup = !args.flag("--no-setup");
    if args.flag("--long") {
        options.env.push(("FOREBAY_LONG".into(), "1".into()));
        options.deadline = Duration::from_secs(3 * 3600);
    }
    if let Some(versions) = args.value("--slurm")? {
        options.env.push(("FOREBAY_SLURM".into(), versions.into()));
    }
    if let Some(width) = args.value("--jobs")? {
        options.width = width.parse().context("`--jobs` takes a number")?;
    }
    options.args = args.rest();
    options.crates = args.positional();
    args.finish()?;
    let clock = Clock::start();
    let outcome = match run(&options) {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            Outcome::broken()
        }
    };
    eprintln!("tests: {clock}");
    Ok(close(&outcome))
}

/// Prints the closing line, alone and last.
pub(crate) fn close(outcome: &Outcome) -> ExitCode {
    println!("{} passed, {} failed", outcome.passed, outcome.failed);
    if outcome.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Builds, installs, runs, and prints everything but the closing line. Skipped
/// tests are in neither sum; a process left behind is a failure.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let chosen = choose(&workspace, &options.crates)?;
    let clock = Clock::start();
    eprintln!("building the tests and the programs they start");
    let built = build_for(&chosen, options)?;
    eprintln!("built: {clock}");
    if options.setup && chosen.iter().any(|package| needs_testbed(package)) {
        set_up(&built)?;
    }
    let page = chosen
        .iter()
        .any(|package| needs_page(package))
        .then(|| build_page(&options.env))
        .flatten();
    let id = run_id();
    let skips = Removed(std::env::temp_dir().join(format!("forebay-skips-{id}.jsonl")));
    std::fs::write(&skips.0, "").context("cannot make the file for skips")?;
    let mut env = options.env.clone();
    env.push((leftovers::RUN.into(), id.clone().into()));
    env.push((skips::FILE.into(), skips.0.clone().into()));
    if let Ok(dir) = built.dir() {
        env.push(("FOREBAY_BIN_DIR".into(), dir.into()));
    }
    if let Some(page) = &page {
        env.push((UI_DIR.into(), page.out.clone().into()));
    }
    let mut outcome = run_programs(&workspace, &built, options, &env)?;
    outcome.add(&doc_tests(&chosen, options, &env));
    // A filter or an option for the other tests means these only by accident.
    if let Some(page) = page.filter(|_| options.args.is_empty()) {
        outcome.add(&page.test()?);
    }
    name_leftovers(&id, &mut outcome);
    let skipped = skips::parse(&std::fs::read_to_string(&skips.0).unwrap_or_default());
    report(&skipped, &mut outcome);
    Ok(outcome)
}

fn choose<'a>(workspace: &'a Workspace, names: &[String]) -> Result<Vec<&'a Package>> {
    if names.is_empty() {
        return Ok(workspace.members().collect());
    }
    let find = |name: &String| {
        let known = || {
            workspace
                .members()
                .map(|p| short(&p.name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        workspace
            .member(name)
            .with_context(|| format!("no crate is called `{name}`; there are: {}", known()))
    };
    names.iter().map(find).collect()
}

/// Whether its tests start real servers, and so also our programs.
fn needs_testbed(package: &Package) -> bool {
    package.name == "forebay-testbed"
        || package
            .wants
            .iter()
            .any(|want| want.name == "forebay-testbed")
}

/// Whether its tests open the page, or it is theirs.
fn needs_page(package: &Package) -> bool {
    matches!(
        package.name.as_str(),
        "forebay-testbed" | "forebay-view-server"
    )
}

/// The built page. That there is none is no failure here: the tests that open it say so.
fn build_page(env: &Env) -> Option<Page> {
    let built = Page::find(env).and_then(|page| page.build().map(|()| page));
    match built {
        Ok(page) => Some(page),
        Err(error) => {
            eprintln!("the page could not be built; tests that open it will say so: {error:#}");
            None
        }
    }
}

/// One build for all, so that libraries are compiled once for programs and tests.
fn build_for(chosen: &[&Package], options: &Options) -> Result<Built> {
    let all = [
        "--all-features",
        "--keep-going",
        "--lib",
        "--bins",
        "--tests",
        "--examples",
    ];
    if options.crates.is_empty() {
        return build(&[&["--workspace"], all.as_slice()].concat(), &options.env);
    }
    let mut programs = Built::default();
    if chosen.iter().any(|package| needs_testbed(package)) {
        let args = ["--workspace", "--exclude=xtask", "--bins", "--all-features"];
        programs = build(&args, &options.env)?;
    }
    let packages: Vec<_> = chosen
        .iter()
        .map(|p| format!("--package={}", p.name))
        .collect();
    let mut args: Vec<&str> = packages.iter().map(String::as_str).collect();
    args.extend(["--all-features", "--bins", "--tests", "--examples"]);
    let mut built = build(&args, &options.env)?;
    built.programs.extend(programs.programs);
    Ok(built)
}

/// Installs what is missing. That it could not is no failure here: the tests
/// that lack something say so, each for itself.
fn set_up(built: &Built) -> Result<()> {
    if built.testbed().is_err() {
        eprintln!("there is no forebay-testbed program here, so nothing is installed");
        return Ok(());
    }
    let status = testbed(built)?
        .arg("setup")
        .stdin(Stdio::null())
        .status()
        .context("cannot run forebay-testbed setup")?;
    if !status.success() {
        eprintln!("not everything could be installed; tests that lack something will say so");
    }
    Ok(())
}

fn run_programs(
    workspace: &Workspace,
    built: &Built,
    options: &Options,
    env: &Env,
) -> Result<Outcome> {
    let mut programs = built.tests.clone();
    // Those with servers take longest: first, so that the rest fills the gaps.
    programs.sort_by_key(|program| (program.kind != "test", program.path.clone()));
    if programs.is_empty() {
        bail!("cargo built no tests");
    }
    let jobs = programs
        .iter()
        .map(|program| {
            let package = workspace.packages.get(&program.package);
            let package =
                package.with_context(|| format!("unknown package {}", program.package))?;
            Ok(job(program, package, options, env))
        })
        .collect::<Result<Vec<_>>>()?;
    let count = jobs.len();
    eprintln!("running {count} test programs");
    let mut ended = 0;
    Ok(run::all(jobs, options.width, options.deadline, |ran| {
        ended += 1;
        println!(
            "\n== {} ({ended} of {count}, {:.1} s)",
            ran.label,
            ran.wall.as_secs_f64()
        );
        print!("{}", ran.output);
    }))
}

/// As cargo itself would run it.
fn job(program: &TestProgram, package: &Package, options: &Options, env: &Env) -> Job {
    let label = match program.kind.as_str() {
        "test" => format!("{} tests/{}", package.name, program.target),
        "bin" => format!("{} program {}", package.name, program.target),
        _ => package.name.clone(),
    };
    let mut command = Command::new(&program.path);
    command
        .args(&options.args)
        .current_dir(&package.dir)
        .env("CARGO_MANIFEST_DIR", &package.dir)
        .env("CARGO_PKG_NAME", &package.name)
        .env("CARGO_PKG_VERSION", &package.version)
        .envs(env.iter().map(|(key, value)| (key, value)));
    Job { label, command }
}

fn doc_tests(chosen: &[&Package], options: &Options, env: &Env) -> Outcome {
    let mut command = cargo();
    command.args(["test", "--doc", "--all-features", "--no-fail-fast"]);
    if options.crates.is_empty() {
        command.arg("--workspace");
    }
    let with_lib: Vec<_> = chosen.iter().filter(|package| package.has_lib).collect();
    if with_lib.is_empty() {
        return Outcome::default();
    }
    if !options.crates.is_empty() {
        command.args(
            with_lib
                .iter()
                .map(|package| format!("--package={}", package.name)),
        );
    }
    command
        .arg("--")
        .args(&options.args)
        .envs(env.iter().map(|(key, value)| (key, value)));
    let ran = run::one(
        Job {
            label: "examples in documentation".into(),
            command,
        },
        options.deadline,
    );
    println!("\n== {} ({:.1} s)", ran.label, ran.wall.as_secs_f64());
    print!("{}", ran.output);
    ran.outcome
}

/// Processes get a moment to end; then each that is still there is a failure.
/// Nobody is killed: whoever looks into it wants to find it running.
fn name_leftovers(id: &str, outcome: &mut Outcome) {
    let mut left = leftovers::find(id);
    for _ in 0..20 {
        if left.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(250));
        left = leftovers::find(id);
    }
    for leftover in &left {
        let what = format!("pid {} ({})", leftover.pid, leftover.command);
        outcome.fail("left running", what);
    }
}

fn report(skipped: &[skips::Skip], outcome: &mut Outcome) {
    let count = skips::tests(skipped, &outcome.failures);
    outcome.passed = outcome.passed.saturating_sub(count);
    println!();
    print!("{}", skips::report(skipped));
    println!("{count} skipped");
    for failure in &outcome.failures {
        println!("failed: {}: {}", failure.program, failure.test);
    }
}

/// Differs between runs at the same time and one after the other.
fn run_id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(
        "{}-{}",
        std::process::id(),
        now.unwrap_or_default().as_millis()
    )
}

/// A file that is gone when this is dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("xtask: cannot remove {}: {error}", self.0.display());
        }
    }
}
