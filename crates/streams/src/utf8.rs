//! Text in chunks, without tearing a character in two.

use bytes::{Bytes, BytesMut};

/// How much of `bytes` can be passed on: all of it, less a character that has begun at the very
/// end and may yet be completed. At most 3 bytes are held back; what is not UTF-8 anyway is not.
pub fn complete_len(bytes: &[u8]) -> usize {
    // A character's first byte is at most 3 before the last of an incomplete one.
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let needed = match bytes[at] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return bytes.len(),
        };
        let incomplete = needed > back && may_become_char(&bytes[at..]);
        return if incomplete { at } else { bytes.len() };
    }
    bytes.len()
}

/// Whether `begun`, a first byte and fewer continuations than it asks for, can become a character:
/// the second byte's range is narrower after some first bytes.
fn may_become_char(begun: &[u8]) -> bool {
    match begun {
        [0xE0, second, ..] => (0xA0..=0xBF).contains(second),
        [0xED, second, ..] => (0x80..=0x9F).contains(second),
        [0xF0, second, ..] => (0x90..=0xBF).contains(second),
        [0xF4, second, ..] => (0x80..=0x8F).contains(second),
        _ => true,
    }
}

/// How many bytes at the start of `bytes` are the rest of a character that began before it; 0 to 3.
pub fn leading_continuations(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take(3)
        .take_while(|byte| matches!(byte, 0x80..=0xBF))
        .count()
}

/// Cuts a stream of bytes so that each piece ends between two characters.
#[derive(Debug, Default)]
pub struct Splitter {
    held: BytesMut,
}

impl Splitter {
    /// Nothing held yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add `bytes` and take what is whole; possibly nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Bytes {
        self.held.extend_from_slice(bytes);
        let whole = complete_len(&self.held);
        self.held.split_to(whole).freeze()
    }

    /// Take what is left at the end, whole or not; at most 3 bytes.
    pub fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    /// Bytes held back; at most 3.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_cut_anywhere_stays_text(text in "\\PC{0,40}", cuts in prop::collection::vec(0usize..160, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut splitter = Splitter::new();
            let mut joined = String::new();
            for pair in cuts.windows(2) {
                let piece = splitter.push(&bytes[pair[0]..pair[1]]);
                joined.push_str(std::str::from_utf8(&piece).expect("each piece is text"));
            }
            prop_assert_eq!(splitter.finish().len(), 0);
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn any_bytes_pass_unchanged_and_little_is_held(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10)) {
            let mut splitter = Splitter::new();
            let mut out = Vec::new();
            for chunk in &chunks {
                out.extend_from_slice(&splitter.push(chunk));
                prop_assert!(splitter.held() <= 3);
            }
            out.extend_from_slice(&splitter.finish());
            prop_assert_eq!(out, chunks.concat());
        }

        #[test]
        fn agrees_with_the_standard_library(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            // The library says where an error is and whether more bytes could mend it.
            let mut rest = bytes.as_slice();
            let mut expected = bytes.len();
            while let Err(error) = std::str::from_utf8(rest) {
                match error.error_len() {
                    None => {
                        expected = bytes.len() - (rest.len() - error.valid_up_to());
                        break;
                    }
                    Some(length) => rest = &rest[error.valid_up_to() + length..],
                }
            }
            prop_assert_eq!(complete_len(&bytes), expected);
        }
    }

    #[test]
    fn counts_what_belongs_to_the_character_before() {
        assert_eq!(leading_continuations("é".as_bytes()), 0);
        assert_eq!(leading_continuations(&"é!".as_bytes()[1..]), 1);
        assert_eq!(leading_continuations(&"🦀".as_bytes()[1..]), 3);
        assert_eq!(leading_continuations(&[0x80; 9]), 3);
    }
}
