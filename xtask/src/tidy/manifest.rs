//! Rules over each crate's manifest and the files beside it.

use toml::{Table, Value};

use super::Finding;
use super::graph::{Role, role};
use crate::workspace::Package;

const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
const INHERITED: [&str; 3] = ["edition", "rust-version", "license"];

/// `manifest` is the parsed `Cargo.toml`; `has` says whether a file lies beside it.
pub(crate) fn check(
    package: &Package,
    manifest: &Table,
    has: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |what: String| findings.push(Finding::new(&package.name, &what));
    if !inherits(manifest.get("lints")) {
        say("lacks `[lints] workspace = true`".to_owned());
    }
    let about = manifest.get("package").and_then(Value::as_table);
    let field = |name: &str| about.and_then(|table| table.get(name));
    for name in INHERITED.into_iter().filter(|name| !inherits(field(name))) {
        say(format!("lacks `{name}.workspace = true`"));
    }
    for (table, name) in own_versions(manifest) {
        say(format!(
            "[{table}] {name}: write `{{ workspace = true }}`, the version stands in the root"
        ));
    }
    let role = role(package);
    let shares_version = matches!(role, Some(Role::Inner | Role::Root | Role::Tool));
    if shares_version && !inherits(field("version")) {
        say("shares the product's version: `version.workspace = true`".to_owned());
    }
    if role == Some(Role::Leaf) && inherits(field("version")) {
        say("is a leaf and has a version of its own".to_owned());
    }
    let publishes = role == Some(Role::Leaf) || package.name == "forebay";
    if publishes != package.published {
        say(if publishes {
            "is published: no `publish = false`"
        } else {
            "lacks `publish = false`"
        }
        .into());
    }
    if role == Some(Role::Root) && !(package.has_lib && package.bins.len() == 1) {
        say("is a root: a library with one thin program".to_owned());
    }
    if package.description.as_ref().is_none_or(String::is_empty) {
        say("has no description".to_owned());
    }
    if role == Some(Role::Leaf) {
        for file in ["README.md", "CHANGELOG.md"]
            .into_iter()
            .filter(|file| !has(file))
        {
            say(format!("is published and has no {file}"));
        }
        for (what, missing) in [
            ("readme", package.readme.is_none()),
            ("license", package.license.is_none()),
            ("keywords", package.keywords == 0),
            ("categories", package.categories == 0),
        ] {
            if missing {
                say(format!("is published and its manifest has no {what}"));
            }
        }
    }
    findings
}

fn inherits(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

/// Dependencies that do not take their version from the root, on any platform.
fn own_versions(manifest: &Table) -> Vec<(String, String)> {
    let mut tables = vec![("", manifest)];
    if let Some(targets) = manifest.get("target").and_then(Value::as_table) {
        let platforms = targets
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.as_table()?)));
        tables.extend(platforms);
    }
    let mut found = Vec::new();
    for (platform, table) in tables {
        for kind in TABLES {
            let Some(entries) = table.get(kind).and_then(Value::as_table) else {
                continue;
            };
            for (name, _) in entries.iter().filter(|(_, value)| !inherits(Some(value))) {
                let table = if platform.is_empty() {
                    kind.to_owned()
                } else {
                    format!("{platform}.{kind}")
                };
                found.push((table, name.clone()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: &str = r#"
        [package]
        name = "forebay-streams"
        version = "0.1.0"
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        [dependencies]
        bytes = { workspace = true, features = ["serde"] }
        [lints]
        workspace = true"#;

    fn leaf() -> Package {
        Package {
            name: "forebay-streams".into(),
            license: Some("MIT".into()),
            description: Some("Feeds".into()),
            readme: Some("README.md".into()),
            keywords: 1,
            categories: 1,
            published: true,
            ours: true,
            has_lib: true,
            ..Package::default()
        }
    }

    fn found(package: &Package, manifest: &str, files: &[&str]) -> Vec<String> {
        let manifest = manifest.parse::<Table>().unwrap();
        check(package, &manifest, |file| files.contains(&file))
            .into_iter()
            .map(|f| f.what)
            .collect()
    }

    const FILES: [&str; 2] = ["README.md", "CHANGELOG.md"];

    #[test]
    fn a_good_leaf_and_a_good_root_are_accepted() {
        assert_eq!(found(&leaf(), LEAF, &FILES), [""; 0]);
        let root = Package {
            name: "forebay-agent".into(),
            published: false,
            bins: vec!["forebay-agent".into()],
            ..leaf()
        };
        let manifest = LEAF.replace("version = \"0.1.0\"", "version.workspace = true");
        assert_eq!(found(&root, &manifest, &[]), [""; 0]);
    }

    #[test]
    fn each_missing_thing_is_named() {
        for (cut, named) in [
            ("[lints]\n        workspace = true", "[lints]"),
            ("edition.workspace = true", "edition"),
            ("license.workspace = true", "license"),
        ] {
            let found = found(&leaf(), &LEAF.replace(cut, ""), &FILES);
            assert!(
                found.len() == 1 && found[0].contains(named),
                "{cut}: {found:?}"
            );
        }
        assert!(found(&leaf(), LEAF, &["README.md"])[0].contains("CHANGELOG.md"));
        let bare = Package {
            readme: None,
            keywords: 0,
            description: None,
            ..leaf()
        };
        assert_eq!(found(&bare, LEAF, &FILES).len(), 3);
        let hidden = Package {
            published: false,
            ..leaf()
        };
        assert!(found(&hidden, LEAF, &FILES)[0].contains("publish"));
    }

    #[test]
    fn versions_stand_in_the_root_on_every_platform() {
        let manifest = format!(
            "{LEAF}\n[dev-dependencies]\ninsta = \"1\"\n[target.'cfg(unix)'.dependencies]\nnix = {{ version = \"1\" }}"
        );
        let found = found(&leaf(), &manifest, &FILES);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("[dev-dependencies] insta"));
        assert!(found[1].starts_with("[cfg(unix).dependencies] nix"));
    }

    #[test]
    fn who_has_which_version_and_who_is_published() {
        let root = Package {
            name: "forebay-agent".into(),
            ..leaf()
        };
        let found = found(&root, LEAF, &[]);
        assert!(
            found.iter().any(|what| what.contains("product's version")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|what| what.contains("publish = false")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|what| what.contains("one thin program")),
            "{found:?}"
        );
    }
}
