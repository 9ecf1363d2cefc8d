//! A position in the feed, as callers keep it and hand it back.

use std::fmt;
use std::str::FromStr;

/// A position in the feed: everything up to and including it has been read.
///
/// Its text is `<epoch>.<xid>.<id>`, three decimal numbers; to clients it is opaque. Cursors of one epoch are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// Which life of the feed it belongs to. 48 bits.
    pub epoch: u64,
    /// The transaction that wrote the row. 64 bits, never wraps.
    pub xid: u64,
    /// The row within all rows. Never negative.
    pub id: i64,
}

/// A text that is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is three decimal numbers joined by dots")]
pub struct ParseCursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.xid, self.id)
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Cursor, ParseCursorError> {
        let mut parts = text.split('.');
        let mut next = || parts.next().and_then(number).ok_or(ParseCursorError);
        let (epoch, xid, id) = (next()?, next()?, next()?);
        let id = i64::try_from(id).map_err(|_| ParseCursorError)?;
        if parts.next().is_some() || epoch >= 1 << 48 {
            return Err(ParseCursorError);
        }
        Ok(Cursor { epoch, xid, id })
    }
}

/// One text per number: digits only, no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_back(epoch in 0..1_u64 << 48, xid: u64, id in 0..=i64::MAX) {
            let cursor = Cursor { epoch, xid, id };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_text_is_refused_or_stays_the_same(text in "[0-9.+ -]{0,24}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Cursor>();
        }
    }

    #[test]
    fn not_cursors() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.-3",
            "+1.2.3",
            "01.2.3",
            "1.2.3 ",
            "1..3",
            "281474976710656.1.1",
            "1.18446744073709551616.1",
            "1.1.9223372036854775808",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(ParseCursorError), "{text}");
        }
    }
}
