//! Where a byte of the configuration stands.
//!
//! All files share one number line: each begins where the one before it ended. A span on that line
//! says by itself which file it belongs to, so merged values keep their origin through serde.

use std::{ops::Range, sync::Arc};

#[derive(Clone, Debug)]
pub(super) struct Sources(Arc<[Source]>);

#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
    /// Where the file begins on the common number line.
    pub(super) base: usize,
}

/// File, line and column, the latter two counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Sources {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let mut base = 0;
        let sources = files.iter().map(|(name, text)| {
            let source = Source {
                name: (*name).to_owned(),
                text: (*text).to_owned(),
                base,
            };
            // One more, so that the end of a file is not the start of the next.
            base += text.len() + 1;
            source
        });
        Self(sources.collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }

    /// The first file's name, for problems that stand nowhere.
    pub(super) fn main(&self) -> &str {
        self.0
            .first()
            .map_or("configuration", |source| source.name.as_str())
    }

    pub(super) fn locate(&self, span: &Range<usize>) -> Option<Location> {
        let after = self.0.partition_point(|source| source.base <= span.start);
        let source = self.0.get(after.checked_sub(1)?)?;
        let before = source.text.get(..span.start - source.base)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some(Location {
            file: source.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }
}
