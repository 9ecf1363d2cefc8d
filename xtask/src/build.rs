//! Builds through cargo, and what came out of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::workspace::cargo;

/// Environment for cargo, and later for the test programs.
pub(crate) type Env = Vec<(String, OsString)>;

/// The programs of a build.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Built {
    /// Our programs by name.
    pub(crate) programs: BTreeMap<String, PathBuf>,
    /// Test programs, in the order in which cargo ended them.
    pub(crate) tests: Vec<TestProgram>,
}

/// A compiled set of tests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TestProgram {
    /// Cargo's id of its package.
    pub(crate) package: String,
    /// `lib`, `bin` or `test`.
    pub(crate) kind: String,
    pub(crate) target: String,
    pub(crate) path: PathBuf,
}

impl Built {
    /// The directory that all our programs lie in.
    pub(crate) fn dir(&self) -> Result<PathBuf> {
        let program = self
            .programs
            .values()
            .next()
            .context("no program was built")?;
        Ok(program
            .parent()
            .context("a program lies in no directory")?
            .to_owned())
    }

    /// Where `forebay-testbed` is.
    pub(crate) fn testbed(&self) -> Result<&PathBuf> {
        self.programs
            .get("forebay-testbed")
            .context("this checkout has no forebay-testbed program")
    }
}

/// Runs `cargo build ARGS`; cargo's own progress goes to stderr.
pub(crate) fn build(args: &[&str], env: &Env) -> Result<Built> {
    let mut child = cargo()
        .arg("build")
        .args(args)
        .arg("--message-format=json-render-diagnostics")
        .envs(env.iter().map(|(key, value)| (key, value)))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let mut built = Built::default();
    let stdout = child.stdout.take().context("cargo's output")?;
    for line in BufReader::new(stdout).lines() {
        built.note(&line.context("cannot read cargo's messages")?);
    }
    if !child.wait()?.success() {
        bail!("`cargo build {}` failed", args.join(" "));
    }
    Ok(built)
}

impl Built {
    /// Takes in one message of cargo; what is none of our business is passed over.
    fn note(&mut self, line: &str) {
        let Ok(message) = serde_json::from_str::<Value>(line) else {
            return;
        };
        let Some(path) = message["executable"].as_str() else {
            return;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (target, kind) = (
            text(&message["target"]["name"]),
            &message["target"]["kind"][0],
        );
        if message["profile"]["test"] == true {
            self.tests.push(TestProgram {
                package: text(&message["package_id"]),
                kind: text(kind),
                target,
                path: path.into(),
            });
        } else if kind == "bin" {
            self.programs.insert(target, path.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_programs_from_tests_and_the_rest() {
        let mut built = Built::default();
        for (kind, name, test, executable) in [
            ("lib", "wire", false, Value::Null),
            ("lib", "wire", true, "/t/debug/deps/wire-1".into()),
            (
                "bin",
                "forebay-agent",
                false,
                "/t/debug/forebay-agent".into(),
            ),
            (
                "example",
                "follow",
                false,
                "/t/debug/examples/follow".into(),
            ),
        ] {
            let message = serde_json::json!({
                "reason": "compiler-artifact", "package_id": "p", "executable": executable,
                "target": {"kind": [kind], "name": name}, "profile": {"test": test}});
            built.note(&message.to_string());
        }
        built.note("not json");
        built.note(r#"{"reason":"build-finished","success":true}"#);
        assert_eq!(built.programs.keys().collect::<Vec<_>>(), ["forebay-agent"]);
        assert_eq!(built.dir().unwrap(), PathBuf::from("/t/debug"));
        assert_eq!(built.tests.len(), 1);
        assert_eq!(built.tests[0].kind, "lib");
    }
}
