//! `sbatch`'s own rules for `#SBATCH` lines: where it stops, and how it splits words.
//!
//! The rules are older than any shell's: a backslash takes the next character as it is, also
//! inside single quotes; `#` begins a comment inside a word; a word that is nothing but quotes
//! ends the line.

use std::fmt;

/// Why a line cannot be split into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineProblem {
    /// A quote is not closed.
    OpenQuote(char),
    /// A word begins with a colon.
    Colon,
    /// A backslash before a space, outside quotes: releases up to 23.11 end the word there,
    /// later ones do not.
    EscapedSpace,
    /// A newline, carriage return or NUL.
    ControlCharacter,
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenQuote(quote) => write!(f, "a {quote} is not closed; close it or escape it with a backslash"),
            Self::Colon => f.write_str("a word begins with a colon; leave it out or quote it"),
            Self::EscapedSpace => f.write_str("a backslash before a space means different things to different releases; use quotes"),
            Self::ControlCharacter => f.write_str("it holds a line break or NUL; write one option a line"),
        }
    }
}

/// What was found in a script.
pub(super) struct Scan {
    /// Words with their lines, by component of a heterogeneous job.
    pub(super) components: Vec<Vec<(u32, String)>>,
    /// Lines that cannot be split: number, beginning, problem.
    pub(super) broken: Vec<(u32, String, LineProblem)>,
    /// Lines of other schedulers that `sbatch` translates.
    pub(super) foreign: Vec<u32>,
}

/// `isspace` of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

pub(super) fn scan(text: &[u8]) -> Scan {
    let mut scan = Scan {
        components: vec![Vec::new()],
        broken: Vec::new(),
        foreign: Vec::new(),
    };
    let mut reading = true;
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        // These are looked for in the whole script.
        if line.starts_with(b"#PBS") || line.starts_with(b"#BSUB") {
            scan.foreign.push(number);
        }
        if !reading {
            continue;
        }
        let Some(rest) = line
            .strip_prefix(b"#SBATCH")
            .or_else(|| line.strip_prefix(b"#SLURM"))
        else {
            reading = line
                .iter()
                .find(|byte| !is_space(**byte))
                .is_none_or(|byte| *byte == b'#');
            continue;
        };
        let rest = &rest[rest.iter().take_while(|byte| is_space(**byte)).count()..];
        if separator_length(rest).is_some() {
            scan.components.push(Vec::new());
        }
        match split_line(rest) {
            Ok(words) => {
                if let Some(component) = scan.components.last_mut() {
                    component.extend(words.into_iter().map(|word| (number, word)));
                }
            }
            Err(problem) => {
                let beginning: String = String::from_utf8_lossy(line)
                    .chars()
                    .take(100)
                    .filter(|c| !c.is_control())
                    .collect();
                scan.broken.push((number, beginning, problem));
            }
        }
    }
    scan
}

/// The length of `hetjob` or `packjob`, when the text begins with that word.
fn separator_length(text: &[u8]) -> Option<usize> {
    [&b"packjob"[..], b"hetjob"]
        .iter()
        .find(|word| {
            text.len() >= word.len()
                && text[..word.len()].eq_ignore_ascii_case(word)
                && text.get(word.len()).is_none_or(|byte| is_space(*byte))
        })
        .map(|word| word.len())
}

/// Splits what follows `#SBATCH` on a line into words, as `sbatch` does. Bytes that are no UTF-8
/// are replaced.
pub fn split_line(line: &[u8]) -> Result<Vec<String>, LineProblem> {
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        // sbatch blanks the separator out and reads no further on that line.
        if separator_length(&line[at..]).is_some() {
            return Ok(words);
        }
        if line.get(at) == Some(&b':') {
            return Err(LineProblem::Colon);
        }
        match word(line, &mut at)? {
            Some(word) => words.push(String::from_utf8_lossy(&word).into_owned()),
            None => return Ok(words),
        }
    }
}

fn word(line: &[u8], at: &mut usize) -> Result<Option<Vec<u8>>, LineProblem> {
    let mut word = Vec::new();
    let mut quote: Option<u8> = None;
    while let Some(&byte) = line.get(*at) {
        if quote.is_none() && is_space(byte) {
            break;
        }
        *at += 1;
        match (byte, quote) {
            (b'\\', _) => match line.get(*at) {
                Some(next) if quote.is_none() && is_space(*next) => {
                    return Err(LineProblem::EscapedSpace);
                }
                Some(next) => {
                    word.push(*next);
                    *at += 1;
                }
                None => break,
            },
            (_, Some(open)) if byte == open => quote = None,
            (b'"' | b'\'', None) => quote = Some(byte),
            (b'#', None) => {
                *at -= 1;
                break;
            }
            _ => word.push(byte),
        }
    }
    match quote {
        Some(open) => Err(LineProblem::OpenQuote(char::from(open))),
        None if word.is_empty() => Ok(None),
        None => Ok(Some(word)),
    }
}
