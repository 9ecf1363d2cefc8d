//! Rules over text files: nothing in them is about one machine, and the tests
//! that docs/SECURITY.md names are there.

use std::collections::BTreeMap;

use super::Finding;

/// The document that names a test for what it claims.
const SECURITY: &str = "docs/SECURITY.md";

/// Whose homes examples may name: nobody's.
const EXAMPLES: [&str; 15] = [
    "ada", "alice", "ann", "anna", "bob", "carol", "dave", "eve", "grace", "jane", "me", "someone",
    "u", "user", "you",
];

pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    (1..)
        .zip(text.lines())
        .filter_map(|(at, line)| {
            let home = home_in(line)?;
            let what = format!("names `{home}`, a place on one machine");
            Some(Finding {
                place: format!("{path}:{at}"),
                what,
            })
        })
        .collect()
}

/// A test that was renamed or removed no longer shows what the document says.
pub(crate) fn check_security(files: &BTreeMap<String, String>) -> Vec<Finding> {
    let text = files.get(SECURITY).map_or("", String::as_str);
    let exists = |test: &str| {
        let head = format!("fn {test}(");
        files
            .iter()
            .any(|(path, text)| super::has_extension(path, "rs") && text.contains(&head))
    };
    let missing = |(at, line): (usize, &str)| -> Vec<Finding> {
        // The last column, between the backticks.
        let shown = line
            .trim_end()
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        (shown.split('`').skip(1).step_by(2))
            .filter(|test| !exists(test))
            .map(|test| Finding {
                place: format!("{SECURITY}:{at}"),
                what: format!("names the test `{test}`, which is not there"),
            })
            .collect()
    };
    (1..)
        .zip(text.lines())
        .filter(|(_, line)| line.starts_with('|'))
        .flat_map(missing)
        .collect()
}

fn home_in(line: &str) -> Option<String> {
    for begin in ["/home/", "/Users/", "/root/"] {
        for (at, _) in line.match_indices(begin) {
            // `~/root/x` or `a/home/b` is not from the root of the file system.
            if line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~}$>*".contains(c)) {
                continue;
            }
            let tail = &line[at + begin.len()..];
            let end = tail
                .find(|c: char| !(c.is_alphanumeric() || "._-".contains(c)))
                .unwrap_or(tail.len());
            let name = &tail[..end];
            let example =
                begin == "/home/" && (EXAMPLES.contains(&name) || name.starts_with("fbtest"));
            if !name.is_empty() && !example {
                return Some(format!("{begin}{name}"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_of_one_machine_are_found() {
        let tail = "project";
        for home in ["/home/", "/root/", "/Users/"] {
            let text = format!("fine\nsee {home}{tail}/x\n");
            assert_eq!(check("a.md", &text)[0].place, "a.md:2", "{home}");
        }
    }

    #[test]
    fn examples_and_other_paths_are_not() {
        for line in [
            "/home/alice/x",
            "/home/fbtest1",
            "$dir/root/x",
            "/home/<user>/x",
            "~/home/x/y",
        ] {
            assert!(check("a.md", line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_test_that_security_names_must_exist() {
        let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let table =
            "| door `x` | shown by |\n|---|---|\n| API | `a_is_b`, `gone` |\n| later | comes |";
        let files = BTreeMap::from([
            file(SECURITY, table),
            file("crates/a/tests/t.rs", "fn a_is_b() {}"),
            file("docs/other.md", "fn gone() {}"),
        ]);
        let found = check_security(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].place.ends_with(":3") && found[0].what.contains("`gone`"));
    }
}
