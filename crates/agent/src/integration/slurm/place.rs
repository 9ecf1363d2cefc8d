//! Where an array's output is: Slurm's file name patterns, as far as they can
//! be told without asking.

use std::fmt::Write;

/// The file of a pattern, for a job or one task of an array. `None` where the
/// pattern holds what only the running job knows.
pub(super) fn expand(pattern: &str, id: &str, task: Option<u32>) -> Option<String> {
    let mut path = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        if letter != '%' {
            path.push(letter);
            continue;
        }
        let mut width = String::new();
        while let Some(digit) = rest.next_if(char::is_ascii_digit) {
            width.push(digit);
        }
        // Slurm pads to ten digits at most.
        let width = width.parse::<usize>().unwrap_or(0).min(10);
        match (rest.next()?, task) {
            ('%', _) => path.push('%'),
            ('A', _) | ('j', None) => write!(path, "{id:0>width$}").ok()?,
            ('a', Some(task)) => write!(path, "{task:0>width$}").ok()?,
            _ => return None,
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_paths() {
        let path = |pattern, task| expand(pattern, "12", task);
        assert_eq!(path("/o/%A_%a", Some(3)).as_deref(), Some("/o/12_3"));
        assert_eq!(path("/o/%4a.txt", Some(3)).as_deref(), Some("/o/0003.txt"));
        assert_eq!(path("/o/100%%", None).as_deref(), Some("/o/100%"));
        assert_eq!(
            path("/o/slurm-%j.out", None).as_deref(),
            Some("/o/slurm-12.out")
        );
        // A task's own number, or its node, is not known here.
        assert_eq!(path("/o/%j", Some(3)), None);
        assert_eq!(path("/o/%N", None), None);
        assert_eq!(path("/o/%", None), None);
        // A task's index where there is no task.
        assert_eq!(path("/o/%a", None), None);
    }
}
