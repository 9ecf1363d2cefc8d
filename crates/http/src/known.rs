//! Which fields of some JSON a type does not know.
//!
//! Refusing unknown fields is the business of whoever takes a request, and not of the type: the
//! same type is also part of answers, which an older program must be able to read.

use serde::{Deserialize, Deserializer};
use serde_ignored::Path;
use std::fmt::Write as _;

/// So many are told; more help nobody, and a body could hold a million.
const TOLD_MAX: usize = 20;

/// Read a `T`, and tell the paths of fields that it does not have, such as `spec.resources.cores`:
/// the first twenty.
///
/// Fields of a type that is flattened into another are not seen, nor are those of a variant of an
/// enum whose tag is a field: serde copies such values before the type sees them.
pub fn read_noting_unknown<'de, T, D>(json: D) -> Result<(T, Vec<String>), D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let mut unknown = Vec::new();
    let value = serde_ignored::deserialize(json, |path| {
        if unknown.len() < TOLD_MAX {
            unknown.push(written(&path));
        }
    })?;
    Ok((value, unknown))
}

/// As [`Problem`](crate::Problem) names fields: `spec.command[0]`.
fn written(path: &Path<'_>) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => {
            let mut path = written(parent);
            // Writing to a String cannot fail.
            _ = write!(path, "[{index}]");
            path
        }
        Path::Map { parent, key } => match written(parent) {
            path if path.is_empty() => key.clone(),
            path => format!("{path}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => written(parent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Outer {
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        a: u32,
    }

    fn unknown(json: &serde_json::Value) -> Vec<String> {
        let (outer, unknown) = read_noting_unknown::<Outer, _>(json).expect("an Outer");
        let known = outer.inner.iter().chain(&outer.list);
        assert!(known.into_iter().all(|inner| inner.a == 1));
        unknown
    }

    #[test]
    fn paths_are_written_as_problems_write_them() {
        let known = serde_json::json!({"inner": {"a": 1}, "list": [{"a": 1}]});
        assert!(unknown(&known).is_empty());
        let more = serde_json::json!({
            "x": {"deep": [1]}, "inner": {"a": 1, "b": null}, "list": [{"a": 1}, {"a": 1, "c": "d"}],
        });
        assert_eq!(unknown(&more), ["inner.b", "list[1].c", "x"]);
    }

    #[test]
    fn no_more_are_kept_than_are_told() {
        let many: serde_json::Map<_, _> = (0..10_000)
            .map(|number| (format!("x{number}"), serde_json::Value::Null))
            .collect();
        assert_eq!(unknown(&many.into()).len(), TOLD_MAX);
    }
}
