//! Between rows and types.

use forebay_wire::Timestamp;
use time::OffsetDateTime;
use tokio_postgres::{Row, types::FromSql};

use crate::error::Error;

/// A column of a row, by name.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, Error> {
    let wrap = forebay_postgres::Error::in_query("row");
    Ok(row.try_get(column).map_err(wrap)?)
}

/// A moment.
pub(crate) fn moment(row: &Row, column: &str) -> Result<Timestamp, Error> {
    get::<OffsetDateTime>(row, column).map(Into::into)
}

/// A moment or null.
pub(crate) fn moment_opt(row: &Row, column: &str) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<OffsetDateTime>>(row, column)?.map(Into::into))
}

/// A text column that a type can parse: a state, a name.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    table: &'static str,
    row: &Row,
    column: &str,
) -> Result<T, Error> {
    let text: &str = get(row, column)?;
    text.parse().map_err(|error| Error::Row {
        table,
        reason: format!("{column} `{text}`: {error}"),
    })
}

/// A count that is not negative.
pub(crate) fn count(table: &'static str, row: &Row, column: &str) -> Result<u32, Error> {
    let value: i64 = get(row, column)?;
    u32::try_from(value).map_err(|_| Error::Row {
        table,
        reason: format!("{column} is {value}"),
    })
}

/// What a parameter of `timestamptz` is.
pub(crate) fn time_of(at: Option<Timestamp>) -> Option<OffsetDateTime> {
    at.map(Timestamp::get)
}

/// Text from outside as Postgres can hold it: without NUL, of bounded length.
pub(crate) fn plain(text: &mut String, bytes_max: usize) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > bytes_max {
        let mut end = bytes_max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

/// The same for every text within a JSON value; keys with NUL go.
pub(crate) fn plain_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::String(text) => plain(text, usize::MAX),
        serde_json::Value::Array(items) => items.iter_mut().for_each(plain_json),
        serde_json::Value::Object(fields) => {
            fields.retain(|key, _| !key.contains('\0'));
            fields.values_mut().for_each(plain_json);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        let mut text = "aé\0b".to_owned();
        plain(&mut text, 100);
        assert_eq!(text, "aé\u{fffd}b");
        plain(&mut text, 2);
        assert_eq!(text, "a…");
    }
}
