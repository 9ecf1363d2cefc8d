//! The workspace as `cargo metadata` tells it, reduced to what the tasks ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Everything cargo knows about the workspace.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target_dir: PathBuf,
    /// By cargo's package id.
    pub(crate) packages: BTreeMap<String, Package>,
}

/// A package, ours or somebody else's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) readme: Option<String>,
    pub(crate) keywords: usize,
    pub(crate) categories: usize,
    pub(crate) published: bool,
    /// Whether it is a member of the workspace.
    pub(crate) ours: bool,
    pub(crate) dir: PathBuf,
    /// Names of its programs.
    pub(crate) bins: Vec<String>,
    pub(crate) has_lib: bool,
    /// What its manifest asks for, on any platform, optional or not.
    pub(crate) wants: Vec<Want>,
    /// What the resolved graph gives it: package id and kind.
    pub(crate) uses: Vec<(String, Kind)>,
}

/// A dependency as a manifest states it.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The version asked for; `*` when the manifest gives none.
    pub(crate) req: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Workspace {
    /// Asks cargo, for this machine's platform: others' packages need not be fetched.
    pub(crate) fn load() -> Result<Self> {
        let output = cargo()
            .args([
                "metadata",
                "--format-version=1",
                "--filter-platform",
                &host()?,
            ])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed");
        }
        let json = serde_json::from_slice(&output.stdout).context("cargo metadata's JSON")?;
        parse(&json).context("cargo metadata has another shape than expected")
    }

    /// Our own packages, by name.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.ours)
    }

    /// The member of this name, with or without the prefix.
    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.members()
            .find(|package| package.name == name || short(&package.name) == name)
    }
}

/// Our name for a crate: without the prefix, and `cli` for the `forebay` command.
pub(crate) fn short(package: &str) -> &str {
    if package == "forebay" {
        "cli"
    } else {
        package.strip_prefix("forebay-").unwrap_or(package)
    }
}

/// The cargo that runs us, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The root of the workspace. `cargo run` names our manifest's directory; what
/// was true when we were compiled is second, since clones may share one target
/// directory and so one `xtask` program.
pub(crate) fn root() -> PathBuf {
    let compiled = env!("CARGO_MANIFEST_DIR");
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| compiled.into());
    Path::new(&manifest)
        .parent()
        .unwrap_or(Path::new("."))
        .to_owned()
}

fn host() -> Result<String> {
    let output = Command::new("rustc")
        .args(["--version", "--verbose"])
        .output();
    let text = String::from_utf8(output.context("cannot run rustc")?.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .context("rustc --version --verbose names no host")?
        .to_owned())
}

fn parse(json: &Value) -> Option<Workspace> {
    let members: Vec<&str> = strings(&json["workspace_members"]);
    let mut packages = BTreeMap::new();
    for value in json["packages"].as_array()? {
        let id = value["id"].as_str()?;
        packages.insert(id.to_owned(), parse_package(value, members.contains(&id))?);
    }
    for node in json["resolve"]["nodes"].as_array()? {
        let package = packages.get_mut(node["id"].as_str()?)?;
        for dep in node["deps"].as_array()? {
            let id = dep["pkg"].as_str()?;
            for kind in dep["dep_kinds"].as_array()? {
                package
                    .uses
                    .push((id.to_owned(), parse_kind(&kind["kind"])));
            }
        }
    }
    Some(Workspace {
        root: json["workspace_root"].as_str()?.into(),
        target_dir: json["target_directory"].as_str()?.into(),
        packages,
    })
}

fn parse_package(value: &Value, ours: bool) -> Option<Package> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let mut package = Package {
        name: text("name")?,
        version: text("version")?,
        license: text("license"),
        description: text("description"),
        readme: text("readme"),
        keywords: strings(&value["keywords"]).len(),
        categories: strings(&value["categories"]).len(),
        // `publish = false` is an empty list of registries.
        published: value["publish"]
            .as_array()
            .is_none_or(|list| !list.is_empty()),
        ours,
        dir: Path::new(value["manifest_path"].as_str()?)
            .parent()?
            .to_owned(),
        ..Package::default()
    };
    for target in value["targets"].as_array()? {
        let kinds = strings(&target["kind"]);
        if kinds.contains(&"bin") {
            package.bins.push(target["name"].as_str()?.to_owned());
        }
        package.has_lib |= kinds
            .iter()
            .any(|kind| matches!(*kind, "lib" | "proc-macro"));
    }
    for dep in value["dependencies"].as_array()? {
        package.wants.push(Want {
            name: dep["name"].as_str()?.to_owned(),
            kind: parse_kind(&dep["kind"]),
            req: dep["req"].as_str()?.to_owned(),
        });
    }
    Some(package)
}

fn parse_kind(value: &Value) -> Kind {
    match value.as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_members_targets_kinds_and_publish() {
        let json = serde_json::json!({
            "workspace_root": "/w", "target_directory": "/t", "workspace_members": ["a"],
            "packages": [
                {"id": "a", "name": "forebay-agent", "version": "0.1.0", "publish": [],
                 "manifest_path": "/w/crates/agent/Cargo.toml", "keywords": ["x"],
                 "targets": [{"kind": ["lib"], "name": "forebay_agent"},
                             {"kind": ["bin"], "name": "forebay-agent"}],
                 "dependencies": [{"name": "b", "kind": null, "req": "^1"},
                                  {"name": "t", "kind": "dev", "req": "*"}]},
                {"id": "b", "name": "b", "version": "1.0.0", "license": "MIT", "publish": null,
                 "manifest_path": "/r/b/Cargo.toml", "targets": [], "dependencies": []}],
            "resolve": {"nodes": [
                {"id": "a", "deps": [{"pkg": "b", "dep_kinds": [{"kind": null}, {"kind": "dev"}]}]},
                {"id": "b", "deps": []}]}
        });
        let workspace = parse(&json).unwrap();
        let agent = workspace.member("agent").unwrap();
        assert!(agent.has_lib && agent.bins == ["forebay-agent"] && !agent.published);
        assert_eq!(
            agent.uses,
            [("b".into(), Kind::Normal), ("b".into(), Kind::Dev)]
        );
        assert_eq!(agent.wants[1].kind, Kind::Dev);
        assert!(workspace.packages["b"].published);
        assert!(workspace.member("b").is_none(), "only ours are members");
    }

    #[test]
    fn short_names() {
        assert_eq!(
            ["forebay", "forebay-wire", "xtask"].map(short),
            ["cli", "wire", "xtask"]
        );
    }
}
