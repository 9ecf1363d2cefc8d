//! Rows that no user text can break.
//!
//! `squeue` and `sacct` print a job's name, comment and paths raw, so any separator can stand in
//! them, and a newline too. The separators used here hold a random number drawn for each call:
//! text that was there before the call cannot hold it.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A row that could not be read. The others are unharmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The row, cut to 300 characters, control characters replaced.
    pub row: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What a list answered: the rows that could be read, and those that could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// The rows that could be read.
    pub items: Vec<T>,
    /// The rows that could not.
    pub skipped: Vec<Skipped>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            skipped: Vec::new(),
        }
    }
}

impl<T> IntoIterator for Listing<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<T> Listing<T> {
    pub(crate) fn append(&mut self, mut other: Self) {
        self.items.append(&mut other.items);
        self.skipped.append(&mut other.skipped);
    }
}

/// The separators of one call: between fields, and at the end of a row.
#[derive(Clone, Debug)]
pub(crate) struct Separators {
    pub(crate) field: String,
    pub(crate) row: String,
}

impl Separators {
    pub(crate) fn new() -> Self {
        // SipHash with keys from the system's random numbers.
        let random = || RandomState::new().build_hasher().finish();
        Self::of(random() ^ random().rotate_left(32))
    }

    pub(crate) fn of(number: u64) -> Self {
        // Letters first: squeue reads digits after a field's colon as its width.
        // Rows must not be forged at all. A forged field can only spoil the row of who forged it, as
        // users' own text comes last in a row: half the digits keep long lists shorter.
        Self {
            field: format!("\u{1f}f{:08x}", number >> 32),
            row: format!("\u{1e}r{number:016x}"),
        }
    }

    /// Splits into rows of `WIDTH` fields, each row closed by the row separator, and reads them.
    pub(crate) fn rows<const WIDTH: usize, T>(
        &self,
        text: &str,
        read: impl Fn(&[&str; WIDTH]) -> Result<T, String>,
    ) -> Listing<T> {
        let mut listing = Listing::default();
        let mut parts = text.split(self.row.as_str()).peekable();
        while let Some(part) = parts.next() {
            // The program ends each row with a newline of its own.
            let row = part.strip_prefix('\n').unwrap_or(part);
            if parts.peek().is_none() {
                if !row.trim().is_empty() {
                    listing
                        .skipped
                        .push(skipped(row, "the row is not complete".to_owned()));
                }
                break;
            }
            let fields: Vec<&str> = row.split(self.field.as_str()).collect();
            let result = match <&[&str; WIDTH]>::try_from(fields.as_slice()) {
                Ok(fields) => read(fields),
                Err(_) => Err(format!("{} fields instead of {WIDTH}", fields.len())),
            };
            match result {
                Ok(item) => listing.items.push(item),
                Err(reason) => listing.skipped.push(skipped(row, reason)),
            }
        }
        listing
    }
}

/// Splits into rows of `WIDTH` fields, each field closed by `separator` and each row by a newline
/// after that, and reads them: the form of `sacct`, which closes rows with a newline only.
pub(crate) fn counted_rows<const WIDTH: usize, T>(
    separator: &str,
    text: &str,
    read: impl Fn(&[&str; WIDTH]) -> Result<T, String>,
) -> Listing<T> {
    let mut listing = Listing::default();
    let mut fields: Vec<&str> = text.split(separator).collect();
    // What follows the last separator is the last row's newline.
    let rest = fields.pop().unwrap_or_default();
    if !rest.trim().is_empty() {
        fields.push(rest);
    }
    let mut at = 0;
    while at < fields.len() {
        // Every row but the first begins with the newline of the one before.
        if at > 0 && !fields[at].starts_with('\n') {
            let next = (at..fields.len())
                .find(|index| fields[*index].starts_with('\n'))
                .unwrap_or(fields.len());
            listing.skipped.push(skipped(
                &fields[at..next].join(" "),
                "fields outside any row".to_owned(),
            ));
            at = next;
            continue;
        }
        let Some(row) = fields
            .get(at..at + WIDTH)
            .and_then(|row| <&[&str; WIDTH]>::try_from(row).ok())
        else {
            listing.skipped.push(skipped(
                &fields[at..].join(" "),
                "the row is not complete".to_owned(),
            ));
            break;
        };
        let mut row = *row;
        row[0] = row[0].strip_prefix('\n').unwrap_or(row[0]);
        match read(&row) {
            Ok(item) => {
                listing.items.push(item);
                at += WIDTH;
            }
            Err(reason) => {
                listing.skipped.push(skipped(&row.join(" "), reason));
                // Perhaps fields are missing: go on at the next that begins a row.
                at = (at + 1..fields.len())
                    .find(|index| fields[*index].starts_with('\n'))
                    .unwrap_or(fields.len());
            }
        }
    }
    listing
}

fn skipped(row: &str, reason: String) -> Skipped {
    let row = row
        .chars()
        .take(300)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    Skipped { row, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_differ_between_calls() {
        let seen: std::collections::HashSet<String> =
            (0..1000).map(|_| Separators::new().field).collect();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn one_broken_row_leaves_the_others() {
        let by = Separators::of(7);
        let (f, r) = (&by.field, &by.row);
        let text = format!("1{f}a{r}\n2{r}\nx{f}c{r}\n4{f}d\n|{r}\n5{f}");
        let listing = by.rows(&text, |[id, name]: &[&str; 2]| {
            id.parse::<u32>()
                .map(|id| (id, (*name).to_owned()))
                .map_err(|_| format!("bad id `{id}`"))
        });
        assert_eq!(listing.items, [(1, "a".to_owned()), (4, "d\n|".to_owned())]);
        let reasons: Vec<&str> = listing
            .skipped
            .iter()
            .map(|skipped| skipped.reason.as_str())
            .collect();
        assert_eq!(
            reasons,
            [
                "1 fields instead of 2",
                "bad id `x`",
                "the row is not complete"
            ]
        );
    }

    #[test]
    fn counted_rows_find_their_step_again() {
        // The second row lost a field, the last one its end.
        let text = "1|a|b|\n2|c|\n3|d|e|\nx|f|g|\n5|h";
        let listing = counted_rows("|", text, |[id, left, right]: &[&str; 3]| {
            match (id.parse::<u32>(), right.contains('\n')) {
                (Ok(id), false) => Ok((id, format!("{left}{right}"))),
                _ => Err("bad row".to_owned()),
            }
        });
        assert_eq!(listing.items, [(1, "ab".to_owned()), (3, "de".to_owned())]);
        assert_eq!(listing.skipped.len(), 3, "{:?}", listing.skipped);
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_column_when_rows_are_counted(
            rows in proptest::collection::vec(("[^\0]{0,20}", "[\u{1e}\u{1f}|\n a-f0-9]{0,20}"), 0..6),
        ) {
            let text: Vec<String> = rows.iter().map(|(a, b)| format!("x<7>{a}<7>{b}<7>\n")).collect();
            let listing = counted_rows("<7>", &text.concat(), |[_, a, b]: &[&str; 3]| Ok(((*a).to_owned(), (*b).to_owned())));
            prop_assert_eq!(listing.items, rows);
            prop_assert!(listing.skipped.is_empty());
        }

        #[test]
        fn any_text_keeps_its_column(rows in proptest::collection::vec(("[^\0]{0,20}", "[\u{1e}\u{1f}|\n a-f0-9]{0,20}"), 0..6)) {
            let by = Separators::of(0x1234_5678_9abc_def0);
            let text: Vec<String> =
                rows.iter().map(|(a, b)| format!("x{}{a}{}{b}{}\n", by.field, by.field, by.row)).collect();
            let listing = by.rows(&text.concat(), |[_, a, b]: &[&str; 3]| Ok(((*a).to_owned(), (*b).to_owned())));
            prop_assert_eq!(listing.items, rows);
            prop_assert!(listing.skipped.is_empty());
        }
    }
}
