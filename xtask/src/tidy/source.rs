//! A Rust file, split into code, strings and commentary.
//!
//! No parser: rules that look for a word need to know only whether it stands in
//! code, in a string or in a comment, and whether that code is for tests alone.

use std::ops::RangeInclusive;

/// One file.
pub(crate) struct Source {
    /// Below the root of the workspace.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The file with comments and the contents of strings blanked; same lines.
    pub(crate) code: String,
    /// String literals: the line each begins in, and what it says, escapes as written.
    pub(crate) strings: Vec<(usize, String)>,
    /// Lines of items under `#[cfg(test)]` or `#[test]`.
    tests: Vec<RangeInclusive<usize>>,
    /// Whether the whole file is for tests.
    test_file: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut lexer = Lexer {
            rest: text,
            line: 1,
            code: String::new(),
            strings: Vec::new(),
        };
        lexer.run();
        let Lexer { code, strings, .. } = lexer;
        let tests = test_items(&code);
        let test_file = path
            .split('/')
            .any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
            || path.ends_with("_tests.rs");
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            strings,
            tests,
            test_file,
        }
    }

    /// Whether this line is compiled for tests only.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.test_file || self.tests.iter().any(|lines| lines.contains(&line))
    }

    /// Lines of code outside tests that contain `word`.
    pub(crate) fn lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let lines = (1..).zip(self.code.lines());
        lines
            .filter(move |(at, line)| line.contains(word) && !self.is_test(*at))
            .map(|(at, _)| at)
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    code: String,
    strings: Vec<(usize, String)>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) {
        while let Some(next) = self.rest.chars().next() {
            let rest = self.rest;
            if rest.starts_with("//") {
                let end = rest.find('\n').unwrap_or(rest.len());
                self.blank(end);
            } else if rest.starts_with("/*") {
                self.blank(block_comment(rest));
            } else if let Some((open, hashes)) = raw_string(rest).filter(|_| !self.in_word()) {
                self.keep(open);
                let close = format!("\"{}", "#".repeat(hashes));
                let end = self.rest.find(&close).unwrap_or(self.rest.len());
                self.string(end);
                self.keep(close.len().min(self.rest.len()));
            } else if next == '"' {
                self.keep(1);
                self.string(quoted(self.rest));
                self.keep(usize::from(!self.rest.is_empty()));
            } else if next == '\'' {
                let end = char_literal(rest);
                self.keep(1);
                self.blank(end.saturating_sub(1));
            } else {
                self.keep(next.len_utf8());
            }
        }
    }

    /// Whether the last character of code continues into the next one as a word.
    fn in_word(&self) -> bool {
        self.code
            .ends_with(|c: char| c.is_alphanumeric() || c == '_')
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.line += taken.matches('\n').count();
        taken
    }

    fn keep(&mut self, bytes: usize) {
        let taken = self.take(bytes);
        self.code.push_str(taken);
    }

    fn blank(&mut self, bytes: usize) -> &'a str {
        let taken = self.take(bytes);
        self.code
            .extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        taken
    }

    fn string(&mut self, bytes: usize) {
        let line = self.line;
        let said = self.blank(bytes).to_owned();
        self.strings.push((line, said));
    }
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of `r##"`, `br"`, `cr"`, and how many `#` it has.
fn raw_string(text: &str) -> Option<(usize, usize)> {
    let r = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with(['"', '#']))
    })?;
    let hashes = text[r.len()..]
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let open = r.len() + hashes;
    text[open..].starts_with('"').then_some((open + 1, hashes))
}

/// Length of a string's contents, up to the closing quote.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// Length of `'x'` or `'\n'`; of a lifetime, only its quote.
fn char_literal(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    let closing = match chars.next() {
        Some((_, '\\')) => text[2..]
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == '\'')
            .map(|(at, _)| at + 2),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at),
        None => None,
    };
    closing.map_or(1, |at| at + 1)
}

/// Lines of the items that an attribute makes tests.
fn test_items(code: &str) -> Vec<RangeInclusive<usize>> {
    let mut found = Vec::new();
    for attribute in [
        "#[cfg(test)]",
        "#[cfg(any(test",
        "#[cfg(all(test",
        "#[test]",
        "#[tokio::test",
    ] {
        for (start, _) in code.match_indices(attribute) {
            let end = start + item_end(&code[start..]);
            let line = |at: usize| code[..at].matches('\n').count() + 1;
            found.push(line(start)..=line(end.saturating_sub(1).max(start)));
        }
    }
    found
}

/// Length of an attribute and the item behind it: to its `;`, or to the end of its block.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            b'[' | b'(' => brackets += 1,
            b']' | b')' => brackets = brackets.saturating_sub(1),
            b';' if depth == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r##"//! tokio::spawn in a header
use x; // SELECT in a comment
/* outer /* inner */ still tokio::spawn */
fn f<'a>(x: &'a str) -> char {
    let quote = '"'; let tick = '\''; let real = call("SELECT \"x\"");
    let raw = r#"INSERT "INTO" it"#;
    let bytes = b"bytes"; let var"#;
    tokio::spawn(real);
    '}'
}
#[cfg(test)]
mod tests {
    fn g() { tokio::spawn("DELETE"); }
}
fn after() { tokio::spawn() }
"##;

    #[test]
    fn code_is_what_is_neither_string_nor_comment() {
        let source = Source::new("crates/x/src/lib.rs", &TEXT.replace("let var\"#;", ""));
        let said: Vec<_> = source
            .strings
            .iter()
            .map(|(at, s)| (*at, s.as_str()))
            .collect();
        let expected = [
            (5, r#"SELECT \"x\""#),
            (6, r#"INSERT "INTO" it"#),
            (7, "bytes"),
            (13, "DELETE"),
        ];
        assert_eq!(said, expected);
        assert_eq!(
            source.lines_with("tokio::spawn").collect::<Vec<_>>(),
            [8, 15]
        );
        assert_eq!(source.code.lines().count(), source.text.lines().count());
        assert!(source.is_test(13) && !source.is_test(15));
    }

    #[test]
    fn a_test_function_is_a_test_and_its_neighbour_is_not() {
        let text = "#[tokio::test(flavor = \"x\")]\nasync fn a() {\n  {}\n}\nfn b() {}\n";
        let source = Source::new("crates/x/src/lib.rs", text);
        assert!((1..=4).all(|line| source.is_test(line)) && !source.is_test(5));
        let text = "#[cfg(test)]\nmod tests;\nfn b() {}\n";
        let source = Source::new("crates/x/src/lib.rs", text);
        assert!(source.is_test(2) && !source.is_test(3));
    }

    #[test]
    fn files_of_tests_are_tests() {
        let is_test = |path| Source::new(path, "fn f() {}").is_test(1);
        assert!(is_test("crates/x/tests/a.rs") && is_test("crates/x/src/y/tests.rs"));
        assert!(!is_test("crates/testbed/src/lib.rs") && !is_test("xtask/src/test/mod.rs"));
    }

    #[test]
    fn unclosed_things_end_with_the_file() {
        for text in [
            "\"abc", "r#\"abc", "/* abc", "'", "'\\", "b'", "r#", "fn 'a", "é'é",
        ] {
            let source = Source::new("x.rs", text);
            assert_eq!(source.code.chars().count(), text.chars().count(), "{text}");
        }
    }
}
