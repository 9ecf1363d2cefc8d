//! `cargo xtask tidy`: the rules of docs/ARCHITECTURE.md, checked.
//!
//! Each rule is a function of parsed data, with a test that it refuses what it
//! should; `the_workspace_keeps_its_rules` applies them all, so that plain
//! `cargo test` checks them too.

mod code;
mod graph;
mod lean;
mod licence;
mod manifest;
mod source;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use toml::Table;

use self::source::Source;
use crate::args::Args;
use crate::workspace::Workspace;

/// A file over this many lines is reported.
const LINES: usize = 500;
/// Made by programs, or not ours to look into.
const PASSED_OVER: [&str; 5] = [".git", "target", "node_modules", "Cargo.lock", "fixtures"];

/// A rule that is not kept.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// A file and line, or a crate.
    pub(crate) place: String,
    pub(crate) what: String,
}

impl Finding {
    fn new(place: &str, what: &str) -> Self {
        Self {
            place: place.to_owned(),
            what: what.to_owned(),
        }
    }
}

pub(crate) fn command(args: Args) -> Result<ExitCode> {
    args.finish()?;
    check()?;
    eprintln!("tidy");
    Ok(ExitCode::SUCCESS)
}

/// Prints every finding and fails if there is one.
pub(crate) fn check() -> Result<()> {
    let workspace = Workspace::load()?;
    let files = text_files(&workspace.root)?;
    for line in reports(&workspace, &files) {
        println!("note: {line}");
    }
    let findings = findings(&workspace, &files)?;
    for Finding { place, what } in &findings {
        println!("{place}: {what}");
    }
    if !findings.is_empty() {
        bail!(
            "{} rules are not kept (docs/ARCHITECTURE.md says why they exist)",
            findings.len()
        );
    }
    Ok(())
}

fn findings(workspace: &Workspace, files: &BTreeMap<String, String>) -> Result<Vec<Finding>> {
    let mut findings = graph::check(workspace);
    findings.extend(lean::check()?);
    findings.extend(licence::check(workspace.packages.values()));
    for package in workspace.members() {
        let path = package.dir.join("Cargo.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let table = text
            .parse::<Table>()
            .with_context(|| path.display().to_string())?;
        findings.extend(manifest::check(package, &table, |file| {
            package.dir.join(file).exists()
        }));
    }
    for (path, text) in files {
        findings.extend(text::check(path, text));
        findings.extend(code::check_sql_file(path));
        if has_extension(path, "rs") {
            findings.extend(code::check(&Source::new(path, text)));
        }
    }
    findings.extend(text::check_security(files));
    findings.sort();
    Ok(findings)
}

/// What is worth knowing and fails nothing.
fn reports(workspace: &Workspace, files: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| has_extension(path, "rs")) {
        let count = text.lines().count();
        if count > LINES {
            lines.push(format!(
                "{path} has {count} lines; over {LINES} a file explains itself"
            ));
        }
    }
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    for package in workspace.packages.values() {
        versions
            .entry(&package.name)
            .or_default()
            .insert(&package.version);
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        let list: Vec<&str> = versions.iter().copied().collect();
        lines.push(format!(
            "{name} is compiled in the versions {}",
            list.join(" and ")
        ));
    }
    lines
}

fn has_extension(path: &str, wanted: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|extension| extension == wanted)
}

/// Every text file of ours by its path below the root.
fn text_files(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries =
            std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
            let name = entry.file_name();
            if PASSED_OVER.iter().any(|passed| name == *passed) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                // What is not UTF-8 is no text; what has just gone is nothing.
                let Ok(text) = std::fs::read_to_string(entry.path()) else {
                    continue;
                };
                let path = entry.path();
                let path = path.strip_prefix(root).unwrap_or(&path);
                files.insert(path.to_string_lossy().into_owned(), text);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_keeps_its_rules() {
        let workspace = Workspace::load().unwrap();
        let files = text_files(&workspace.root).unwrap();
        assert!(
            files.contains_key("xtask/src/tidy/mod.rs"),
            "the walk finds this file"
        );
        let findings = findings(&workspace, &files).unwrap();
        let lines: Vec<_> = findings
            .iter()
            .map(|f| format!("{}: {}", f.place, f.what))
            .collect();
        assert!(findings.is_empty(), "\n{}", lines.join("\n"));
    }

    #[test]
    fn long_files_and_double_versions_are_reported() {
        let package = |version: &str| crate::workspace::Package {
            name: "x".into(),
            version: version.into(),
            ..Default::default()
        };
        let packages = [
            ("x1".to_owned(), package("1.0.0")),
            ("x2".to_owned(), package("2.0.0")),
        ];
        let workspace = Workspace {
            root: "/".into(),
            target_dir: "/".into(),
            packages: BTreeMap::from(packages),
        };
        let files = BTreeMap::from([
            ("a.rs".to_owned(), "x\n".repeat(501)),
            ("b.rs".to_owned(), "x\n".repeat(500)),
            ("c.md".to_owned(), "x\n".repeat(900)),
        ]);
        let lines = reports(&workspace, &files);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("a.rs has 501") && lines[1].contains("1.0.0 and 2.0.0"));
    }
}
