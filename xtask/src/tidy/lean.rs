//! What a program must not link although others of ours do: features are each
//! program's own, and `cargo metadata` tells of all of them at once.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::Finding;
use crate::workspace::cargo;

/// What runs as the user speaks to unix sockets alone.
const WITHOUT: [(&str, &str); 1] = [("forebay-user-agent", "rustls")];

pub(crate) fn check() -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (program, banned) in WITHOUT {
        let output = cargo()
            .args(["tree", "--package", program, "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo tree")?;
        if !output.status.success() {
            bail!("cargo tree of {program} failed");
        }
        let tree = String::from_utf8_lossy(&output.stdout);
        findings.extend(of(&tree, program, banned));
    }
    Ok(findings)
}

fn of(tree: &str, program: &str, banned: &str) -> Option<Finding> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let found = names.into_iter().any(|name| name == banned);
    found.then(|| Finding::new(program, &format!("links {banned} by a feature")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_found_by_its_whole_name() {
        let tree = "forebay-x v0.1.0 (/x)\ntokio-rustls v0.26.0\nrustls v0.23.0 (*)\n";
        assert!(of(tree, "forebay-x", "rustls").is_some());
        assert!(of(tree, "forebay-x", "tls").is_none());
    }
}
