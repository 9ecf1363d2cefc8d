//! Server-sent events, as far as the API uses them: a pure reader.

use thiserror::Error;

/// The longest line or event that is read. The server's are far shorter.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// An event larger than any the API sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("an event is larger than {BYTES_MAX} bytes")]
pub struct TooLarge;

/// Puts events together from the pieces a connection delivers.
#[derive(Debug, Default)]
pub struct Reader {
    /// What has come of the line under way.
    line: Vec<u8>,
    /// The event's data so far.
    data: Option<String>,
    /// Whether the last byte was a CR, whose LF may follow in the next piece.
    after_cr: bool,
}

impl Reader {
    /// Takes a piece in; answers the data of the events that it completes.
    ///
    /// ```
    /// let mut reader = forebay::api::sse::Reader::default();
    /// assert!(reader.push(b"id: 1\ndata: {\"a\"")?.is_empty());
    /// assert_eq!(reader.push(b":1}\n\n: beat\n\n")?, ["{\"a\":1}"]);
    /// # Ok::<(), forebay::api::sse::TooLarge>(())
    /// ```
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut events = Vec::new();
        for byte in piece {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => events.extend(self.end_line()?),
                other if self.line.len() < BYTES_MAX => self.line.push(*other),
                _ => return Err(TooLarge),
            }
        }
        Ok(events)
    }

    /// Takes a whole line in; an empty one completes the event.
    fn end_line(&mut self) -> Result<Option<String>, TooLarge> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(self.data.take());
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        // Comments, ids and names are of no use here: the data says it all.
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) if data.len() + value.len() > BYTES_MAX => return Err(TooLarge),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_may_be_cut_anywhere(
            events in proptest::collection::vec("[^\r\n]{0,20}(\n[^\r\n]{0,20}){0,2}", 0..5),
            end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut stream = String::new();
            for event in &events {
                for line in event.split('\n') {
                    let _ = write!(stream, "data: {line}{end}");
                }
                let _ = write!(stream, "id: 7{end}: beat{end}{end}");
            }
            let bytes = stream.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let mut reader = Reader::default();
            let mut read = Vec::new();
            for pair in at.windows(2) {
                read.extend(reader.push(&bytes[pair[0]..pair[1]]).expect("small"));
            }
            prop_assert_eq!(read, events);
        }

        #[test]
        fn anything_is_read_without_a_panic(piece in any::<Vec<u8>>()) {
            let _ = Reader::default().push(&piece);
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        let mut reader = Reader::default();
        assert_eq!(reader.push(&vec![b'a'; BYTES_MAX + 1]), Err(TooLarge));
        let mut reader = Reader::default();
        let line = format!("data: {}\n", "a".repeat(BYTES_MAX / 2));
        let mut last = Ok(Vec::new());
        for _ in 0..3 {
            last = reader.push(line.as_bytes());
        }
        assert_eq!(last, Err(TooLarge));
    }
}
