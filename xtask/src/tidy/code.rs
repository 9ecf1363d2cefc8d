//! Rules over what the code says.

use super::Finding;
use super::source::Source;

/// Where a thing may be said outside tests, and why only there.
struct Place {
    what: &'static str,
    words: &'static [&'static str],
    /// Beginnings of paths.
    only: &'static [&'static str],
    /// Single files elsewhere, each with its reason beside it.
    except: &'static [&'static str],
    instead: &'static str,
}

impl Place {
    fn allows(&self, path: &str) -> bool {
        begins(path, self.only) || self.except.contains(&path)
    }
}

const IN_CODE: [Place; 2] = [
    Place {
        what: "tasks are spawned only in crates/service",
        words: &[
            "tokio::spawn(",
            "tokio::spawn;",
            "task::spawn(",
            "task::spawn_local(",
        ],
        only: &["crates/service/"],
        except: &[],
        instead: "use forebay_service's supervised tasks, a JoinSet, or join the futures",
    },
    Place {
        what: "processes are started only in some crates",
        words: &[
            "Command::new",
            "process::Command",
            "execve(",
            "execvp(",
            "fork(",
        ],
        only: &[
            "crates/connect/",
            "crates/postgres/",
            "crates/recipe/",
            "crates/slurm/",
            "crates/supervise/",
            "crates/launcher/",
            "crates/user-agent/",
            "crates/agent/",
            "crates/testbed/",
            "xtask/",
        ],
        except: &[
            // `forebay db psql` becomes psql: an exec, and no child.
            "crates/cli/src/commands/db.rs",
        ],
        instead: "see docs/ARCHITECTURE.md, deliberate absences",
    },
];

/// The testbed makes databases for tests; this file names the words it looks for.
const SQL_ONLY: [&str; 5] = [
    "crates/central/",
    "crates/agent/src/store/",
    "crates/postgres/",
    "crates/testbed/",
    "xtask/src/tidy/",
];

/// Beginnings of SQL, and what must follow in the same string.
const SQL: [(&str, &str); 9] = [
    ("SELECT ", ""),
    ("INSERT INTO ", ""),
    ("UPDATE ", " SET "),
    ("DELETE FROM ", ""),
    ("CREATE TABLE ", ""),
    ("CREATE DATABASE ", ""),
    ("ALTER TABLE ", ""),
    ("DROP TABLE ", ""),
    ("TRUNCATE ", ""),
];

/// Said nowhere, not even in tests.
const NEVER: [(&str, &str); 4] = [
    (
        "#[ignore",
        "a test that does not run hides: use need!() or remove it",
    ),
    ("todo!(", "unfinished code does not go in"),
    ("unimplemented!(", "unfinished code does not go in"),
    ("dbg!(", "left over from debugging"),
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in IN_CODE.iter().filter(|place| !place.allows(&source.path)) {
        let mut lines: Vec<_> = place
            .words
            .iter()
            .flat_map(|word| source.lines_with(word))
            .collect();
        lines.sort_unstable();
        lines.dedup();
        for line in lines {
            findings.push(at(
                source,
                line,
                format!("{}: {}", place.what, place.instead),
            ));
        }
    }
    if !begins(&source.path, &SQL_ONLY) {
        for (line, said) in &source.strings {
            if !source.is_test(*line) && is_sql(said) {
                let what = "SQL only in central/, agent/src/store/ and postgres/";
                findings.push(at(source, *line, what.to_owned()));
            }
        }
    }
    for (word, why) in NEVER {
        for (line, _) in (1..)
            .zip(source.code.lines())
            .filter(|(_, code)| code.contains(word))
        {
            findings.push(at(source, line, format!("`{word}`: {why}")));
        }
    }
    findings.extend(header(source));
    findings
}

/// A `.sql` file outside the places where SQL may be.
pub(crate) fn check_sql_file(path: &str) -> Option<Finding> {
    let misplaced = super::has_extension(path, "sql") && !begins(path, &SQL_ONLY);
    misplaced.then(|| Finding::new(path, "SQL only in central/, agent/src/store/ and postgres/"))
}

/// Every module begins by saying what it is.
fn header(source: &Source) -> Option<Finding> {
    let mut lines = source.text.lines().map(str::trim);
    let first = lines
        .find(|line| {
            let other = line.starts_with("#![") && !line.starts_with("#![doc = include_str!(");
            !line.is_empty() && !other
        })
        .unwrap_or_default();
    // A crate may begin with its README, which says what it is.
    let said = first.starts_with("//!") || first.starts_with("#![doc");
    (!said).then(|| {
        Finding::new(
            &source.path,
            "begins without a `//!` line that says what it is",
        )
    })
}

fn is_sql(said: &str) -> bool {
    // In words: a keyword inside of another is none.
    SQL.iter().any(|(begin, then)| {
        said.match_indices(begin).any(|(at, _)| {
            !said[..at].ends_with(char::is_alphanumeric)
                && (then.is_empty() || said[at..].contains(then))
        })
    })
}

fn begins(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

fn at(source: &Source, line: usize, what: String) -> Finding {
    Finding {
        place: format!("{}:{line}", source.path),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a file with a header and this line.
    fn found(path: &str, line: &str) -> Vec<String> {
        let source = Source::new(path, &format!("//! x\n{line}\n"));
        check(&source)
            .into_iter()
            .map(|finding| format!("{} {}", finding.place, finding.what))
            .collect()
    }

    #[test]
    fn tasks_are_spawned_in_service_alone() {
        let line = "fn f() { tokio::spawn(async {}); }";
        assert!(found("crates/http/src/a.rs", line)[0].starts_with("crates/http/src/a.rs:2 tasks"));
        assert_eq!(found("crates/service/src/a.rs", line), [""; 0]);
        assert_eq!(found("crates/http/tests/a.rs", line), [""; 0]);
        assert_eq!(
            found("crates/http/src/a.rs", "// tokio::spawn()\nset.spawn(x)"),
            [""; 0]
        );
    }

    #[test]
    fn processes_are_started_in_few_crates() {
        let line = "fn f() { tokio::process::Command::new(\"ls\"); }";
        assert_eq!(found("crates/view-server/src/a.rs", line).len(), 1);
        assert_eq!(
            found("crates/view-server/src/a.rs", "use std::process::Command;").len(),
            1
        );
        assert_eq!(found("crates/slurm/src/runner.rs", line), [""; 0]);
        assert_eq!(found("crates/cli/src/commands/db.rs", line), [""; 0]);
        assert_eq!(found("crates/cli/src/commands/jobs.rs", line).len(), 1);
        assert_eq!(
            found("crates/view-server/src/a.rs", "std::process::exit(1)"),
            [""; 0]
        );
    }

    #[test]
    fn sql_stays_in_the_stores() {
        let line = "fn f() { run(\"SELECT 1\"); }";
        assert_eq!(found("crates/view-server/src/a.rs", line).len(), 1);
        assert_eq!(found("crates/agent/src/link.rs", line).len(), 1);
        assert_eq!(found("crates/agent/src/store/jobs.rs", line), [""; 0]);
        assert_eq!(found("crates/central/src/jobs.rs", line), [""; 0]);
        assert_eq!(
            found("crates/http/src/a.rs", "f(\"UPDATE the page\")"),
            [""; 0]
        );
        assert_eq!(
            found("crates/http/src/a.rs", "f(\"UPDATE t SET a=1\")").len(),
            1
        );
        assert_eq!(
            found("crates/http/src/a.rs", "f(\"PRESELECT it\")"),
            [""; 0]
        );
        assert!(check_sql_file("crates/http/src/a.sql").is_some());
        assert!(check_sql_file("crates/central/migrations/V1__a.sql").is_none());
    }

    #[test]
    fn hidden_tests_and_leftovers_are_refused_also_in_tests() {
        for line in [
            "#[ignore = \"x\"]",
            "todo!()",
            "dbg!(1)",
            "unimplemented!()",
        ] {
            assert_eq!(found("crates/http/tests/a.rs", line).len(), 1, "{line}");
        }
        assert_eq!(
            found("crates/http/tests/a.rs", "// todo!() is refused"),
            [""; 0]
        );
    }

    #[test]
    fn a_module_begins_with_what_it_is() {
        let headless = |text| header(&Source::new("crates/http/src/a.rs", text)).is_some();
        assert!(headless("use std::io;\n//! late") && headless("") && headless("/// an item\n"));
        assert!(!headless("#![forbid(unsafe_code)]\n\n//! A module.\n"));
        assert!(!headless(
            "#![doc = include_str!(\"../README.md\")]\nmod a;\n"
        ));
        assert!(headless("#![allow(missing_docs)]\nmod a;\n"));
    }
}
