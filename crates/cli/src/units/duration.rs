//! Spans of time: as `sbatch --time` reads them, and `1h30m`.

use thiserror::Error;

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Neither of the two ways to write one.
    #[error(
        "expected minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]], \
         or units such as 1h30m"
    )]
    Shape,
    /// A job that may run for no time.
    #[error("must be longer than zero")]
    Zero,
    /// Slurm's word for "no limit".
    #[error("no limit is the cluster's to give; ask for it with -S --time=UNLIMITED")]
    Unlimited,
    /// More seconds than fit in 64 bits.
    #[error("too long")]
    TooLong,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a span of time; the answer is in seconds.
///
/// ```
/// use forebay::units::duration;
///
/// assert_eq!(duration::parse("1:30:00"), Ok(5400));
/// assert_eq!(duration::parse("90"), Ok(5400), "a plain number is minutes, as for sbatch");
/// assert_eq!(duration::parse("1h30m"), Ok(5400));
/// assert_eq!(duration::print(5400), "1:30:00");
/// ```
pub fn parse(text: &str) -> Result<u64, DurationError> {
    if ["unlimited", "infinite"].contains(&text.to_ascii_lowercase().as_str()) {
        return Err(DurationError::Unlimited);
    }
    let seconds = if text.ends_with(|c: char| c.is_ascii_alphabetic()) {
        with_units(text)?
    } else {
        as_sbatch(text)?
    };
    if seconds == 0 {
        Err(DurationError::Zero)
    } else {
        Ok(seconds)
    }
}

/// The span as `M:SS`, `H:MM:SS` or `D-HH:MM:SS`; [`parse`] reads it back.
pub fn print(seconds: u64) -> String {
    let (days, hours) = (seconds / DAY, seconds % DAY / HOUR);
    let (minutes, seconds) = (seconds % HOUR / MINUTE, seconds % MINUTE);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

fn number(digits: &str) -> Result<u64, DurationError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DurationError::Shape);
    }
    digits.parse().map_err(|_| DurationError::TooLong)
}

fn sum(parts: &[(u64, u64)]) -> Result<u64, DurationError> {
    parts.iter().try_fold(0_u64, |total, (count, size)| {
        let part = count.checked_mul(*size).ok_or(DurationError::TooLong)?;
        total.checked_add(part).ok_or(DurationError::TooLong)
    })
}

fn as_sbatch(text: &str) -> Result<u64, DurationError> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(number(days)?), clock),
        None => (None, text),
    };
    let fields = clock
        .split(':')
        .map(number)
        .collect::<Result<Vec<_>, _>>()?;
    match (days, fields.as_slice()) {
        (None, [m]) => sum(&[(*m, MINUTE)]),
        (None, [m, s]) => sum(&[(*m, MINUTE), (*s, 1)]),
        (None, [h, m, s]) => sum(&[(*h, HOUR), (*m, MINUTE), (*s, 1)]),
        (Some(d), [h]) => sum(&[(d, DAY), (*h, HOUR)]),
        (Some(d), [h, m]) => sum(&[(d, DAY), (*h, HOUR), (*m, MINUTE)]),
        (Some(d), [h, m, s]) => sum(&[(d, DAY), (*h, HOUR), (*m, MINUTE), (*s, 1)]),
        _ => Err(DurationError::Shape),
    }
}

fn with_units(text: &str) -> Result<u64, DurationError> {
    let mut parts = Vec::new();
    let mut last = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .ok_or(DurationError::Shape)?;
        let (digits, tail) = rest.split_at(end);
        let size = match tail.as_bytes().first() {
            Some(b'd') => DAY,
            Some(b'h') => HOUR,
            Some(b'm') => MINUTE,
            Some(b's') => 1,
            _ => return Err(DurationError::Shape),
        };
        // Each unit once, the larger first: `30m1h` is more likely a slip.
        if size >= last {
            return Err(DurationError::Shape);
        }
        last = size;
        parts.push((number(digits)?, size));
        rest = &tail[1..];
    }
    sum(&parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_reads_back(seconds in 1_u64..) {
            prop_assert_eq!(parse(&print(seconds)), Ok(seconds));
        }

        #[test]
        fn short_spans_read_back(seconds in 1_u64..3 * DAY) {
            prop_assert_eq!(parse(&print(seconds)), Ok(seconds));
        }

        #[test]
        fn units_add_up(d in 0_u64..1000, h in 0_u64..100, m in 0_u64..100, s in 1_u64..100) {
            let text = format!("{d}d{h}h{m}m{s}s");
            prop_assert_eq!(parse(&text), Ok(d * DAY + h * HOUR + m * MINUTE + s));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,12}") {
            let _ = parse(&text);
        }

        #[test]
        fn nearly_right_never_panics(text in "[0-9:dhms-]{0,24}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn every_form_of_sbatch() {
        let good = [
            ("5", 300),
            ("1:30", 90),
            ("1:30:00", 5400),
            ("1-2", DAY + 2 * HOUR),
            ("1-2:3", DAY + 2 * HOUR + 180),
            ("1-2:3:4", DAY + 2 * HOUR + 184),
            ("90s", 90),
            ("2d", 2 * DAY),
        ];
        for (text, seconds) in good {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
        for bad in [
            "", ":", "1:", "-1", "1-", "1:2:3:4", "h", "1x", "30m1h", "1h1h", "1 h", "1.5h",
        ] {
            assert_eq!(parse(bad), Err(DurationError::Shape), "{bad}");
        }
        assert_eq!(parse("0"), Err(DurationError::Zero));
        assert_eq!(parse("UNLIMITED"), Err(DurationError::Unlimited));
        assert_eq!(parse("18446744073709551615"), Err(DurationError::TooLong));
    }
}
