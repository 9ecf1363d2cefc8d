//! Job ids in every form that Slurm's tools print and take.

mod tasks;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use tasks::{TaskRange, TaskSet};

/// A job, one of its array tasks, one component of a heterogeneous job, or a step of these.
///
/// | text | meaning |
/// |---|---|
/// | `123` | a job, or a whole array |
/// | `123_4` | task 4 of array 123 |
/// | `123_[1-3,7%2]` | the tasks of array 123 that still wait |
/// | `123+1` | component 1 of heterogeneous job 123 |
/// | `123.batch`, `123_4.extern`, `123.0` | a step |
///
/// Numbers are 64 bits wide. What is read is printed back unchanged, but for leading zeros.
///
/// ```
/// use forebay_slurm::JobId;
///
/// let id: JobId = "123_[1-3,7%2]".parse()?;
/// assert_eq!(id.job(), 123);
/// assert_eq!(id.to_string(), "123_[1-3,7%2]");
/// assert!(id.covers(&"123_2".parse()?));
/// # Ok::<(), forebay_slurm::ParseIdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    job: u64,
    part: Part,
    step: Option<Step>,
}

/// Which part of a job an id names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// All of it.
    Whole,
    /// One array task.
    Task(u64),
    /// Several array tasks.
    Tasks(TaskSet),
    /// One component of a heterogeneous job, counted from 0.
    Component(u64),
}

/// A step of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The batch script.
    Batch,
    /// What runs outside steps, such as `ssh` sessions adopted by `pam_slurm_adopt`.
    Extern,
    /// The step of `salloc`'s `use_interactive_step`.
    Interactive,
    /// A step that has no number yet (`TBD`).
    Pending,
    /// A step started by `srun`, with the component of a heterogeneous step.
    Number(u64, Option<u64>),
}

/// The text is not a job id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a job id: {what}")]
pub struct ParseIdError {
    /// The text, cut to 80 characters.
    pub text: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl ParseIdError {
    fn new(text: &str, what: &'static str) -> Self {
        Self {
            text: text.chars().take(80).collect(),
            what,
        }
    }
}

impl JobId {
    /// The job, or whole array, of that number.
    pub fn new(job: u64) -> Self {
        Self {
            job,
            part: Part::Whole,
            step: None,
        }
    }

    /// One task of an array.
    pub fn of_task(array: u64, task: u64) -> Self {
        Self {
            job: array,
            part: Part::Task(task),
            step: None,
        }
    }

    /// One component of a heterogeneous job.
    pub fn of_component(leader: u64, component: u64) -> Self {
        Self {
            job: leader,
            part: Part::Component(component),
            step: None,
        }
    }

    /// The number before `_`, `+` or `.`: of an array the array's own.
    pub fn job(&self) -> u64 {
        self.job
    }

    /// The part that is named.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// The task, when exactly one is named.
    pub fn task(&self) -> Option<u64> {
        match self.part {
            Part::Task(task) => Some(task),
            _ => None,
        }
    }

    /// The step, when one is named.
    pub fn step(&self) -> Option<&Step> {
        self.step.as_ref()
    }

    /// The same id without its step.
    #[must_use]
    pub fn without_step(&self) -> Self {
        Self {
            step: None,
            ..self.clone()
        }
    }

    /// Whether `other` is this job or a part of it: `123` covers `123_4`, `123+1` and
    /// `123.batch`; `123_[1-3]` covers `123_2`.
    pub fn covers(&self, other: &Self) -> bool {
        if self.job != other.job || (self.step.is_some() && self.step != other.step) {
            return false;
        }
        match (&self.part, &other.part) {
            (Part::Whole, _) => true,
            (Part::Tasks(set), Part::Task(task)) => set.contains(*task),
            (mine, theirs) => mine == theirs,
        }
    }
}

impl From<u64> for JobId {
    fn from(job: u64) -> Self {
        Self::new(job)
    }
}

impl FromStr for JobId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |what| ParseIdError::new(text, what);
        // A cut list of tasks holds dots too: the step's dot comes after the bracket.
        let head = text.rfind(']').map_or(0, |bracket| bracket + 1);
        let (rest, step) = match text[head..].find('.') {
            Some(dot) => {
                let step =
                    parse_step(&text[head + dot + 1..]).ok_or_else(|| fail("unknown step"))?;
                (&text[..head + dot], Some(step))
            }
            None => (text, None),
        };
        let number = |digits: &str, what| digits_only(digits).ok_or_else(|| fail(what));
        let (job, part) = if let Some((job, tasks)) = rest.split_once('_') {
            let part = match tasks
                .strip_prefix('[')
                .and_then(|inner| inner.strip_suffix(']'))
            {
                Some(inner) => {
                    Part::Tasks(inner.parse().map_err(|_| fail("bad list of array tasks"))?)
                }
                None => Part::Task(number(tasks, "bad array task")?),
            };
            (job, part)
        } else if let Some((job, component)) = rest.split_once('+') {
            (job, Part::Component(number(component, "bad component")?))
        } else {
            (rest, Part::Whole)
        };
        Ok(Self {
            job: number(job, "not a number")?,
            part,
            step,
        })
    }
}

/// A number made of digits alone: `u64::from_str` would also take a `+`.
fn digits_only(text: &str) -> Option<u64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

fn parse_step(text: &str) -> Option<Step> {
    Some(match text {
        "batch" => Step::Batch,
        "extern" => Step::Extern,
        "interactive" | "int" => Step::Interactive,
        "TBD" => Step::Pending,
        _ => match text.split_once('+') {
            Some((step, component)) => {
                Step::Number(digits_only(step)?, Some(digits_only(component)?))
            }
            None => Step::Number(digits_only(text)?, None),
        },
    })
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.job)?;
        match &self.part {
            Part::Whole => {}
            Part::Task(task) => write!(f, "_{task}")?,
            Part::Tasks(set) => write!(f, "_[{set}]")?,
            Part::Component(component) => write!(f, "+{component}")?,
        }
        match &self.step {
            None => Ok(()),
            Some(Step::Batch) => f.write_str(".batch"),
            Some(Step::Extern) => f.write_str(".extern"),
            Some(Step::Interactive) => f.write_str(".interactive"),
            Some(Step::Pending) => f.write_str(".TBD"),
            Some(Step::Number(step, None)) => write!(f, ".{step}"),
            Some(Step::Number(step, Some(component))) => write!(f, ".{step}+{component}"),
        }
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Number(u64),
            Text(String),
        }
        match Shape::deserialize(deserializer)? {
            Shape::Number(job) => Ok(Self::new(job)),
            Shape::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_round_trips() {
        for text in [
            "123",
            "4294967297",
            "18446744073709551615",
            "123_0",
            "123_4",
            "123_[1-3,7%2]",
            "123_[0-98:2]",
            "123_[1,3,5,...%4]",
            "123+1",
            "123.batch",
            "123_4.extern",
            "123+0.interactive",
            "123.0",
            "123.2+1",
            "123.TBD",
        ] {
            let id: JobId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<JobId>(&json).unwrap(), id);
        }
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        for text in [
            "",
            " 1",
            "1 ",
            "+1",
            "-1",
            "x",
            "1x",
            "1_",
            "1_x",
            "1_[",
            "1_[]",
            "1_[3-1]",
            "1+",
            "1.",
            "1.zork",
            "18446744073709551616",
            "1_2_3",
            "1_[1-3",
            "0x10",
            "1;rm",
            "1\n2",
        ] {
            assert!(text.parse::<JobId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn covering() {
        let id = |text: &str| text.parse::<JobId>().unwrap();
        assert!(
            id("5").covers(&id("5_1"))
                && id("5").covers(&id("5+1"))
                && id("5").covers(&id("5.batch"))
        );
        assert!(id("5_[1-3]").covers(&id("5_3")) && !id("5_[1-3]").covers(&id("5_4")));
        assert!(
            !id("5_1").covers(&id("5")) && !id("6").covers(&id("5")) && !id("5.0").covers(&id("5"))
        );
    }

    proptest! {
        #[test]
        fn any_id_round_trips(job in any::<u64>(), part in 0..4, number in any::<u64>(), step in 0..6) {
            let part = match part {
                0 => Part::Whole,
                1 => Part::Task(number),
                2 => Part::Component(number),
                _ => Part::Tasks(format!("0-{number}:2%3").parse().unwrap()),
            };
            let step = match step {
                0 => None,
                1 => Some(Step::Batch),
                2 => Some(Step::Extern),
                3 => Some(Step::Interactive),
                4 => Some(Step::Number(number, None)),
                _ => Some(Step::Number(number, Some(job))),
            };
            let id = JobId { job, part, step };
            prop_assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<JobId>() {
                prop_assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
            }
        }
    }
}
