//! `cargo xtask ui`: the page, built with Node.
//!
//! It is built in the target directory from a copy of its sources, so that clones that share one
//! share its packages, too, and a checkout stays as it is. Nothing is done when nothing changed:
//! a hash of all that goes in stands beside what came out.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::args::Args;
use crate::build::Env;
use crate::clock::Clock;
use crate::test::outcome::Outcome;
use crate::workspace::{self, Workspace};

/// Where the page's sources are.
const SOURCES: &str = "crates/view-server/ui";
/// The API that its types are made from.
const API: &str = "docs/api/openapi.json";
/// The oldest Node that its tools run with.
const NODE_MIN: u32 = 18;
/// Beside the built page: the hash of what it was built from.
const STAMP: &str = ".inputs";
/// What a checkout has that is no source.
const NO_SOURCES: [&str; 3] = ["node_modules", "dist", "api.gen.ts"];

pub(crate) fn command(mut args: Args) -> Result<ExitCode> {
    let test = args.flag("--test");
    args.finish()?;
    let page = Page::find(&Env::new())?;
    page.build()?;
    println!("{}", page.out.display());
    if !test {
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = page.test()?;
    Ok(crate::test::close(&outcome))
}

/// The page's places.
pub(crate) struct Page {
    root: PathBuf,
    /// A copy of the sources, and the packages.
    work: PathBuf,
    /// The built page.
    pub(crate) out: PathBuf,
}

impl Page {
    pub(crate) fn find(env: &Env) -> Result<Self> {
        let given = env.iter().find(|(key, _)| key == "CARGO_TARGET_DIR");
        let target = match given {
            Some((_, dir)) => PathBuf::from(dir),
            None => Workspace::load()?.target_dir,
        };
        Ok(Self {
            root: workspace::root(),
            work: target.join("ui-build"),
            out: target.join("ui"),
        })
    }

    /// Builds it, if what it is made of has changed.
    pub(crate) fn build(&self) -> Result<()> {
        let sources = self.sources()?;
        let stamp = hash(&sources);
        let known = std::fs::read_to_string(self.out.join(STAMP)).unwrap_or_default();
        if known == stamp && self.out.join("index.html").exists() {
            return Ok(());
        }
        let clock = Clock::start();
        eprintln!("building the page");
        check_node()?;
        self.copy(&sources)?;
        self.packages()?;
        let api = self.root.join(API);
        let types = self.work.join("src/api.gen.ts");
        self.run(
            "node_modules/openapi-typescript/bin/cli.js",
            &[&api, Path::new("--output"), &types],
        )?;
        self.run("node_modules/typescript/bin/tsc", &[Path::new("--noEmit")])?;
        self.run("node_modules/vite/bin/vite.js", &[Path::new("build")])?;
        // Last: what broke off is built again.
        std::fs::write(self.out.join(STAMP), stamp).context("cannot write the page's stamp")?;
        eprintln!("the page is built: {clock}");
        Ok(())
    }

    /// Runs its own tests; the page has been built.
    pub(crate) fn test(&self) -> Result<Outcome> {
        let output = self
            .node("scripts/test.mjs")
            .stdout(Stdio::piped())
            .output()
            .context("cannot run node")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let count = |name: &str| {
            let line = text.lines().rev().find_map(|line| {
                let line = line.trim_start_matches(['#', 'ℹ', ' ']);
                line.strip_prefix(name)
            });
            line.and_then(|rest| rest.trim().parse::<usize>().ok())
        };
        let mut outcome = Outcome::default();
        outcome.passed = count("pass ").unwrap_or(0);
        println!("\n== the page");
        let failed = count("fail ").unwrap_or(0);
        if !output.status.success() || failed > 0 || outcome.passed == 0 {
            print!("{text}");
            for at in 0..failed.max(1) {
                outcome.fail("the page", format!("test {}, see above", at + 1));
            }
        }
        println!("{} tests passed", outcome.passed);
        Ok(outcome)
    }

    /// Everything that goes in, by its path below the page's directory.
    fn sources(&self) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
        let top = self.root.join(SOURCES);
        let mut found = BTreeMap::new();
        let mut dirs = vec![top.clone()];
        while let Some(dir) = dirs.pop() {
            let entries = std::fs::read_dir(&dir);
            for entry in entries.with_context(|| format!("cannot list {}", dir.display()))? {
                let entry = entry?;
                if NO_SOURCES.iter().any(|name| entry.file_name() == *name) {
                    continue;
                }
                let (path, kind) = (entry.path(), entry.file_type()?);
                if kind.is_dir() {
                    dirs.push(path);
                } else if kind.is_file() {
                    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
                    found.insert(path.strip_prefix(&top)?.to_owned(), text);
                }
            }
        }
        let api = std::fs::read(self.root.join(API)).context(API)?;
        found.insert(PathBuf::from("../openapi.json"), api);
        Ok(found)
    }

    fn copy(&self, sources: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
        let say = || format!("cannot write to {}", self.work.display());
        std::fs::create_dir_all(&self.work).with_context(say)?;
        for entry in std::fs::read_dir(&self.work).with_context(say)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == "node_modules" || name == LOCK_SEEN {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path()).with_context(say)?;
            } else {
                std::fs::remove_file(entry.path()).with_context(say)?;
            }
        }
        for (path, text) in sources.iter().filter(|(path, _)| !path.starts_with("..")) {
            let path = self.work.join(path);
            if let Some(dir) = path.parent() {
                std::fs::create_dir_all(dir).with_context(say)?;
            }
            std::fs::write(path, text).with_context(say)?;
        }
        Ok(())
    }

    /// The packages of the lock file, fetched when that has changed.
    fn packages(&self) -> Result<()> {
        let lock = std::fs::read_to_string(self.work.join("package-lock.json"))?;
        let seen = self.work.join(LOCK_SEEN);
        let known = std::fs::read_to_string(&seen).unwrap_or_default();
        if known == lock && self.work.join("node_modules").exists() {
            return Ok(());
        }
        eprintln!("fetching the page's packages (npm ci)");
        let mut command = Command::new("npm");
        command.arg("ci").current_dir(&self.work);
        finished(command, "npm ci")?;
        std::fs::write(seen, lock).context("cannot write which packages there are")
    }

    fn run(&self, script: &str, args: &[&Path]) -> Result<()> {
        let mut command = self.node(script);
        command.args(args);
        finished(command, script)
    }

    fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command
            .arg(script)
            .current_dir(&self.work)
            .env("FOREBAY_UI_OUT", &self.out)
            .env("NO_COLOR", "1")
            .env("REDOCLY_TELEMETRY", "off")
            .stdin(Stdio::null());
        command
    }
}

/// Beside the packages: the lock file that they were fetched for.
const LOCK_SEEN: &str = ".lock-seen";

/// Its output is shown only where it fails.
fn finished(mut command: Command, what: &str) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {what}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{what} fails:\n{}", String::from_utf8_lossy(&text));
    }
    Ok(())
}

/// Whether there is a Node that can build it; else what to do.
fn check_node() -> Result<()> {
    let advice = format!(
        "the page needs Node {NODE_MIN} or newer and npm: `cargo xtask setup` installs them, \
         or `apt-get install nodejs npm`"
    );
    let output = Command::new("node").arg("--version").output();
    let Ok(output) = output else {
        bail!("{advice}");
    };
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match major(&text) {
        Some(version) if version >= NODE_MIN => Ok(()),
        _ => bail!("this is Node {text}; {advice}"),
    }
}

/// `v20.19.2` is 20.
fn major(text: &str) -> Option<u32> {
    text.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// No secret is in it: it only tells whether something changed.
fn hash(sources: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut hasher = DefaultHasher::new();
    sources.hash(&mut hasher);
    format!("{:016x}\n", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node() {
        assert_eq!(major("v18.20.4"), Some(18));
        assert_eq!(major("v20"), Some(20));
        assert_eq!(major("node"), None);
        assert_eq!(major(""), None);
    }

    #[test]
    fn any_change_of_what_goes_in_is_one() {
        let of = |path: &str, text: &str| {
            hash(&BTreeMap::from([(
                PathBuf::from(path),
                text.as_bytes().to_vec(),
            )]))
        };
        assert_eq!(of("a", "b"), of("a", "b"));
        assert_ne!(of("a", "b"), of("a", "c"));
        assert_ne!(of("a", "b"), of("b", "b"));
    }

    #[test]
    fn the_sources_are_found_and_what_is_made_of_them_is_not() {
        let page = Page::find(&Env::new()).unwrap();
        let sources = page.sources().unwrap();
        for path in [
            "index.html",
            "package-lock.json",
            "src/main.tsx",
            "../openapi.json",
        ] {
            assert!(sources.contains_key(Path::new(path)), "{path}");
        }
        let made = sources.keys().any(|path| {
            path.components()
                .any(|part| NO_SOURCES.iter().any(|name| part.as_os_str() == *name))
        });
        assert!(!made);
        // Whoever installs it uses the registry of their own.
        let lock = &sources[Path::new("package-lock.json")];
        let lock = String::from_utf8_lossy(lock);
        assert!(
            !lock.contains("\"resolved\"") && !lock.contains("https://registry"),
            "a registry is named"
        );
    }
}
