//! The environment of what is run: explicit, never inherited.

use std::collections::BTreeMap;
use std::path::Path;

use forebay_wire::Problem;

use crate::account::Account;

/// The search path of what is run, unless the caller gives one.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
/// Kernels refuse a single variable of 128 KiB and more.
const VARIABLE_BYTES: usize = 128 * 1024 - 1;
/// And all of them together, with the arguments, of a quarter of the stack (2 MiB).
const TOTAL_BYTES: usize = 1024 * 1024;

/// The variables that everything gets.
pub fn base(account: &Account, slurm_conf: Option<&Path>) -> BTreeMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut all = BTreeMap::from([
        ("HOME".to_owned(), text(&account.home)),
        ("USER".to_owned(), account.name.clone()),
        ("LOGNAME".to_owned(), account.name.clone()),
        ("SHELL".to_owned(), text(&account.shell)),
        ("PATH".to_owned(), PATH.to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    if let Some(path) = slurm_conf {
        all.insert("SLURM_CONF".to_owned(), text(path));
    }
    all
}

/// Refuses what no process could be given: 422 with the variable's name.
pub fn check(given: &BTreeMap<String, String>) -> Result<(), Problem> {
    let mut total = 0;
    for (name, value) in given {
        let field = || format!("environment.{}", name.chars().take(60).collect::<String>());
        let mut letters = name.bytes();
        let first = letters
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first || !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Problem::invalid(
                field(),
                "A variable's name begins with a letter or _ and has only letters, digits and _.",
            ));
        }
        if value.contains('\0') {
            return Err(Problem::invalid(
                field(),
                "A variable's value cannot hold a NUL byte.",
            ));
        }
        let bytes = name.len() + value.len() + 2;
        total += bytes;
        if bytes > VARIABLE_BYTES {
            return Err(Problem::invalid(
                field(),
                "A variable may have 128 KiB at most.",
            ));
        }
    }
    if total > TOTAL_BYTES {
        return Err(Problem::invalid(
            "environment",
            "All variables together may have 1 MiB at most.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_inherited() {
        let account = Account {
            uid: 7,
            name: "ann".into(),
            home: "/home/ann".into(),
            shell: "/bin/sh".into(),
        };
        let all = base(&account, Some(Path::new("/etc/slurm/slurm.conf")));
        let names: Vec<_> = all.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "HOME",
                "LANG",
                "LOGNAME",
                "PATH",
                "SHELL",
                "SLURM_CONF",
                "USER"
            ]
        );
        assert_eq!(base(&account, None).len(), 6);
    }

    #[test]
    fn impossible_variables_are_named() {
        for (name, value) in [
            ("", "x"),
            ("1A", "x"),
            ("A=B", "x"),
            ("A B", "x"),
            ("A\n", "x"),
            ("A", "\0"),
        ] {
            let given = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let problem = check(&given).unwrap_err();
            assert_eq!(
                problem.details[0].field,
                format!("environment.{name}"),
                "{name:?}"
            );
        }
        let big = BTreeMap::from([("A".to_owned(), "x".repeat(VARIABLE_BYTES))]);
        assert!(check(&big).is_err());
        let many = (0..20)
            .map(|n| (format!("A{n}"), "x".repeat(100_000)))
            .collect();
        assert_eq!(check(&many).unwrap_err().details[0].field, "environment");
    }

    proptest! {
        /// What passes can really be given to a process, and arrives.
        #[test]
        fn what_passes_can_be_set(name in "[A-Za-z_0-9= -]{0,4}", value in "\\PC{0,20}|[\\x00-\\x7f]{0,5}") {
            let given = BTreeMap::from([(name.clone(), value.clone())]);
            if check(&given).is_ok() {
                let mut command = std::process::Command::new("/usr/bin/env");
                let output = command.env_clear().envs(&given).arg("-0").output().unwrap();
                prop_assert_eq!(output.stdout, format!("{name}={value}\0").into_bytes());
            }
        }
    }
}
