//! What a server is known by before it can be trusted: the SHA-256 of its
//! certificate's public key.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const PREFIX: &str = "sha256:";

/// The SHA-256 of a certificate's public key (its `SubjectPublicKeyInfo`):
/// `sha256:` and 64 hexadecimal digits. A certificate that is renewed for the
/// same key keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// The text is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinError;

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pin is sha256: and 64 hexadecimal digits")
    }
}

impl std::error::Error for PinError {}

impl Pin {
    /// Of this digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let digits = text.strip_prefix(PREFIX).ok_or(PinError)?;
        let bytes = hex::decode(digits).ok_or(PinError)?;
        bytes.try_into().map(Self).map_err(|_| PinError)
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Bytes as hexadecimal digits: keys and signatures in JSON.
pub mod hex {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    /// Two lower-case digits for each byte.
    pub fn encode(bytes: &[u8]) -> String {
        let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
        bytes
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
            .collect()
    }

    /// The bytes; none for what is not pairs of digits.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let text = text.as_bytes();
        let value = |digit: u8| char::from(digit).to_digit(16);
        if !text.len().is_multiple_of(2) {
            return None;
        }
        text.chunks_exact(2)
            .map(|pair| u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_come_back_and_others_are_refused() {
        let text = format!("sha256:{}", "0aF9".repeat(16));
        let pin: Pin = text.parse().expect("a pin");
        assert_eq!(pin.to_string(), text.to_lowercase());
        let long = format!("{text}00");
        for bad in ["", "sha256:", "sha1:00", &text[..70], &long, "sha256:zz"] {
            assert_eq!(bad.parse::<Pin>(), Err(PinError), "{bad}");
        }
        assert_eq!(hex::decode("é0"), None);
    }
}
