//! The problems found so far, and the checks that several fields share.

use forebay_wire::Detail;

use super::TEXT_BYTES;

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) found: Vec<Detail>,
}

impl Fields {
    pub(super) fn problem(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.found.push(Detail {
            field: field.into(),
            message: message.into(),
        });
    }

    pub(super) fn within(&mut self, field: &str, value: Option<u64>, least: u64, most: u64) {
        if let Some(value) = value
            && !(least..=most).contains(&value)
        {
            self.problem(
                field,
                format!("Must be between {least} and {most}, and is {value}."),
            );
        }
    }

    /// A path, if there is one.
    pub(super) fn path(&mut self, field: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.line(field, value);
        }
    }

    /// Text that fits on one line and says something.
    pub(super) fn line(&mut self, field: impl Into<String>, value: &str) {
        if value.is_empty() {
            self.problem(field, "Must not be empty; leave it out instead.");
        } else if value.len() > TEXT_BYTES {
            self.problem(
                field,
                format!(
                    "Has {} bytes; at most {TEXT_BYTES} are allowed.",
                    value.len()
                ),
            );
        } else if value.contains(['\0', '\n', '\r']) {
            self.problem(field, "Must not hold line breaks or NUL characters.");
        }
    }
}
