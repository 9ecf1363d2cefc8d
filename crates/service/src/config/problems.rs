//! What is wrong with a configuration, collected so that all of it is said at once.

use super::{
    ConfigError,
    sources::{Location, Sources},
};
use std::{
    fmt::{self, Display},
    ops::{Range, RangeInclusive},
};
use toml::Spanned;

/// One thing that is wrong: `view-server.toml:12:3: database.connections: must be 1 to 1000 (got 0)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: String,
    at: Option<(usize, usize)>,
    key: Option<String>,
    message: String,
    order: usize,
}

impl Problem {
    /// The file, as it was named when it was loaded.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line and column from 1, unless something is missing that stands nowhere.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        self.at
    }

    /// The dotted path, such as `database.connections` or `clusters[2].name`.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// What is wrong with it.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn new(sources: &Sources, index: &Index, span: Range<usize>, message: &str) -> Self {
        let key = index.find(&span).map(|path| dotted(&path));
        Self::located(sources, key, &span, message)
    }

    pub(super) fn syntax(sources: &Sources, span: Range<usize>, message: &str) -> Self {
        Self::located(sources, None, &span, message)
    }

    pub(super) fn nowhere(sources: &Sources, key: Option<String>, message: &str) -> Self {
        let file = sources.main().to_owned();
        Self {
            file,
            at: None,
            key,
            message: one_line(message),
            order: usize::MAX,
        }
    }

    fn located(sources: &Sources, key: Option<String>, span: &Range<usize>, message: &str) -> Self {
        match sources.locate(span) {
            Some(Location { file, line, column }) => Self {
                file,
                at: Some((line, column)),
                key,
                message: one_line(message),
                order: span.start,
            },
            None => Self::nowhere(sources, key, message),
        }
    }

    pub(super) fn order(&self) -> usize {
        self.order
    }
}

/// Messages of the parser may quote what they found, line ends and all.
fn one_line(message: &str) -> String {
    message.replace('\n', "\\n")
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

pub(super) fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

fn dotted(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Item(number) => text.push_str(&["[", &number.to_string(), "]"].concat()),
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if !key.is_empty() && key.chars().all(bare) {
                    text.push_str(key);
                } else {
                    text.extend(["\"", &key.escape_debug().to_string(), "\""]);
                }
            }
        }
    }
    text
}

/// The position of every key and value.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    path: Vec<Step>,
    key: Option<Range<usize>>,
    value: Range<usize>,
}

impl Index {
    pub(super) fn add(&mut self, path: &[Step], key: Option<Range<usize>>, value: Range<usize>) {
        self.0.push(Entry {
            path: path.to_vec(),
            key,
            value,
        });
    }

    /// The innermost value that has `span`, or whose key has, or that is around it.
    pub(super) fn find(&self, span: &Range<usize>) -> Option<Vec<Step>> {
        let exact = |entry: &&Entry| entry.value == *span || entry.key.as_ref() == Some(span);
        let around = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
        let contains =
            |entry: &&Entry| around(&entry.value) || entry.key.as_ref().is_some_and(around);
        let innermost = |entry: &&Entry| entry.path.len();
        let found = self.0.iter().filter(exact).max_by_key(innermost);
        found
            .or_else(|| self.0.iter().filter(contains).max_by_key(innermost))
            .map(|entry| entry.path.clone())
    }

    /// The key of `dotted_path`, or of the nearest table above it.
    fn nearest(&self, dotted_path: &str) -> Option<Range<usize>> {
        let mut path = dotted_path;
        loop {
            let entry = self.0.iter().find(|entry| dotted(&entry.path) == path);
            if let Some(entry) = entry {
                return Some(entry.key.clone().unwrap_or_else(|| entry.value.clone()));
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// Collects what validation finds. Comes from [`load`](super::load); ends with
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Problems {
    sources: Sources,
    index: Index,
    found: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(sources: Sources, index: Index) -> Self {
        Self {
            sources,
            index,
            found: Vec::new(),
        }
    }

    /// The value at `span` ([`Spanned::span`]) is wrong. Its key is found from the span.
    pub fn at(&mut self, span: Range<usize>, message: impl AsRef<str>) {
        self.found.push(Problem::new(
            &self.sources,
            &self.index,
            span,
            message.as_ref(),
        ));
    }

    /// Something that should be at the dotted path `key` is not there.
    pub fn missing(&mut self, key: &str, message: impl AsRef<str>) {
        let problem = match self.index.nearest(key) {
            Some(span) => {
                Problem::located(&self.sources, Some(key.to_owned()), &span, message.as_ref())
            }
            None => Problem::nowhere(&self.sources, Some(key.to_owned()), message.as_ref()),
        };
        self.found.push(problem);
    }

    /// The value, or `default` when there is none; a value outside `range` is a problem.
    pub fn within<N: PartialOrd + Copy + Display>(
        &mut self,
        value: Option<&Spanned<N>>,
        range: RangeInclusive<N>,
        default: N,
    ) -> N {
        let Some(value) = value else { return default };
        let found = *value.get_ref();
        if !range.contains(&found) {
            let (least, most) = (range.start(), range.end());
            self.at(
                value.span(),
                format!("must be {least} to {most} (got {found})"),
            );
        }
        found
    }

    /// The value turned into another by `convert`, whose error is the problem.
    pub fn convert<T, U, E: Display>(
        &mut self,
        value: &Spanned<T>,
        convert: impl FnOnce(&T) -> Result<U, E>,
    ) -> Option<U> {
        convert(value.get_ref())
            .map_err(|error| self.at(value.span(), error.to_string()))
            .ok()
    }

    /// `file:line:column: key` of a value, for a warning that is not a problem.
    pub fn describe(&self, span: Range<usize>) -> String {
        let problem = Problem::new(&self.sources, &self.index, span, "");
        problem.to_string().trim_end_matches(": ").to_owned()
    }

    /// Whether anything was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `value` if nothing was found, else everything that was, in the order of the files.
    pub fn finish<T>(mut self, value: T) -> Result<T, ConfigError> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort_by_key(Problem::order);
        Err(ConfigError::Invalid(self.found))
    }
}
