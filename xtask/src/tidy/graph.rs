//! Rules over who uses whom.

use std::collections::BTreeSet;

use super::Finding;
use crate::workspace::{Kind, Package, Want, Workspace, short};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Useful to a stranger by itself; published.
    Leaf,
    /// Ours alone.
    Inner,
    /// A program that is installed.
    Root,
    /// For tests.
    Tool,
    /// Development tasks.
    Task,
}

/// Every crate there is or will be, in order: each uses only those above it.
pub(crate) const CRATES: [(&str, Role); 23] = [
    ("wire", Role::Leaf),
    ("streams", Role::Leaf),
    ("service", Role::Leaf),
    ("http", Role::Leaf),
    ("ipc", Role::Leaf),
    ("slurm", Role::Leaf),
    ("gateway", Role::Leaf),
    ("recipe", Role::Leaf),
    ("connect", Role::Leaf),
    ("identity", Role::Leaf),
    ("postgres", Role::Leaf),
    ("supervise", Role::Leaf),
    ("globus", Role::Leaf),
    ("central", Role::Inner),
    ("view-server", Role::Root),
    ("realtime", Role::Root),
    ("agent", Role::Root),
    ("user-agent", Role::Root),
    ("launcher", Role::Root),
    ("cli", Role::Root),
    ("testbed", Role::Tool),
    ("xtask", Role::Task),
    ("xtask-release", Role::Task),
];

/// What leaves may use of each other.
const COMMON: [&str; 4] = ["wire", "streams", "service", "http"];
/// All that `wire` may need.
const WIRE_NEEDS: [&str; 4] = ["serde", "time", "uuid", "utoipa"];
/// Who owns the central database.
const CENTRAL_USERS: [&str; 2] = ["view-server", "realtime"];
/// What a crate must not reach, however far away.
const UNREACHABLE: [(&str, &str); 3] = [
    ("user-agent", "tokio-postgres"),
    ("launcher", "tokio-postgres"),
    ("launcher", "tokio"),
];

/// A member's place in the list, if it has one.
pub(crate) fn role(package: &Package) -> Option<Role> {
    place(&package.name).map(|(_, role)| role)
}

fn place(package: &str) -> Option<(usize, Role)> {
    let name = short(package);
    let at = CRATES.iter().position(|(known, _)| *known == name)?;
    Some((at, CRATES[at].1))
}

pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    let ours: BTreeSet<&str> = workspace.members().map(|p| p.name.as_str()).collect();
    for package in workspace.members() {
        let Some((at, role)) = place(&package.name) else {
            let what =
                "is not in the list of crates in docs/ARCHITECTURE.md and xtask/src/tidy/graph.rs";
            findings.push(Finding::new(&package.name, what));
            continue;
        };
        for want in package
            .wants
            .iter()
            .filter(|want| ours.contains(want.name.as_str()))
        {
            if let Some((other_at, other_role)) = place(&want.name) {
                let edge = Edge {
                    user: &package.name,
                    at,
                    role,
                    want,
                    other_at,
                    other_role,
                };
                findings.extend(edge.check());
            }
        }
        findings.extend(check_outside(package, role));
    }
    for (user, banned) in UNREACHABLE {
        if let Some(path) = path_to(workspace, user, banned) {
            findings.push(Finding::new(user, &format!("reaches {banned}: {path}")));
        }
    }
    findings
}

/// One crate of ours using another.
struct Edge<'a> {
    user: &'a str,
    at: usize,
    role: Role,
    want: &'a Want,
    other_at: usize,
    other_role: Role,
}

impl Edge<'_> {
    fn check(&self) -> Option<Finding> {
        let (user, other) = (short(self.user), short(&self.want.name));
        let dev = self.want.kind == Kind::Dev;
        let what = if dev && other == "testbed" {
            if self.want.req == "*" {
                return None;
            }
            format!(
                "dev-depends on testbed with the version {}: give none",
                self.want.req
            )
        } else if self.other_at >= self.at {
            format!("uses {other}, which is not above it in the list of crates")
        } else if self.role == Role::Leaf && !COMMON.contains(&other) {
            format!(
                "is a leaf and uses the leaf {other}; leaves share only {}",
                COMMON.join(", ")
            )
        } else if matches!(user, "streams" | "slurm") && other == "wire" {
            "does not use wire: strangers use it without Forebay's types".to_owned()
        } else if self.role == Role::Root && self.other_role == Role::Root {
            format!("is a root and uses the root {other}")
        } else if self.role == Role::Tool && self.other_role != Role::Leaf {
            format!("uses {other}; the testbed uses leaves, and finds programs by their path")
        } else if self.role == Role::Task {
            format!("uses {other}; xtask compiles in seconds and knows no crate of ours")
        } else if other == "central" && !CENTRAL_USERS.contains(&user) {
            "uses central, which belongs to view-server and realtime".to_owned()
        } else {
            return None;
        };
        Some(Finding::new(self.user, &what))
    }
}

/// Rules on what others made.
fn check_outside(package: &Package, role: Role) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = short(&package.name);
    for want in package.wants.iter().filter(|want| want.kind != Kind::Dev) {
        if name == "wire" && !WIRE_NEEDS.contains(&want.name.as_str()) {
            let what = format!(
                "needs {}; wire has {}, nothing else",
                want.name,
                WIRE_NEEDS.join(", ")
            );
            findings.push(Finding::new(&package.name, &what));
        }
        if want.name == "warp" && name != "http" && role != Role::Root {
            findings.push(Finding::new(
                &package.name,
                "uses warp, which only http and roots do",
            ));
        }
    }
    findings
}

/// The way from one of ours to a package it must not reach in what is linked.
fn path_to(workspace: &Workspace, from: &str, to: &str) -> Option<String> {
    let start = workspace
        .packages
        .iter()
        .find(|(_, p)| p.ours && short(&p.name) == from)?
        .0;
    let mut seen = BTreeSet::from([start]);
    let mut ways = vec![vec![start]];
    while let Some(way) = ways.pop() {
        let package = workspace.packages.get(*way.last()?)?;
        if package.name == to {
            let names: Vec<_> = way
                .iter()
                .map(|id| workspace.packages[*id].name.as_str())
                .collect();
            return Some(names.join(" → "));
        }
        for (next, _) in package
            .uses
            .iter()
            .filter(|(_, kind)| *kind == Kind::Normal)
        {
            if seen.insert(next) {
                ways.push([way.as_slice(), &[next]].concat());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;

    /// A workspace of lines `user -> used [kind] [version]`; names with `*` are not ours.
    fn findings(lines: &[&str]) -> Vec<String> {
        let mut packages = BTreeMap::<String, Package>::new();
        let mut add = |name: &str| {
            let ours = !name.starts_with('*');
            let name = name.trim_start_matches('*').to_owned();
            let full = match name.as_str() {
                "cli" => "forebay".to_owned(),
                other if ours && other != "xtask" => format!("forebay-{other}"),
                other => other.to_owned(),
            };
            let package = Package {
                name: full.clone(),
                ours,
                ..Package::default()
            };
            packages.entry(full.clone()).or_insert(package);
            full
        };
        let mut edges = Vec::new();
        for line in lines {
            let mut words = line.split(' ');
            let user = add(words.next().unwrap());
            let Some(other) = words.nth(1) else { continue };
            let kind = match words.next() {
                Some("dev") => Kind::Dev,
                Some("build") => Kind::Build,
                _ => Kind::Normal,
            };
            edges.push((
                user,
                add(other),
                kind,
                words.next().unwrap_or("^0.1").to_owned(),
            ));
        }
        for (user, other, kind, req) in edges {
            let package = packages.get_mut(&user).unwrap();
            package.wants.push(Want {
                name: other.clone(),
                kind,
                req,
            });
            package.uses.push((other, kind));
        }
        let dir = PathBuf::new();
        let workspace = Workspace {
            root: dir.clone(),
            target_dir: dir,
            packages,
        };
        check(&workspace)
            .into_iter()
            .map(|f| format!("{} {}", f.place, f.what))
            .collect()
    }

    fn refused(line: &str, why: &str) {
        let found = findings(&[line]);
        assert!(
            found.len() == 1 && found[0].contains(why),
            "{line}: {found:?}"
        );
    }

    #[test]
    fn what_the_design_has_is_accepted() {
        let good = [
            "http -> wire",
            "http -> service",
            "http -> *warp",
            "central -> postgres",
            "view-server -> central",
            "view-server -> *warp",
            "agent -> slurm",
            "cli -> wire",
            "testbed -> postgres",
            "slurm -> testbed dev *",
            "wire -> *serde",
            "wire -> *insta dev",
            "launcher -> *rustix",
            "launcher -> *tokio dev",
            "xtask",
        ];
        assert_eq!(findings(&good), [""; 0]);
    }

    #[test]
    fn edges_against_the_order_or_between_the_wrong_crates_are_refused() {
        refused("streams -> http", "not above it");
        refused("service -> central dev", "not above it");
        refused("postgres -> slurm", "is a leaf");
        refused("streams -> wire", "without Forebay's types");
        refused("slurm -> wire", "without Forebay's types");
        refused("agent -> view-server", "is a root");
        refused("testbed -> agent", "finds programs by their path");
        refused("xtask -> wire", "compiles in seconds");
        refused("agent -> central", "belongs to view-server");
        refused("slurm -> testbed dev ^0.1", "give none");
        refused("agent -> testbed", "not above it");
        refused("utils", "not in the list");
    }

    #[test]
    fn others_crates_have_their_places_too() {
        refused("wire -> *tokio", "nothing else");
        refused("central -> *warp", "only http and roots");
    }

    #[test]
    fn what_must_not_be_reached_is_found_far_away() {
        let far = [
            "user-agent -> service",
            "service -> *x",
            "*x -> *tokio-postgres",
        ];
        assert_eq!(findings(&far).len(), 1);
        assert!(findings(&far)[0].ends_with("forebay-service → x → tokio-postgres"));
        refused("launcher -> *tokio", "reaches tokio");
        let built_only = ["user-agent -> *x build", "*x -> *tokio-postgres"];
        assert_eq!(
            findings(&built_only),
            [""; 0],
            "a build script is not linked"
        );
    }
}
