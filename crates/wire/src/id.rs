//! Typed ids: a letter that names the kind and the 26 Crockford base-32
//! characters of a `UUIDv7`. Lower case, so an id is also one DNS label.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// Crockford's alphabet: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in groups of 5.
const LENGTH: usize = 26;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// The text does not begin with this kind's letter.
    Kind {
        /// The letter that was expected.
        expected: char,
    },
    /// The text has not 27 characters.
    Length,
    /// A character outside Crockford's lower-case alphabet, or a value over 128 bits.
    Digits,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { expected } => write!(f, "an id of this kind begins with `{expected}`"),
            Self::Length => write!(f, "an id has {} characters", LENGTH + 1),
            Self::Digits => f.write_str("an id is made of 0-9 and a-z without i, l, o and u"),
        }
    }
}

impl std::error::Error for IdError {}

fn encode(kind: char, uuid: Uuid) -> String {
    let value = uuid.as_u128();
    let mut text = String::with_capacity(LENGTH + 1);
    text.push(kind);
    for position in (0..LENGTH).rev() {
        let digit = (value >> (5 * position)) & 31;
        text.push(char::from(ALPHABET[digit as usize]));
    }
    text
}

fn decode(kind: char, text: &str) -> Result<Uuid, IdError> {
    let Some(digits) = text.strip_prefix(kind) else {
        return Err(IdError::Kind { expected: kind });
    };
    if digits.len() != LENGTH {
        return Err(IdError::Length);
    }
    let mut value: u128 = 0;
    for (index, byte) in digits.bytes().enumerate() {
        let digit = ALPHABET
            .iter()
            .position(|c| *c == byte)
            .ok_or(IdError::Digits)?;
        // 26 digits hold 130 bits: the first may use three of its five.
        if index == 0 && digit > 7 {
            return Err(IdError::Digits);
        }
        value = (value << 5) | digit as u128;
    }
    Ok(Uuid::from_u128(value))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        pub struct $name(Uuid);

        impl $name {
            /// A new id; later ones sort after earlier ones.
            #[expect(clippy::new_without_default, reason = "a default that differs each time misleads")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id of a row.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// What the database stores.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&encode($kind, self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                decode($kind, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// A job: `j` and 26 characters.
    JobId, 'j'
);
id!(
    /// A user of this installation: `u` and 26 characters.
    UserId, 'u'
);
id!(
    /// An API token's public part: `k` and 26 characters.
    TokenId, 'k'
);
id!(
    /// The key that a site enrolled: `e` and 26 characters.
    KeyId, 'e'
);
id!(
    /// An announcement: `n` and 26 characters.
    AnnouncementId, 'n'
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_uuid_comes_back(value: u128) {
            let id = JobId::from_uuid(Uuid::from_u128(value));
            prop_assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        }

        #[test]
        fn text_order_is_id_order(a: u128, b: u128) {
            let (a, b) = (Uuid::from_u128(a), Uuid::from_u128(b));
            prop_assert_eq!(a.cmp(&b), encode('j', a).cmp(&encode('j', b)));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<JobId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }

    #[test]
    fn refusals_name_the_cause() {
        assert_eq!("u0".parse::<JobId>(), Err(IdError::Kind { expected: 'j' }));
        assert_eq!("j0".parse::<JobId>(), Err(IdError::Length));
        let over = format!("j8{}", "0".repeat(25));
        assert_eq!(over.parse::<JobId>(), Err(IdError::Digits));
        let upper = format!("j{}", "A".repeat(26));
        assert_eq!(upper.parse::<JobId>(), Err(IdError::Digits));
    }
}
