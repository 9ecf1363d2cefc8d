//! The query string, decoded into a struct.
//!
//! A deserializer of our own, because an unknown key must be refused for every type and a list may
//! be given as `state=running&state=pending` or `state=running,pending`.

use crate::request::bounded;
use forebay_wire::{Code, Problem};
use serde::{
    de::{
        self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _,
        IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use std::{collections::BTreeMap, fmt, str::FromStr, vec};

/// More pairs than this are refused unread.
const PAIRS_MAX: usize = 256;

pub(crate) fn decode<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    for (count, pair) in pairs.enumerate() {
        if count >= PAIRS_MAX {
            return Err(Problem::new(
                Code::Malformed,
                "The query has too many parameters.",
            ));
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (form_decode(key), form_decode(value)) else {
            return Err(Problem::new(
                Code::Malformed,
                "The query is not percent-encoded UTF-8.",
            ));
        };
        keys.entry(key).or_default().push(value);
    }
    T::deserialize(Query(keys)).map_err(|error| {
        let message = bounded(&error.message);
        let problem = Problem::new(
            Code::Malformed,
            format!("The query is not valid: {message}"),
        );
        match error.key {
            Some(key) => problem.with_detail(bounded(&key), message),
            None => problem,
        }
    })
}

/// `a+b%20c` to `a b c`.
fn form_decode(text: &str) -> Option<String> {
    crate::routes::percent_decode(&text.replace('+', " "))
}

#[derive(Debug)]
struct Error {
    key: Option<String>,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self {
            key: None,
            message: message.to_string(),
        }
    }
}

/// The whole query: a map.
struct Query(BTreeMap<String, Vec<String>>);

impl<'de> Deserializer<'de> for Query {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Pairs {
            left: self.0.into_iter(),
            value: None,
        })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.into_keys().next() {
            None => visitor.visit_unit(),
            Some(key) => Err(unknown(key)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

fn unknown(key: String) -> Error {
    Error {
        message: format!("unknown parameter `{key}`"),
        key: Some(key),
    }
}

struct Pairs {
    left: std::collections::btree_map::IntoIter<String, Vec<String>>,
    value: Option<(String, Vec<String>)>,
}

impl<'de> MapAccess<'de> for Pairs {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, values)) = self.left.next() else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        // A struct that denies unknown fields says so here, and lists the known ones.
        let seeded = seed.deserialize(name).map_err(|error| at(&key, error))?;
        self.value = Some((key, values));
        Ok(Some(seeded))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, values) = self
            .value
            .take()
            .ok_or_else(|| Error::custom("a value before its key"))?;
        let value = Values { key: &key, values };
        seed.deserialize(value).map_err(|error| at(&key, error))
    }
}

fn at(key: &str, error: Error) -> Error {
    Error {
        key: Some(key.to_owned()),
        ..error
    }
}

/// What was given for one key, once or several times.
struct Values<'k> {
    key: &'k str,
    values: Vec<String>,
}

impl Values<'_> {
    fn one(mut self) -> Result<String, Error> {
        match (self.values.pop(), self.values.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(Error::custom(format!(
                "`{}` is given more than once",
                self.key
            ))),
        }
    }

    fn parse<T: FromStr>(self, what: &str) -> Result<T, Error> {
        let value = self.one()?;
        value
            .parse()
            .map_err(|_| Error::custom(format!("expected {what}, got `{value}`")))
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $what:literal)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.parse($what)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Values<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.one()?)
    }

    parsed! {
        deserialize_bool visit_bool "true or false"
        deserialize_i8 visit_i8 "a whole number"
        deserialize_i16 visit_i16 "a whole number"
        deserialize_i32 visit_i32 "a whole number"
        deserialize_i64 visit_i64 "a whole number"
        deserialize_u8 visit_u8 "a number from 0 to 255"
        deserialize_u16 visit_u16 "a number from 0 to 65535"
        deserialize_u32 visit_u32 "a number from 0 to 4294967295"
        deserialize_u64 visit_u64 "a number, not negative"
        deserialize_f32 visit_f32 "a number"
        deserialize_f64 visit_f64 "a number"
        deserialize_char visit_char "one character"
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items: Vec<String> = self
            .values
            .iter()
            .flat_map(|value| value.split(','))
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect();
        visitor.visit_seq(Items {
            key: self.key,
            left: items.into_iter(),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(Variant(self.one()?))
    }

    /// What derived code asks for when it has no field of that name.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(unknown(self.key.to_owned()))
    }

    forward_to_deserialize_any! {
        i128 u128 str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
    }
}

struct Items<'k> {
    key: &'k str,
    left: vec::IntoIter<String>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.left.next() else {
            return Ok(None);
        };
        seed.deserialize(Values {
            key: self.key,
            values: vec![item],
        })
        .map(Some)
    }
}

/// A variant without fields, by its name.
struct Variant(String);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Error;
    type Variant = Unit;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Unit), Error> {
        let name: StrDeserializer<'_, Error> = self.0.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, Unit))
    }
}

struct Unit;

impl<'de> VariantAccess<'de> for Unit {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Error> {
        Err(Error::custom("not a plain name"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a plain name"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        Err(Error::custom("not a plain name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum State {
        #[default]
        Running,
        Pending,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Cluster(String);

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct List {
        limit: Option<u16>,
        state: Vec<State>,
        cluster: Option<Cluster>,
        mine: bool,
        q: String,
    }

    #[test]
    fn decodes_scalars_options_and_lists() {
        let list: List = decode(
            "limit=50&state=running,pending&state=running&cluster=a%2Fb&mine=true&q=x+y%26z",
        )
        .unwrap();
        let expected = List {
            limit: Some(50),
            state: vec![State::Running, State::Pending, State::Running],
            cluster: Some(Cluster("a/b".to_owned())),
            mine: true,
            q: "x y&z".to_owned(),
        };
        assert_eq!(list, expected);
        assert_eq!(decode::<List>("").unwrap(), List::default());
        assert_eq!(decode::<List>("&&state=").unwrap(), List::default());
        decode::<()>("").unwrap();
    }

    #[test]
    fn names_the_parameter_at_fault() {
        let fault = |query: &str| {
            let problem = decode::<List>(query).unwrap_err();
            assert_eq!(problem.code, Code::Malformed);
            let field = problem
                .details
                .first()
                .map_or("-", |detail| detail.field.as_str());
            format!("{field}: {}", problem.message)
        };
        assert_eq!(
            fault("limt=5"),
            "limt: The query is not valid: unknown parameter `limt`"
        );
        assert_eq!(
            fault("limit=-1"),
            "limit: The query is not valid: expected a number from 0 to 65535, got `-1`"
        );
        assert_eq!(
            fault("limit=1&limit=2"),
            "limit: The query is not valid: `limit` is given more than once"
        );
        assert_eq!(
            fault("state=lost"),
            "state: The query is not valid: unknown variant `lost`, expected `running` or `pending`"
        );
        assert_eq!(fault("q=%ff"), "-: The query is not percent-encoded UTF-8.");
        assert_eq!(
            fault(&"a=1&".repeat(300)),
            "-: The query has too many parameters."
        );
        assert!(fault(&format!("mine={}", "x".repeat(9000))).len() < 1000);
        assert!(
            decode::<()>("a=1")
                .unwrap_err()
                .message
                .contains("unknown parameter `a`")
        );
    }
}
