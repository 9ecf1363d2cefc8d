//! What tests could not have on this machine.
//!
//! A test that lacks a thing appends a line `{"test","thing","reason"}` to the
//! file that `FOREBAY_SKIPS` names, and returns.

use std::collections::BTreeMap;

use serde_json::Value;

use super::outcome::Failure;

/// Names the file.
pub(crate) const FILE: &str = "FOREBAY_SKIPS";

/// One test that went without one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Skip {
    pub(crate) thing: String,
    pub(crate) reason: String,
    pub(crate) test: String,
}

/// Reads the file's lines; each skip once. A line that cannot be read is
/// a skip too: it must not vanish.
pub(crate) fn parse(text: &str) -> Vec<Skip> {
    let mut skips: Vec<_> = (text.lines().filter(|line| !line.trim().is_empty()))
        .map(|line| {
            let json: Value = serde_json::from_str(line).unwrap_or_default();
            let field = |key: &str| json[key].as_str().unwrap_or("?").to_owned();
            Skip {
                thing: field("thing"),
                reason: field("reason"),
                test: field("test"),
            }
        })
        .collect();
    skips.sort();
    skips.dedup();
    skips
}

/// How many tests are among them that did not fail for it.
pub(crate) fn tests(skips: &[Skip], failures: &[Failure]) -> usize {
    let mut names: Vec<_> = skips.iter().map(|skip| skip.test.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    // A skip names the test with its crate, libtest without.
    let failed = |name: &str| {
        let without = name.split_once("::").map_or(name, |(_, rest)| rest);
        failures.iter().any(|failure| failure.test == without)
    };
    names.retain(|name| !failed(name));
    names.len()
}

/// One paragraph for each thing and reason, with the tests that missed it.
pub(crate) fn report(skips: &[Skip]) -> String {
    let mut groups: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for skip in skips {
        groups
            .entry((&skip.thing, &skip.reason))
            .or_default()
            .push(&skip.test);
    }
    let mut text = String::new();
    for ((thing, reason), tests) in groups {
        text.extend(["skipped for want of ", thing, " (", reason, "):\n"]);
        text.extend(tests.iter().flat_map(|test| ["  ", test, "\n"]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"test":"c::m::a","thing":"Slurm","reason":"no sbatch"}
{"test":"c::b","thing":"Slurm","reason":"no sbatch"}

{"test":"c::b","thing":"Slurm","reason":"no sbatch"}
{"test":"c::b","thing":"Envoy","reason":"no envoy"}
half a li"#;

    #[test]
    fn counts_each_test_once_and_groups_by_what_was_missing() {
        let skips = parse(TEXT);
        assert_eq!(skips.len(), 4);
        let failed = Failure {
            program: "p".into(),
            test: "m::a".into(),
        };
        assert_eq!(super::tests(&skips, &[]), 3, "a, b, and the unreadable one");
        assert_eq!(super::tests(&skips, &[failed]), 2);
        let report = report(&skips);
        assert!(
            report.contains("skipped for want of Slurm (no sbatch):\n  c::b\n  c::m::a\n"),
            "{report}"
        );
        assert!(report.contains("skipped for want of ? (?):"), "{report}");
    }

    #[test]
    fn nothing_skipped_says_nothing() {
        assert_eq!(report(&parse("")), "");
    }
}
