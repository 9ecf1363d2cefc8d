//! What a machine cannot give, said by the test that needs it.
//!
//! A test begins with `need!(Slurm)`. Where Slurm cannot be had the test returns, and the skip is
//! recorded: on standard error, even though the test harness captures output of tests that pass,
//! and as a JSON line `{test, thing, reason}` appended to the file named by `FOREBAY_SKIPS`. With
//! `FOREBAY_REQUIRE=all` it fails the test instead, unless `allowed-skips.toml` lists it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::packages::{self, Server};
use crate::programs;

/// Something a test may need and a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Thing {
    /// Running as root: test accounts, Slurm.
    Root,
    /// Postgres' programs.
    Postgres,
    /// Postgres' programs, and those of a newer major version.
    OtherPostgres,
    /// munged and its client.
    Munge,
    /// slurmctld, slurmd and the clients, munge, root.
    Slurm,
    /// Slurm with slurmdbd and `MariaDB`.
    SlurmAccounting,
    /// Slurm with slurmrestd and JWT.
    SlurmRest,
    /// The library that shows a program another time.
    Faketime,
    /// Node and npm, which build the page.
    Node,
    /// A browser.
    Chromium,
    /// The built page: `cargo xtask ui`.
    Page,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Returns from the test, recording the skip, unless the machine has every thing named.
///
/// ```
/// fn runs_a_job() {
///     forebay_testbed::need!(Slurm, SlurmRest);
///     // …
/// }
/// ```
#[macro_export]
macro_rules! need {
    ($($thing:ident),+ $(,)?) => {{
        fn here() {}
        let test = $crate::need::test_name(::std::any::type_name_of_val(&here));
        $(
            if !$crate::need::is_there($crate::need::Thing::$thing, &test) {
                return;
            }
        )+
    }};
}

/// Why this machine does not have a thing; `None` if it has it.
pub fn missing(thing: Thing) -> Option<String> {
    let root = || {
        let is_root = rustix::process::geteuid().is_root();
        (!is_root).then(|| "not running as root".to_owned())
    };
    let servers: &[Server] = match thing {
        Thing::Root => return root(),
        Thing::Postgres => &[Server::Postgres],
        Thing::OtherPostgres => match packages::other_postgres::missing() {
            Some(reason) => return Some(reason),
            None => &[Server::Postgres],
        },
        Thing::Munge => &[Server::Munge],
        Thing::Slurm => &[Server::Slurm],
        Thing::SlurmAccounting => &[Server::Slurm, Server::SlurmAccounting],
        Thing::SlurmRest => &[Server::Slurm, Server::SlurmRest],
        Thing::Faketime => &[Server::Faketime],
        Thing::Node => &[Server::Node],
        Thing::Chromium => &[Server::Chromium],
        Thing::Page => return programs::page().is_none().then(no_page),
    };
    if servers.contains(&Server::Slurm)
        && let Some(reason) = root()
    {
        return Some(reason);
    }
    let missing = packages::missing(servers);
    (!missing.is_empty()).then(|| packages::sentence(&missing))
}

fn no_page() -> String {
    "the page is not built; build it with: cargo xtask ui".to_owned()
}

/// Whether the thing is there; records the skip if not, or panics where skips are failures. Used
/// by [`need!`].
pub fn is_there(thing: Thing, test: &str) -> bool {
    let Some(reason) = missing(thing) else {
        return true;
    };
    let skip = Skip {
        test: test.to_owned(),
        thing,
        reason,
    };
    let required = std::env::var_os("FOREBAY_REQUIRE").is_some_and(|value| value == "all");
    let list = allowed();
    let verdict = judge(&skip, required, &list);
    let allowed = verdict.as_ref().ok().copied().flatten();
    let note = allowed.map_or_else(String::new, |reason| format!(" (allowed: {reason})"));
    // The harness captures only what print macros write.
    let _ = writeln!(
        io::stderr(),
        "SKIPPED {}: {}: {}{note}",
        skip.test,
        skip.thing,
        skip.reason
    );
    if let Some(path) = std::env::var_os("FOREBAY_SKIPS")
        && let Err(error) = append(Path::new(&path), &skip)
    {
        panic!("a skip cannot be recorded in {}: {error}", path.display());
    }
    if let Err(complaint) = verdict {
        panic!("{complaint}");
    }
    false
}

/// The test's path from the type name of a function inside it.
pub fn test_name(inner: &str) -> String {
    let outer = inner.strip_suffix("::here").unwrap_or(inner);
    outer.replace("::{{closure}}", "")
}

/// One line of the file `FOREBAY_SKIPS` names.
#[derive(Debug, Serialize, Deserialize)]
pub struct Skip {
    /// The test's path, as `crate::module::test`.
    pub test: String,
    /// What it needed.
    pub thing: Thing,
    /// Why that is not there.
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    allow: Vec<Allow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    thing: Thing,
    test: String,
    reason: String,
}

fn allowed() -> Allowed {
    let text = include_str!("../allowed-skips.toml");
    toml::from_str(text).expect("allowed-skips.toml is part of this crate and has a test")
}

/// The reason in the committed list, if it is there; `Err` with what to say when this skip is a
/// failure.
fn judge<'a>(skip: &Skip, required: bool, allowed: &'a Allowed) -> Result<Option<&'a str>, String> {
    let is_listed =
        |allow: &&Allow| allow.thing == skip.thing && skip.test.starts_with(&allow.test);
    let listed = allowed
        .allow
        .iter()
        .find(is_listed)
        .map(|allow| allow.reason.as_str());
    if !required || listed.is_some() {
        return Ok(listed);
    }
    Err(format!(
        "{} is required (FOREBAY_REQUIRE=all) but not there: {}",
        skip.thing, skip.reason
    ))
}

fn append(path: &Path, skip: &Skip) -> io::Result<()> {
    let mut line = serde_json::to_vec(skip)?;
    line.push(b'\n');
    // One write of one line to an appending file: test processes do not mix their lines.
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)?
        .write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip() -> Skip {
        Skip {
            test: "a::b::c".into(),
            thing: Thing::Slurm,
            reason: "none".into(),
        }
    }

    #[test]
    fn the_committed_list_is_readable_and_has_reasons() {
        assert!(
            allowed()
                .allow
                .iter()
                .all(|allow| !allow.reason.trim().is_empty())
        );
    }

    #[test]
    fn a_skip_fails_only_where_required_and_not_listed() {
        let list = |text| toml::from_str::<Allowed>(text).unwrap();
        let none = list("allow = []");
        assert_eq!(judge(&skip(), false, &none), Ok(None));
        assert!(
            judge(&skip(), true, &none)
                .unwrap_err()
                .contains("Slurm is required")
        );
        let this = list("[[allow]]\nthing='Slurm'\ntest='a::b'\nreason='x'");
        assert_eq!(judge(&skip(), true, &this), Ok(Some("x")));
        let other = list("[[allow]]\nthing='Slurm'\ntest='b'\nreason='x'");
        assert!(judge(&skip(), true, &other).is_err());
        let thing = list("[[allow]]\nthing='Postgres'\ntest=''\nreason='x'");
        assert!(judge(&skip(), true, &thing).is_err());
    }

    #[test]
    fn names_are_those_of_the_test() {
        fn here() {}
        let name = test_name(std::any::type_name_of_val(&here));
        assert_eq!(
            name,
            "forebay_testbed::need::tests::names_are_those_of_the_test"
        );
        assert_eq!(test_name("a::b::{{closure}}::here"), "a::b");
    }

    #[test]
    fn a_line_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skips");
        append(&path, &skip()).unwrap();
        append(&path, &skip()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert_eq!(
            serde_json::from_str::<Skip>(text.lines().next().unwrap())
                .unwrap()
                .thing,
            Thing::Slurm
        );
        assert!(text.starts_with(r#"{"test":"a::b::c","thing":"Slurm","reason":"none"}"#));
    }
}
