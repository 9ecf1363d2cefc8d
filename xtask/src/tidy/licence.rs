//! Rules over the licences of what we link.

use super::Finding;
use crate::workspace::Package;

/// What may be linked into programs under MIT OR Apache-2.0. `deny.toml` has the same list.
pub(crate) const ALLOWED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

pub(crate) fn check<'a>(packages: impl Iterator<Item = &'a Package>) -> Vec<Finding> {
    packages
        .filter(|package| !package.ours)
        .filter_map(|package| {
            let what = match &package.license {
                None => "states no licence".to_owned(),
                Some(licence) if !allowed(licence) => {
                    format!("has the licence `{licence}`, not on our list")
                }
                Some(_) => return None,
            };
            Some(Finding::new(
                &format!("{} {}", package.name, package.version),
                &what,
            ))
        })
        .collect()
}

/// Whether an SPDX expression can be met by licences on the list.
fn allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = any_of(&words, &mut at);
    result == Some(true) && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut result = all_of(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= all_of(words, at)?;
    }
    Some(result)
}

fn all_of(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut result = one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= one(words, at)?;
    }
    Some(result)
}

fn one(words: &[&str], at: &mut usize) -> Option<bool> {
    let word = *words.get(*at)?;
    *at += 1;
    if word == "(" {
        let inner = any_of(words, at)?;
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return closed.then_some(inner);
    }
    let mut name = word.to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{word} WITH {}", words.get(*at + 1)?);
        *at += 2;
    }
    Some(ALLOWED.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_what_spdx_says() {
        for good in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "Unlicense OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        ] {
            assert!(allowed(good), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR GPL-3.0) AND GPL-2.0",
            "MIT OR",
            "",
            "(MIT",
            "MIT MIT",
            "GPL-2.0 WITH Classpath-exception-2.0",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn ours_are_not_asked_and_a_missing_licence_is_refused() {
        let theirs = Package {
            name: "x".into(),
            ..Package::default()
        };
        let ours = Package {
            ours: true,
            ..theirs.clone()
        };
        let copyleft = Package {
            license: Some("AGPL-3.0".into()),
            ..theirs.clone()
        };
        assert_eq!(check([&theirs, &ours, &copyleft].into_iter()).len(), 2);
    }

    #[test]
    fn cargo_deny_has_the_same_list() {
        let path = crate::workspace::root().join("deny.toml");
        let deny = std::fs::read_to_string(path)
            .unwrap()
            .parse::<toml::Table>()
            .unwrap();
        let list = deny["licenses"]["allow"].as_array().unwrap();
        let list: Vec<_> = list.iter().filter_map(toml::Value::as_str).collect();
        assert_eq!(list, ALLOWED);
    }
}
