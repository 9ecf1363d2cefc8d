//! One HTTP byte range: `bytes=0-99`, `bytes=5-`, `bytes=-500` (RFC 9110, section 14).

use std::{fmt, str::FromStr};

/// A range as it was asked for. Parse it from the value of a `Range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=first-last`, both inclusive; `first <= last`.
    Closed {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// `bytes=first-`: to the end.
    From {
        /// Offset of the first byte.
        first: u64,
    },
    /// `bytes=-length`: the last bytes, or all there are.
    Last {
        /// How many.
        length: u64,
    },
}

/// A `Range` header that cannot be honoured. RFC 9110 lets a server answer it with the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Another unit than `bytes`.
    #[error("only ranges of bytes are known")]
    Unit,
    /// More than one range.
    #[error("only one range at a time is answered")]
    Several,
    /// Not a range.
    #[error("not a byte range")]
    Malformed,
}

/// A range of something whose length is known; `start + length <= total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Offset of the first byte.
    pub start: u64,
    /// How many bytes; at least 1.
    pub length: u64,
    /// Length of the whole.
    pub total: u64,
}

/// No byte of the whole lies in the range: status 416. Displays as its `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes */{total}")]
pub struct Unsatisfiable {
    /// Length of the whole.
    pub total: u64,
}

impl FromStr for ByteRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (unit, range) = text.trim().split_once('=').ok_or(RangeError::Malformed)?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Err(RangeError::Unit);
        }
        if range.contains(',') {
            return Err(RangeError::Several);
        }
        let (first, last) = range.trim().split_once('-').ok_or(RangeError::Malformed)?;
        match (first, last) {
            ("", length) => Ok(Self::Last {
                length: number(length)?,
            }),
            (first, "") => Ok(Self::From {
                first: number(first)?,
            }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(RangeError::Malformed);
                }
                Ok(Self::Closed { first, last })
            }
        }
    }
}

/// Digits only: `u64::from_str` would also take a plus sign. A number beyond `u64` is beyond the
/// end of everything, so it stands for the largest.
fn number(text: &str) -> Result<u64, RangeError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(RangeError::Malformed);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

impl ByteRange {
    /// What of `total` bytes the range means.
    pub fn resolve(self, total: u64) -> Result<Resolved, Unsatisfiable> {
        let (start, end) = match self {
            Self::Closed { first, last } => (first, last.saturating_add(1).min(total)),
            Self::From { first } => (first, total),
            Self::Last { length } => (total.saturating_sub(length), total),
        };
        if start >= end {
            return Err(Unsatisfiable { total });
        }
        Ok(Resolved {
            start,
            length: end - start,
            total,
        })
    }
}

impl Resolved {
    /// The same range with at most `length_max` bytes (at least 1), from the same start.
    #[must_use]
    pub fn at_most(self, length_max: u64) -> Self {
        Self {
            length: self.length.min(length_max.max(1)),
            ..self
        }
    }

    /// The value of `Content-Range` in a 206 answer.
    pub fn content_range(&self) -> String {
        format!(
            "bytes {}-{}/{}",
            self.start,
            self.start + self.length - 1,
            self.total
        )
    }
}

impl fmt::Display for ByteRange {
    /// The value of a `Range` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From { first } => write!(f, "bytes={first}-"),
            Self::Last { length } => write!(f, "bytes=-{length}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parses_what_it_prints(first: u64, more: u64, kind in 0..3) {
            let range = match kind {
                0 => ByteRange::Closed { first, last: first.saturating_add(more) },
                1 => ByteRange::From { first },
                _ => ByteRange::Last { length: more },
            };
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }

        #[test]
        fn never_panics(text: String, total: u64) {
            if let Ok(range) = text.parse::<ByteRange>() {
                let _ = range.resolve(total);
            }
        }

        #[test]
        fn means_the_bytes_it_names(first in 0u64..30, last in 0u64..30, length in 0u64..30, total in 0u64..20) {
            let whole: Vec<u64> = (0..total).collect();
            let checks: [(ByteRange, Vec<u64>); 3] = [
                (ByteRange::Closed { first, last: last.max(first) }, whole.iter().copied().filter(|at| (first..=last.max(first)).contains(at)).collect()),
                (ByteRange::From { first }, whole.iter().copied().filter(|at| *at >= first).collect()),
                (ByteRange::Last { length }, whole.iter().copied().filter(|at| at + length >= total).collect()),
            ];
            for (range, expected) in checks {
                match range.resolve(total) {
                    Ok(Resolved { start, length, total: of }) => {
                        prop_assert_eq!(of, total);
                        prop_assert_eq!((start..start + length).collect::<Vec<_>>(), expected);
                    }
                    Err(Unsatisfiable { total: of }) => {
                        prop_assert_eq!(of, total);
                        prop_assert!(expected.is_empty());
                    }
                }
            }
        }

        #[test]
        fn no_overflow_at_the_edge(first: u64, last: u64, total: u64) {
            for range in [ByteRange::Closed { first: first.min(last), last: first.max(last) }, ByteRange::From { first }, ByteRange::Last { length: last }] {
                if let Ok(found) = range.resolve(total) {
                    prop_assert!(found.start.checked_add(found.length).is_some_and(|end| end <= total));
                    prop_assert!(found.length > 0);
                    prop_assert!(found.content_range().ends_with(&["/", &total.to_string()].concat()));
                    prop_assert_eq!(found.at_most(0).length, 1);
                }
            }
        }
    }

    #[test]
    fn refuses_what_is_not_one_range_of_bytes() {
        for (text, error) in [
            ("items=0-1", RangeError::Unit),
            ("bytes=0-1,3-4", RangeError::Several),
            ("bytes=4-2", RangeError::Malformed),
            ("bytes=-", RangeError::Malformed),
            ("bytes=+1-2", RangeError::Malformed),
            ("bytes=1- 2", RangeError::Malformed),
            ("bytes=--1", RangeError::Malformed),
            ("bytes", RangeError::Malformed),
            ("", RangeError::Malformed),
        ] {
            assert_eq!(text.parse::<ByteRange>(), Err(error), "{text}");
        }
        let beyond = "bytes=99999999999999999999999-"
            .parse::<ByteRange>()
            .unwrap();
        assert_eq!(beyond.resolve(10).unwrap_err().to_string(), "bytes */10");
        let some = "Bytes=2-"
            .parse::<ByteRange>()
            .unwrap()
            .resolve(10)
            .unwrap();
        assert_eq!(some.content_range(), "bytes 2-9/10");
    }
}
