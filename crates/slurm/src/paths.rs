//! Where a job's output goes: `sbatch`'s file name patterns, filled in.

/// What is known of a job.
pub(crate) struct PathContext<'a> {
    /// The controller's number for it.
    pub(crate) job_id: u64,
    /// Its array and task, when it is of an array; no task for those that wait.
    pub(crate) array: Option<(u64, Option<u64>)>,
    /// The owner's name.
    pub(crate) user: &'a str,
    /// The job's name.
    pub(crate) name: &'a str,
    /// Its working directory, before which a relative path stands.
    pub(crate) work_dir: &'a str,
}

/// Fills in what is known (`%A %a %j %u %x %b %%`, with a width as in `%5j`) and leaves the rest
/// (`%N`, `%n`, `%t`, `%s`, and `%a` of tasks that wait). A backslash turns filling in off.
pub(crate) fn expand(pattern: &str, context: &PathContext<'_>) -> String {
    let path = if pattern.contains('\\') {
        unescape(pattern)
    } else {
        fill(pattern, context)
    };
    if path.starts_with('/') || context.work_dir.is_empty() {
        path
    } else {
        format!("{}/{path}", context.work_dir)
    }
}

/// With a backslash anywhere, a path is taken as it is, but for the backslashes.
fn unescape(pattern: &str) -> String {
    let mut path = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            path.extend(characters.next());
        } else {
            path.push(character);
        }
    }
    path
}

fn fill(pattern: &str, context: &PathContext<'_>) -> String {
    let mut path = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(percent) = rest.find('%') {
        path.push_str(&rest[..percent]);
        let after = &rest[percent + 1..];
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let width = after[..digits].parse::<usize>().unwrap_or(0).min(10);
        let Some(letter) = after[digits..].chars().next() else {
            rest = &rest[percent..];
            break;
        };
        let number = |number: u64| format!("{number:0width$}");
        let (array, task) = context.array.unwrap_or((context.job_id, Some(NO_TASK)));
        let filled = match letter {
            'A' => Some(number(array)),
            'a' => task.map(number),
            'b' => task.map(|task| number(task % 10)),
            'j' | 'J' => Some(number(context.job_id)),
            'u' => Some(context.user.to_owned()),
            'x' => Some(context.name.to_owned()),
            '%' if digits == 0 => Some("%".to_owned()),
            _ => None,
        };
        let length = 1 + digits + letter.len_utf8();
        match filled {
            Some(filled) => path.push_str(&filled),
            None => path.push_str(&rest[percent..percent + length]),
        }
        rest = &rest[percent + length..];
    }
    path.push_str(rest);
    path
}

/// What Slurm itself prints for `%a` of a job that is of no array.
const NO_TASK: u64 = 4_294_967_294;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn context(array: Option<(u64, Option<u64>)>) -> PathContext<'static> {
        PathContext {
            job_id: 49,
            array,
            user: "alice",
            name: "x y",
            work_dir: "/home/alice",
        }
    }

    #[test]
    fn patterns_are_filled_in() {
        let task = context(Some((47, Some(13))));
        assert_eq!(
            expand("o-%A_%a-%x-%u-%%-%5j-%3a.txt", &task),
            "/home/alice/o-47_13-x y-alice-%-00049-013.txt"
        );
        assert_eq!(expand("/a/%N/%n/%t/%s/%q%", &task), "/a/%N/%n/%t/%s/%q%");
        assert_eq!(expand("/a\\%j\\\\-%j", &task), "/a%j\\-%j");
        assert_eq!(expand("%b", &task), "/home/alice/3");
        let waiting = context(Some((47, None)));
        assert_eq!(expand("/slurm-%A_%a.out", &waiting), "/slurm-47_%a.out");
        assert_eq!(expand("/%A-%j", &context(None)), "/49-49");
    }

    proptest! {
        #[test]
        fn any_pattern_is_filled_in(pattern in "[%a-z0-9\\\\/é]{0,30}") {
            let _ = expand(&pattern, &context(None));
        }
    }
}
