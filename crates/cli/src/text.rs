//! Other people's text on our terminal: made harmless, measured, cut to fit.

use std::{borrow::Cow, fmt::Write as _};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character could move the cursor, change the terminal or turn the
/// direction of what follows.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text with every character that acts on a terminal shown as an escape:
/// `\n`, `\x1b`, `\u{202e}`. What is left prints as it reads.
///
/// ```
/// assert_eq!(forebay::text::plain("a\u{1b}[2Jb"), "a\\x1b[2Jb");
/// ```
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Writing to a String cannot fail.
            c if acts(c) && c.is_ascii() => _ = write!(shown, "\\x{:02x}", u32::from(c)),
            c if acts(c) => _ = write!(shown, "\\u{{{:x}}}", u32::from(c)),
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// JSON text in which characters that act on a terminal are written as JSON's
/// own escapes. The document means the same: such characters occur only inside
/// strings, and JSON's writer has already escaped those below U+0020.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    let stands_out = |c: char| acts(c) && !matches!(c, '\n');
    if !json.contains(stands_out) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if stands_out(c) {
            // All of them lie below U+FFFF: one escape, no surrogates.
            _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// How many cells of a terminal the text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to at most `cells`, with `…` where something is missing.
pub fn cut(text: &str, cells: usize) -> Cow<'_, str> {
    if width(text) <= cells {
        return Cow::Borrowed(text);
    }
    let mut taken = 0;
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let next = taken + c.width().unwrap_or(0);
        // One cell is kept for the mark.
        if next + 1 > cells {
            break;
        }
        taken = next;
        end = at + c.len_utf8();
    }
    if cells == 0 {
        return Cow::Borrowed("");
    }
    let mut kept = text[..end].to_owned();
    // Characters that join with their neighbours can be wider than their sum.
    while width(&kept) + 1 > cells && kept.pop().is_some() {}
    kept.push('…');
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>()) {
            prop_assert!(!plain(&text).contains(acts));
        }

        #[test]
        fn json_means_the_same(text in any::<String>()) {
            let json = serde_json::to_string(&text).expect("a string is JSON");
            let shown = plain_json(&json);
            prop_assert!(!shown.contains(acts));
            let back: String = serde_json::from_str(&shown).expect("still JSON");
            prop_assert_eq!(back, text);
        }

        #[test]
        fn a_cut_fits(text in "\\PC{0,40}", cells in 0_usize..30) {
            prop_assert!(width(&cut(&text, cells)) <= cells);
        }
    }

    #[test]
    fn escapes_read_like_source() {
        assert_eq!(
            plain("a\nb\t\u{7}\u{9b}\u{202e}"),
            "a\\nb\\t\\x07\\u{9b}\\u{202e}"
        );
        assert_eq!(cut("simulation", 5), "simu…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("fits", 4), "fits");
    }
}
