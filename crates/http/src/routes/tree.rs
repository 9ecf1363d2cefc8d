//! Paths by their segments.

use http::Method;
use std::collections::HashMap;

/// The routes whose templates share a path so far, as numbers, by method.
#[derive(Debug, Default)]
pub(super) struct Node {
    literal: HashMap<String, Node>,
    param: Option<Box<Node>>,
    /// Those that end here.
    ends: Vec<End>,
    /// Those that take all that remains.
    rest: Vec<End>,
}

/// A route that ends at a node.
type End = (Method, usize);

enum Segment<'t> {
    Literal(&'t str),
    Param(&'t str),
    Rest(&'t str),
}

fn segments(template: &str) -> impl Iterator<Item = Segment<'_>> {
    let segments = template.strip_prefix('/').unwrap_or(template).split('/');
    segments.map(|segment| {
        match segment
            .strip_prefix('{')
            .and_then(|inner| inner.strip_suffix('}'))
        {
            None => Segment::Literal(segment),
            Some(name) => name
                .strip_prefix('*')
                .map_or(Segment::Param(name), Segment::Rest),
        }
    })
}

/// The names in a template, in the order of the path.
pub(super) fn names(template: &str) -> impl Iterator<Item = &str> {
    segments(template).filter_map(|segment| match segment {
        Segment::Literal(_) => None,
        Segment::Param(name) | Segment::Rest(name) => Some(name),
    })
}

impl Node {
    pub(super) fn insert(
        &mut self,
        template: &str,
        method: &Method,
        number: usize,
    ) -> Result<(), &'static str> {
        if !template.starts_with('/') {
            return Err("a template begins with a slash");
        }
        let mut node = self;
        let mut rest = false;
        for segment in segments(template) {
            if rest {
                return Err("nothing can follow a rest");
            }
            match segment {
                Segment::Literal(text) => node = node.literal.entry(text.to_owned()).or_default(),
                Segment::Param(_) => node = node.param.get_or_insert_default(),
                Segment::Rest(_) => rest = true,
            }
        }
        let ends = if rest { &mut node.rest } else { &mut node.ends };
        if ends.iter().any(|(other, _)| other == method) {
            return Err("there is such a route already");
        }
        ends.push((method.clone(), number));
        Ok(())
    }

    /// The routes for `path`, and the decoded values of their names.
    pub(super) fn find(&self, path: &str) -> Option<(&[End], Vec<String>)> {
        let mut values = Vec::new();
        let ends = self.descend(Some(path.strip_prefix('/')?), &mut values)?;
        let values = values
            .into_iter()
            .map(percent_decode)
            .collect::<Option<_>>()?;
        Some((ends, values))
    }

    /// A literal goes before a parameter, and that before a rest; where the first choice leads
    /// nowhere, the next is tried. `path` is what remains behind a slash, none at the end.
    fn descend<'n, 'p>(
        &'n self,
        path: Option<&'p str>,
        values: &mut Vec<&'p str>,
    ) -> Option<&'n [End]> {
        let Some(path) = path else {
            return (!self.ends.is_empty()).then_some(self.ends.as_slice());
        };
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        if let Some(found) = self
            .literal
            .get(segment)
            .and_then(|node| node.descend(below, values))
        {
            return Some(found);
        }
        if let Some(node) = &self.param
            && !segment.is_empty()
        {
            let depth = values.len();
            values.push(segment);
            if let Some(found) = node.descend(below, values) {
                return Some(found);
            }
            values.truncate(depth);
        }
        if self.rest.is_empty() || path.is_empty() {
            return None;
        }
        values.push(path);
        Some(&self.rest)
    }
}

/// None when it is not the encoding of UTF-8 text.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let high = char::from(digits[0]).to_digit(16)?;
            let low = char::from(digits[1]).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
