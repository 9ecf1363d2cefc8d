//! How `getopt_long` finds the option that a name means: an exact name wins, else a prefix that
//! only one option has.

use super::table::{OPTIONS, OptionSpec, Release};

/// What a name on the command line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// This option, in full or by a prefix that only it has. Where its argument changed between
    /// releases and no release was given, the more permissive row.
    Option(&'static OptionSpec),
    /// A prefix of several options.
    Ambiguous(Vec<&'static str>),
    /// Of none.
    Unknown,
}

/// Resolves a long name (without dashes and value) against one release, or against the union of
/// all.
pub fn resolve_long(name: &str, release: Option<Release>) -> Resolution {
    let in_release = |spec: &&OptionSpec| release.is_none_or(|release| spec.is_in(release));
    if let Some(spec) = permissive(
        OPTIONS
            .iter()
            .filter(in_release)
            .filter(|spec| spec.long == name),
    ) {
        return Resolution::Option(spec);
    }
    if name.is_empty() {
        return Resolution::Unknown;
    }
    let mut names: Vec<&'static str> = Vec::new();
    for spec in OPTIONS
        .iter()
        .filter(in_release)
        .filter(|spec| spec.long.starts_with(name))
    {
        if !names.contains(&spec.long) {
            names.push(spec.long);
        }
    }
    match names[..] {
        [] => Resolution::Unknown,
        [only] => resolve_long(only, release),
        _ => Resolution::Ambiguous(names),
    }
}

/// Resolves a letter against one release, or against the union of all.
pub fn resolve_short(letter: char, release: Option<Release>) -> Option<&'static OptionSpec> {
    permissive(
        OPTIONS
            .iter()
            .filter(|spec| spec.short == Some(letter))
            .filter(|spec| release.is_none_or(|release| spec.is_in(release))),
    )
}

/// Of an option's rows the one that may have an argument.
fn permissive(rows: impl Iterator<Item = &'static OptionSpec>) -> Option<&'static OptionSpec> {
    use super::table::Argument;
    let rows: Vec<_> = rows.collect();
    rows.iter()
        .find(|row| row.argument == Argument::Optional)
        .or_else(|| rows.last())
        .copied()
}

/// The known long name nearest to a misspelt one, when one is near enough to be worth naming.
pub fn nearest(name: &str) -> Option<&'static str> {
    let limit = 1 + name.chars().count() / 4;
    OPTIONS
        .iter()
        .map(|spec| (distance(name, spec.long), spec.long))
        .min()
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, long)| long)
}

/// Edit distance (Levenshtein), on names cut to 64 characters.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (line, wanted) in right.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for column in 0..left.len() {
            let substituted = diagonal + usize::from(left[column] != wanted);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[left.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Argument;

    fn long(name: &str) -> Option<&'static str> {
        match resolve_long(name, None) {
            Resolution::Option(spec) => Some(spec.long),
            _ => None,
        }
    }

    #[test]
    fn exact_names_win_over_prefixes() {
        assert_eq!(long("mem"), Some("mem"));
        assert_eq!(long("wait"), Some("wait"));
        assert_eq!(long("exclu"), None); // exclude, exclusive
        assert_eq!(long("exclus"), Some("exclusive"));
        assert_eq!(long("wr"), Some("wrap"));
        assert_eq!(long("ui"), Some("uid"));
        assert!(
            matches!(resolve_long("no", None), Resolution::Ambiguous(names) if names.contains(&"nodes"))
        );
        assert_eq!(resolve_long("zork", None), Resolution::Unknown);
        assert_eq!(resolve_long("", None), Resolution::Unknown);
    }

    #[test]
    fn every_row_resolves_to_itself() {
        for spec in OPTIONS {
            assert_eq!(long(spec.long), Some(spec.long));
            if let Some(letter) = spec.short {
                assert_eq!(
                    resolve_short(letter, None).map(|found| found.long),
                    Some(spec.long)
                );
            }
        }
        assert!(OPTIONS.is_sorted_by_key(|spec| spec.long));
    }

    #[test]
    fn releases_differ() {
        let old = Some(Release::new(22, 5));
        let new = Some(Release::new(26, 5));
        assert_eq!(resolve_long("resources", old), Resolution::Unknown);
        assert!(
            matches!(resolve_long("reso", new), Resolution::Option(spec) if spec.long == "resources")
        );
        assert!(
            matches!(resolve_long("res", old), Resolution::Option(spec) if spec.long == "reservation")
        );
        assert!(matches!(resolve_long("res", new), Resolution::Ambiguous(_)));
        let requeue = |release| match resolve_long("requeue", release) {
            Resolution::Option(spec) => spec.argument,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (requeue(old), requeue(new), requeue(None)),
            (Argument::None, Argument::Optional, Argument::Optional)
        );
        assert_eq!(Release::parse("slurm 24.11.5"), Some(Release::new(24, 11)));
        assert_eq!(Release::parse("22.05.8"), old);
        assert_eq!(Release::parse("devel"), None);
    }

    #[test]
    fn the_nearest_name_is_named() {
        assert_eq!(nearest("patition"), Some("partition"));
        assert_eq!(nearest("cpu-per-task"), Some("cpus-per-task"));
        assert_eq!(nearest("zork"), None);
    }
}
