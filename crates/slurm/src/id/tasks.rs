//! The set of array tasks in `123_[1-3,7%2]`.

use std::fmt;
use std::str::FromStr;

/// Ranges of array tasks, with the limit on how many run at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskSet {
    ranges: Vec<TaskRange>,
    cut: bool,
    limit: Option<u64>,
}

/// The tasks `first`, `first + step`, … up to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskRange {
    /// The first task.
    pub first: u64,
    /// No task is above this.
    pub last: u64,
    /// The distance between two tasks, at least 1.
    pub step: u64,
}

/// The text is not a list of array tasks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of array tasks such as `1-3,7%2`")]
pub struct ParseTasksError;

impl TaskSet {
    /// The ranges, in the order printed.
    pub fn ranges(&self) -> &[TaskRange] {
        &self.ranges
    }

    /// Whether the tool cut the list (`...`), so that there are more tasks than listed.
    /// `SLURM_BITSTR_LEN=0` keeps Slurm's tools from cutting.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// How many tasks may run at once.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Whether the task is listed.
    pub fn contains(&self, task: u64) -> bool {
        self.ranges.iter().any(|range| {
            (range.first..=range.last).contains(&task)
                && (task - range.first).is_multiple_of(range.step)
        })
    }

    /// How many tasks are listed, a task listed twice counted twice.
    pub fn count(&self) -> u64 {
        self.ranges
            .iter()
            .map(|range| ((range.last - range.first) / range.step).saturating_add(1))
            .fold(0, u64::saturating_add)
    }

    /// The tasks listed. The caller bounds it: a set may name 2^64 tasks.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|range| {
            let step = usize::try_from(range.step).unwrap_or(usize::MAX);
            (range.first..=range.last).step_by(step)
        })
    }
}

impl FromStr for TaskSet {
    type Err = ParseTasksError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (list, limit) = match text.split_once('%') {
            Some((list, limit)) => (list, Some(number(limit)?)),
            None => (text, None),
        };
        let (list, cut) = match list.strip_suffix("...") {
            Some(list) => (list.strip_suffix(',').unwrap_or(list), true),
            None => (list, false),
        };
        let mut ranges = Vec::new();
        if !(cut && list.is_empty()) {
            for part in list.split(',') {
                ranges.push(range(part)?);
            }
        }
        Ok(Self { ranges, cut, limit })
    }
}

fn number(text: &str) -> Result<u64, ParseTasksError> {
    super::digits_only(text).ok_or(ParseTasksError)
}

fn range(text: &str) -> Result<TaskRange, ParseTasksError> {
    let (span, step) = match text.split_once(':') {
        Some((span, step)) => (span, number(step)?),
        None => (text, 1),
    };
    let (first, last) = match span.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(span)?, number(span)?),
    };
    if first > last || step == 0 {
        return Err(ParseTasksError);
    }
    Ok(TaskRange { first, last, step })
}

impl fmt::Display for TaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.ranges.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", range.first)?;
            if range.last != range.first {
                write!(f, "-{}", range.last)?;
            }
            if range.step != 1 {
                write!(f, ":{}", range.step)?;
            }
        }
        if self.cut {
            f.write_str(if self.ranges.is_empty() {
                "..."
            } else {
                ",..."
            })?;
        }
        match self.limit {
            Some(limit) => write!(f, "%{limit}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_and_count() {
        let set: TaskSet = "0-6:3,9,20-21%4".parse().unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 6, 9, 20, 21]);
        assert_eq!(
            (set.count(), set.limit(), set.is_cut()),
            (6, Some(4), false)
        );
        assert!(set.contains(6) && !set.contains(5) && set.contains(21));
        let huge: TaskSet = "0-18446744073709551615".parse().unwrap();
        assert!(huge.contains(u64::MAX));
        assert_eq!(huge.count(), u64::MAX);
    }

    #[test]
    fn a_cut_list_says_so() {
        let set: TaskSet = "1,3,...".parse().unwrap();
        assert!(set.is_cut() && set.contains(3) && !set.contains(5));
        assert_eq!(set.to_string(), "1,3,...");
        assert_eq!("...".parse::<TaskSet>().unwrap().to_string(), "...");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", ",", "1,", "3-1", "1-", "-1", "1:0", "1%", "a", "1-2-3"] {
            assert!(text.parse::<TaskSet>().is_err(), "{text:?}");
        }
    }
}
