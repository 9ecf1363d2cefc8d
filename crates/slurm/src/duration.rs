//! Time limits: what `sbatch --time` accepts and what `squeue` and `sacct` print.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A job's time limit.
///
/// Reads `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`,
/// `days-hours:minutes`, `days-hours:minutes:seconds` and the words below, in any case.
/// Prints the form that `sbatch --time` takes.
///
/// ```
/// use forebay_slurm::TimeLimit;
///
/// assert_eq!("90".parse::<TimeLimit>()?, TimeLimit::from_secs(90 * 60));
/// assert_eq!("1-02:03:04".parse::<TimeLimit>()?.to_string(), "1-02:03:04");
/// # Ok::<(), forebay_slurm::ParseTimeLimitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeLimit {
    /// That long. Slurm itself counts in minutes and rounds up.
    Of(Duration),
    /// No limit (`UNLIMITED`, `INFINITE`, `-1`).
    Unlimited,
    /// The partition's own limit (`Partition_Limit`): the job named none.
    Partition,
    /// The tool could not tell (`INVALID`, `NOT_SET`, `N/A`, `Unknown`).
    Unknown,
}

/// The text is not a time limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time limit: write minutes, hours:minutes:seconds or days-hours:minutes:seconds"
)]
pub struct ParseTimeLimitError(pub String);

impl TimeLimit {
    /// A limit of that many seconds.
    pub fn from_secs(seconds: u64) -> Self {
        Self::Of(Duration::from_secs(seconds))
    }

    /// A limit of that many minutes.
    pub fn from_minutes(minutes: u64) -> Self {
        Self::from_secs(minutes.saturating_mul(60))
    }

    /// How long, when it is a plain duration.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Of(duration) => Some(duration),
            _ => None,
        }
    }
}

impl FromStr for TimeLimit {
    type Err = ParseTimeLimitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        Ok(match text.to_ascii_lowercase().as_str() {
            "unlimited" | "infinite" | "-1" => Self::Unlimited,
            "partition_limit" => Self::Partition,
            "invalid" | "not_set" | "n/a" | "unknown" | "none" => Self::Unknown,
            _ => Self::from_secs(
                seconds(text)
                    .ok_or_else(|| ParseTimeLimitError(text.chars().take(40).collect()))?,
            ),
        })
    }
}

fn seconds(text: &str) -> Option<u64> {
    let number = |part: &str| {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            part.parse::<u64>().ok()
        } else {
            None
        }
    };
    let sum = |hours: u64, minutes: u64, seconds: u64| {
        hours
            .checked_mul(3600)?
            .checked_add(minutes.checked_mul(60)?)?
            .checked_add(seconds)
    };
    if let Some((days, rest)) = text.split_once('-') {
        let parts: Vec<u64> = rest.split(':').map(number).collect::<Option<_>>()?;
        let rest = match parts[..] {
            [hours] => sum(hours, 0, 0)?,
            [hours, minutes] => sum(hours, minutes, 0)?,
            [hours, minutes, seconds] => sum(hours, minutes, seconds)?,
            _ => return None,
        };
        return number(days)?.checked_mul(86_400)?.checked_add(rest);
    }
    let parts: Vec<u64> = text.split(':').map(number).collect::<Option<_>>()?;
    match parts[..] {
        [minutes] => sum(0, minutes, 0),
        [minutes, seconds] => sum(0, minutes, seconds),
        [hours, minutes, seconds] => sum(hours, minutes, seconds),
        _ => None,
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(duration) => {
                let seconds = duration.as_secs();
                let (days, rest) = (seconds / 86_400, seconds % 86_400);
                if days > 0 {
                    write!(f, "{days}-")?;
                }
                write!(
                    f,
                    "{:02}:{:02}:{:02}",
                    rest / 3600,
                    rest / 60 % 60,
                    rest % 60
                )
            }
            Self::Unlimited => f.write_str("UNLIMITED"),
            Self::Partition => f.write_str("Partition_Limit"),
            Self::Unknown => f.write_str("INVALID"),
        }
    }
}

impl Serialize for TimeLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_sbatch_is_read() {
        for (text, seconds) in [
            ("90", 5400),
            ("0", 0),
            ("2:30", 150),
            ("02:03", 123),
            ("1:00:00", 3600),
            ("1-2", 93_600),
            ("1-2:3", 93_780),
            ("1-02:03:04", 93_784),
            ("100:00:00", 360_000),
        ] {
            assert_eq!(text.parse(), Ok(TimeLimit::from_secs(seconds)), "{text}");
        }
        for (text, limit) in [
            ("UNLIMITED", TimeLimit::Unlimited),
            ("infinite", TimeLimit::Unlimited),
            ("-1", TimeLimit::Unlimited),
            ("Partition_Limit", TimeLimit::Partition),
            ("INVALID", TimeLimit::Unknown),
            ("NOT_SET", TimeLimit::Unknown),
        ] {
            assert_eq!(text.parse(), Ok(limit), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "-",
            "1-",
            "-5",
            "1:2:3:4",
            "1-2:3:4:5",
            "a",
            "1:",
            ":1",
            "1.5",
            "+5",
            "99999999999999999999",
        ] {
            assert!(text.parse::<TimeLimit>().is_err(), "{text:?}");
        }
        assert!("9999999999999999-0".parse::<TimeLimit>().is_err());
    }

    proptest! {
        #[test]
        fn round_trips(seconds in 0u64..(10_000 * 86_400)) {
            let limit = TimeLimit::from_secs(seconds);
            prop_assert_eq!(limit.to_string().parse::<TimeLimit>(), Ok(limit));
        }

        #[test]
        fn reads_any_text_without_panic(text in "[-0-9:a-zA-Z]{0,30}") {
            let _ = text.parse::<TimeLimit>();
        }
    }
}
