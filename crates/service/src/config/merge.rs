//! Files into one document whose values know where they came from, and that into a type.

use super::{
    problems::{Index, Problem, Step},
    sources::{Source, Sources},
};
use serde::de::DeserializeOwned;
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeArray, DeString, DeTable, DeValue, Deserializer, Error},
};

/// Enough to see what is wrong; a file of another kind would fill the screen.
const REPORTED_MAX: usize = 50;

/// The merged files.
pub(super) struct Document<'i>(Spanned<DeTable<'i>>);

impl<'i> Document<'i> {
    /// Parse and merge; syntax errors of all files are reported together.
    pub(super) fn parse(sources: &'i Sources) -> Result<Self, Vec<Problem>> {
        let mut merged = Spanned::new(0..0, DeTable::new());
        let mut problems = Vec::new();
        for source in sources.iter() {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            problems.extend(errors.iter().take(REPORTED_MAX).map(|error| {
                let span = error
                    .span()
                    .map_or(source.base..source.base, |span| at(source, span));
                Problem::syntax(sources, span, error.message())
            }));
            merge(merged.get_mut(), shift_table(source, table.into_inner()));
        }
        if problems.is_empty() {
            return Ok(Self(merged));
        }
        problems.sort_by_key(Problem::order);
        Err(problems)
    }

    pub(super) fn index(&self) -> Index {
        let mut index = Index::default();
        index_table(&mut index, &mut Vec::new(), self.0.get_ref());
        index
    }

    /// Deserialize, and report every value that does not fit, not only the first: what failed is
    /// taken out and the rest tried again.
    pub(super) fn deserialize<T: DeserializeOwned>(
        mut self,
        sources: &Sources,
    ) -> Result<T, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut removed: Vec<Vec<Step>> = Vec::new();
        // Spans stay what they are while items of arrays move up: names come from before.
        let names = self.index();
        while problems.len() < REPORTED_MAX {
            let error = match T::deserialize(Deserializer::from(self.0.clone())) {
                Ok(value) if problems.is_empty() => return Ok(value),
                Ok(_) => break,
                Err(error) => error,
            };
            let span = error.span();
            let path = span.as_ref().and_then(|span| names.find(span));
            if !is_consequence(&error, path.as_deref(), &removed) {
                problems.push(problem(sources, &names, &error));
            }
            let now = span.and_then(|span| self.index().find(&span));
            if !now.is_some_and(|now| remove(self.0.get_mut(), &now)) {
                break;
            }
            removed.extend(path);
        }
        problems.sort_by_key(Problem::order);
        Err(problems)
    }
}

/// Whether something is missing from the table at `path` only because it was wrong and taken out.
fn is_consequence(error: &Error, path: Option<&[Step]>, removed: &[Vec<Step>]) -> bool {
    let Some(name) = error.message().strip_prefix("missing field `") else {
        return false;
    };
    let name = name.trim_end_matches('`');
    removed.iter().any(|removed| match removed.split_last() {
        Some((Step::Key(key), parent)) => key == name && parent == path.unwrap_or_default(),
        _ => false,
    })
}

fn problem(sources: &Sources, index: &Index, error: &Error) -> Problem {
    match error.span() {
        // The span of the whole document: something is missing at its top.
        Some(span) if span != (0..0) => Problem::new(sources, index, span, error.message()),
        _ => Problem::nowhere(sources, None, error.message()),
    }
}

fn at(source: &Source, span: Range<usize>) -> Range<usize> {
    source.base + span.start..source.base + span.end
}

fn shift_table<'i>(source: &Source, table: DeTable<'i>) -> DeTable<'i> {
    table
        .into_iter()
        .map(|(key, value)| (shift_key(source, key), shift(source, value)))
        .collect()
}

fn shift_key<'i>(source: &Source, key: Spanned<DeString<'i>>) -> Spanned<DeString<'i>> {
    Spanned::new(at(source, key.span()), key.into_inner())
}

fn shift<'i>(source: &Source, value: Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>> {
    let span = at(source, value.span());
    let value = match value.into_inner() {
        DeValue::Array(items) => DeValue::Array(
            items
                .into_iter()
                .map(|item| shift(source, item))
                .collect::<DeArray<'_>>(),
        ),
        DeValue::Table(table) => DeValue::Table(shift_table(source, table)),
        other => other,
    };
    Spanned::new(span, value)
}

fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>) {
    for (key, value) in from {
        if let DeValue::Table(later) = value.get_ref()
            && let Some(earlier) = into.get_mut(key.get_ref().as_ref())
            && let DeValue::Table(earlier) = earlier.get_mut()
        {
            merge(earlier, later.clone());
        } else {
            // Taken out first: a map keeps the old key, and with it the old position.
            into.remove(key.get_ref().as_ref());
            into.insert(key, value);
        }
    }
}

fn index_table(index: &mut Index, path: &mut Vec<Step>, table: &DeTable<'_>) {
    for (key, value) in table {
        path.push(Step::Key(key.get_ref().to_string()));
        index.add(path, Some(key.span()), value.span());
        index_value(index, path, value.get_ref());
        path.pop();
    }
}

fn index_value(index: &mut Index, path: &mut Vec<Step>, value: &DeValue<'_>) {
    match value {
        DeValue::Table(table) => index_table(index, path, table),
        DeValue::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                path.push(Step::Item(number));
                index.add(path, None, item.span());
                index_value(index, path, item.get_ref());
                path.pop();
            }
        }
        _ => {}
    }
}

fn remove(table: &mut DeTable<'_>, path: &[Step]) -> bool {
    let [Step::Key(key), rest @ ..] = path else {
        return false;
    };
    if rest.is_empty() {
        return table.remove(key.as_str()).is_some();
    }
    table
        .get_mut(key.as_str())
        .is_some_and(|value| remove_in(value.get_mut(), rest))
}

fn remove_in(value: &mut DeValue<'_>, path: &[Step]) -> bool {
    match (value, path) {
        (DeValue::Table(table), path) => remove(table, path),
        (DeValue::Array(items), [Step::Item(number), rest @ ..]) => {
            if !rest.is_empty() {
                return items
                    .get_mut(*number)
                    .is_some_and(|item| remove_in(item.get_mut(), rest));
            }
            let before = items.len();
            let kept = std::mem::replace(items, DeArray::new())
                .into_iter()
                .enumerate();
            *items = kept
                .filter(|(at, _)| at != number)
                .map(|(_, item)| item)
                .collect();
            items.len() < before
        }
        _ => false,
    }
}
