//! What to do with each item of a followed log, so that what is printed is the
//! file: no byte twice, none missing, whatever the connection did in between.

use std::ops::Range;

use forebay_wire::api::LogItem;

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Print this text.
    Print(String),
    /// Read these bytes of the file and print them.
    Fetch(Range<u64>),
    /// All was printed.
    Done,
}

/// How far a log was printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(u64);

// === impl Position ===

impl Position {
    /// Begins at an offset in the file.
    pub fn at(offset: u64) -> Self {
        Self(offset)
    }

    /// Where the next byte to print lies.
    pub fn offset(self) -> u64 {
        self.0
    }

    /// What to do on an item, in order; afterwards the position is behind it.
    ///
    /// The text of an item stands for its bytes only if it has as many and none
    /// was replaced; else the bytes are read from the file, as are gaps.
    pub fn advance(&mut self, item: LogItem) -> Vec<Step> {
        match item {
            LogItem::Text { offset, next, text } => {
                if next <= self.0 {
                    return Vec::new();
                }
                let exact = offset == self.0
                    && next - offset == text.len() as u64
                    && !text.contains('\u{fffd}');
                let step = if exact {
                    Step::Print(text)
                } else {
                    Step::Fetch(self.0..next)
                };
                self.0 = next;
                vec![step]
            }
            LogItem::Skipped { next, .. } => self.fill(next),
            LogItem::End { offset } => {
                let mut steps = self.fill(offset);
                steps.push(Step::Done);
                steps
            }
        }
    }

    fn fill(&mut self, to: u64) -> Vec<Step> {
        if to <= self.0 {
            return Vec::new();
        }
        let gap = self.0..to;
        self.0 = to;
        vec![Step::Fetch(gap)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a server might send: pieces of the file from anywhere on, each as
    /// text or as a gap, and after a cut again from anywhere up to the position.
    fn item(file: &[u8], from: usize, length: usize, skip: bool) -> LogItem {
        let to = (from + length).min(file.len());
        let (offset, next) = (from as u64, to as u64);
        if skip {
            return LogItem::Skipped { offset, next };
        }
        LogItem::Text {
            offset,
            next,
            text: String::from_utf8_lossy(&file[from..to]).into_owned(),
        }
    }

    fn bytes(file: &[u8], range: &Range<u64>) -> Vec<u8> {
        let at = |offset: u64| usize::try_from(offset).expect("small");
        file[at(range.start)..at(range.end)].to_vec()
    }

    proptest! {
        #[test]
        fn what_is_printed_is_the_file(
            file in prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)],
            sends in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..40, any::<bool>()), 0..30),
        ) {
            let mut printed = Vec::new();
            let mut position = Position::default();
            let items = sends.iter().map(|(from, length, skip)| {
                item(&file, from.index(file.len() + 1), *length, *skip)
            });
            let end = LogItem::End { offset: file.len() as u64 };
            let mut done = false;
            for item in items.chain([end]) {
                for step in position.advance(item) {
                    match step {
                        Step::Print(text) => printed.extend(text.into_bytes()),
                        Step::Fetch(range) => printed.extend(bytes(&file, &range)),
                        Step::Done => done = true,
                    }
                }
            }
            prop_assert!(done);
            prop_assert_eq!(printed, file);
        }
    }

    #[test]
    fn whole_text_is_printed_without_reading_the_file() {
        let mut position = Position::default();
        let text = |offset, next, text: &str| LogItem::Text {
            offset,
            next,
            text: text.to_owned(),
        };
        assert_eq!(
            position.advance(text(0, 3, "é\n")),
            [Step::Print("é\n".to_owned())]
        );
        assert_eq!(position.advance(text(0, 3, "é\n")), []);
        assert_eq!(
            position.advance(text(3, 4, "\u{fffd}")),
            [Step::Fetch(3..4)]
        );
        assert_eq!(position.advance(text(6, 7, "x")), [Step::Fetch(4..7)]);
        assert_eq!(
            position.advance(LogItem::Skipped { offset: 7, next: 9 }),
            [Step::Fetch(7..9)]
        );
        assert_eq!(position.advance(LogItem::End { offset: 9 }), [Step::Done]);
    }
}
