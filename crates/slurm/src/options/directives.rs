//! Reading options as `sbatch` does: long names and their prefixes, clusters of letters,
//! attached and separate values.

use std::fmt;

use super::policy::{Mode, Policy, instead_of};
use super::resolve::{Resolution, nearest, resolve_long, resolve_short};
use super::table::{Argument, OptionSpec};
use crate::script::{LineProblem, split_line};

/// One option with its value, its name written in full.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Directive {
    name: String,
    value: Option<String>,
    line: Option<u32>,
    known: Option<&'static OptionSpec>,
}

impl Directive {
    /// A directive by its long name (no prefix) and value, checked like any other.
    pub fn new(name: &str, value: Option<&str>) -> Result<Self, DirectiveError> {
        let word = match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        };
        let mut found =
            parse_words(&[word], Policy::strict()).map_err(|mut errors| errors.swap_remove(0))?;
        Ok(found.swap_remove(0))
    }

    /// The long name, without dashes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// The line of the text it came from, counted from 1.
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// The option's row in the table; `None` for one passed through unknown.
    pub fn spec(&self) -> Option<&'static OptionSpec> {
        self.known
    }

    /// One argument for `sbatch`: `--name` or `--name=value`.
    pub fn to_argument(&self) -> String {
        match &self.value {
            Some(value) => format!("--{}={value}", self.name),
            None => format!("--{}", self.name),
        }
    }
}

/// A directive that is not accepted: which, where, why, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectiveError {
    /// The line, counted from 1; `None` for options that came without lines.
    pub line: Option<u32>,
    /// The option as it was written, cut to 100 characters.
    pub written: String,
    /// What is wrong.
    pub problem: DirectiveProblem,
}

/// What is wrong with a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectiveProblem {
    /// This option (its full name) is refused.
    Forbidden {
        /// Its full name.
        option: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// No release has such an option.
    Unknown {
        /// The nearest name that exists.
        nearest: Option<&'static str>,
    },
    /// The name is the beginning of several.
    Ambiguous(Vec<&'static str>),
    /// The option needs a value.
    MissingValue(&'static str),
    /// The option takes no value.
    UnexpectedValue(&'static str),
    /// The value holds a newline or NUL.
    BadValue(&'static str),
    /// A word that is no option.
    NotAnOption,
    /// The line cannot be split into words.
    Line(LineProblem),
}

impl fmt::Display for DirectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let written = &self.written;
        match &self.problem {
            DirectiveProblem::Forbidden { option, instead } => {
                write!(f, "`{written}`: --{option} is not accepted; {instead}")
            }
            DirectiveProblem::Unknown {
                nearest: Some(nearest),
            } => {
                write!(
                    f,
                    "`{written}` is no option of sbatch; did you mean --{nearest}?"
                )
            }
            DirectiveProblem::Unknown { nearest: None } => {
                write!(f, "`{written}` is no option of sbatch")
            }
            DirectiveProblem::Ambiguous(names) => {
                write!(
                    f,
                    "`{written}` may mean --{}; write the name in full",
                    names.join(", --")
                )
            }
            DirectiveProblem::MissingValue(option) => {
                write!(
                    f,
                    "`{written}`: --{option} needs a value; write --{option}=VALUE"
                )
            }
            DirectiveProblem::UnexpectedValue(option) => {
                write!(
                    f,
                    "`{written}`: --{option} takes no value; write --{option} alone"
                )
            }
            DirectiveProblem::BadValue(option) => {
                write!(
                    f,
                    "the value of --{option} holds a newline or NUL; leave it out"
                )
            }
            DirectiveProblem::NotAnOption => {
                write!(
                    f,
                    "`{written}` is no option; options begin with a dash, values with spaces need quotes"
                )
            }
            DirectiveProblem::Line(problem) => write!(f, "`{written}`: {problem}"),
        }
    }
}

impl std::error::Error for DirectiveError {}

/// Reads lines of options, each with or without `#SBATCH` before it, with `sbatch`'s rules for
/// quotes and comments. All problems are reported, not only the first.
///
/// ```
/// use forebay_slurm::options::{Policy, parse_directives};
///
/// let found = parse_directives(&["#SBATCH -N2 --time 1:00:00", "--mem=4G"], Policy::strict())?;
/// let arguments: Vec<_> = found.iter().map(|directive| directive.to_argument()).collect();
/// assert_eq!(arguments, ["--nodes=2", "--time=1:00:00", "--mem=4G"]);
///
/// let errors = parse_directives(&["--ui=0"], Policy::strict()).unwrap_err();
/// assert!(errors[0].to_string().contains("--uid is not accepted"));
/// # Ok::<(), Vec<forebay_slurm::options::DirectiveError>>(())
/// ```
pub fn parse_directives<S: AsRef<str>>(
    lines: &[S],
    policy: Policy,
) -> Result<Vec<Directive>, Vec<DirectiveError>> {
    let mut words = Vec::new();
    let mut errors = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let text = line.as_ref();
        if let Some(bad) = text.find(['\n', '\r', '\0']) {
            errors.push(DirectiveError {
                line: Some(number),
                written: cut(text.get(..bad).unwrap_or_default()),
                problem: DirectiveProblem::Line(LineProblem::ControlCharacter),
            });
            continue;
        }
        match split_line(text.strip_prefix("#SBATCH").unwrap_or(text).as_bytes()) {
            Ok(found) => words.extend(found.into_iter().map(|word| (Some(number), word))),
            Err(problem) => errors.push(DirectiveError {
                line: Some(number),
                written: cut(text),
                problem: DirectiveProblem::Line(problem),
            }),
        }
    }
    finish(parse_located(words, policy), errors)
}

/// Reads options already split into words, as on a command line.
pub fn parse_words<S: AsRef<str>>(
    words: &[S],
    policy: Policy,
) -> Result<Vec<Directive>, Vec<DirectiveError>> {
    let words = words
        .iter()
        .map(|word| (None, word.as_ref().to_owned()))
        .collect();
    finish(parse_located(words, policy), Vec::new())
}

fn finish(
    (found, more): (Vec<Directive>, Vec<DirectiveError>),
    mut errors: Vec<DirectiveError>,
) -> Result<Vec<Directive>, Vec<DirectiveError>> {
    errors.extend(more);
    errors.sort_by_key(|error| error.line);
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(errors)
    }
}

/// Reads words that know their lines. What is right is returned beside what is wrong.
pub(crate) fn parse_located(
    words: Vec<(Option<u32>, String)>,
    policy: Policy,
) -> (Vec<Directive>, Vec<DirectiveError>) {
    let mut reader = Reader {
        policy,
        found: Vec::new(),
        errors: Vec::new(),
    };
    let mut words = words.into_iter().peekable();
    while let Some((line, word)) = words.next() {
        let at = Word { line, text: &word };
        if let Some(rest) = word.strip_prefix("--") {
            if rest.is_empty() {
                // `--` ends the options; what follows cannot be one.
                if let Some((line, next)) = words.next() {
                    reader.fail(&Word { line, text: &next }, DirectiveProblem::NotAnOption);
                }
                break;
            }
            reader.long(&at, rest, &mut words);
        } else if word.len() > 1 && word.starts_with('-') {
            reader.cluster(&at, &word[1..], &mut words);
        } else {
            // sbatch stops here as well, but naming every problem helps more.
            reader.fail(&at, DirectiveProblem::NotAnOption);
        }
    }
    (reader.found, reader.errors)
}

struct Word<'a> {
    line: Option<u32>,
    text: &'a str,
}

struct Reader {
    policy: Policy,
    found: Vec<Directive>,
    errors: Vec<DirectiveError>,
}

type Words = std::iter::Peekable<std::vec::IntoIter<(Option<u32>, String)>>;

impl Reader {
    fn fail(&mut self, at: &Word<'_>, problem: DirectiveProblem) {
        self.errors.push(DirectiveError {
            line: at.line,
            written: cut(at.text),
            problem,
        });
    }

    fn long(&mut self, at: &Word<'_>, rest: &str, words: &mut Words) {
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (rest, None),
        };
        // Whatever the release, a name that may mean a refused option is refused.
        if let Resolution::Option(spec) = resolve_long(name, None)
            && let Some(instead) = instead_of(spec.long)
        {
            // A separate value must not be taken for a word that is no option.
            if value.is_none() && spec.argument == Argument::Required {
                words.next();
            }
            return self.fail(
                at,
                DirectiveProblem::Forbidden {
                    option: spec.long,
                    instead,
                },
            );
        }
        match resolve_long(name, self.policy.release) {
            Resolution::Option(spec) => match instead_of(spec.long) {
                Some(instead) => self.fail(
                    at,
                    DirectiveProblem::Forbidden {
                        option: spec.long,
                        instead,
                    },
                ),
                None => self.value(at, spec, value, words),
            },
            Resolution::Ambiguous(names)
                if self.policy.mode == Mode::Strict
                    || names.iter().any(|name| instead_of(name).is_some()) =>
            {
                self.fail(at, DirectiveProblem::Ambiguous(names));
            }
            Resolution::Unknown if self.policy.mode == Mode::Strict => {
                self.fail(
                    at,
                    DirectiveProblem::Unknown {
                        nearest: nearest(name),
                    },
                );
            }
            // A plugin's option, or a prefix that this site's release may resolve.
            Resolution::Unknown | Resolution::Ambiguous(_) => {
                let value = value.or_else(|| {
                    words
                        .next_if(|(_, next)| !next.starts_with('-'))
                        .map(|(_, next)| next)
                });
                self.push(at, name.to_owned(), value, None);
            }
        }
    }

    /// `-HQ`, `-N2`, `-N 2`, `-HN2`.
    fn cluster(&mut self, at: &Word<'_>, letters: &str, words: &mut Words) {
        for (position, letter) in letters.char_indices() {
            let rest = &letters[position + letter.len_utf8()..];
            let Some(spec) = resolve_short(letter, self.policy.release) else {
                // SPANK plugins have no letters: sbatch would refuse this too.
                return self.fail(at, DirectiveProblem::Unknown { nearest: None });
            };
            if let Some(instead) = instead_of(spec.long) {
                self.fail(
                    at,
                    DirectiveProblem::Forbidden {
                        option: spec.long,
                        instead,
                    },
                );
                if spec.argument == Argument::Required {
                    if rest.is_empty() {
                        words.next();
                    }
                    return;
                }
                continue;
            }
            if spec.argument == Argument::None {
                self.push(at, spec.long.to_owned(), None, Some(spec));
            } else {
                let attached = if rest.is_empty() {
                    None
                } else {
                    Some(rest.to_owned())
                };
                return self.value(at, spec, attached, words);
            }
        }
    }

    fn value(
        &mut self,
        at: &Word<'_>,
        spec: &'static OptionSpec,
        value: Option<String>,
        words: &mut Words,
    ) {
        let value = match (spec.argument, value) {
            (Argument::None, Some(_)) => {
                return self.fail(at, DirectiveProblem::UnexpectedValue(spec.long));
            }
            (Argument::Required, None) => match words.next() {
                Some((_, value)) => Some(value),
                None => return self.fail(at, DirectiveProblem::MissingValue(spec.long)),
            },
            (_, value) => value,
        };
        self.push(at, spec.long.to_owned(), value, Some(spec));
    }

    fn push(
        &mut self,
        at: &Word<'_>,
        name: String,
        value: Option<String>,
        known: Option<&'static OptionSpec>,
    ) {
        if value
            .as_deref()
            .is_some_and(|value| value.contains(['\n', '\0']))
            || name.contains(['\n', '\0'])
        {
            return self.fail(
                at,
                DirectiveProblem::BadValue(known.map_or("that option", |spec| spec.long)),
            );
        }
        self.found.push(Directive {
            name,
            value,
            line: at.line,
            known,
        });
    }
}

/// For messages: cut, without control characters.
fn cut(text: &str) -> String {
    text.chars()
        .take(100)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
#[path = "directives_tests.rs"]
mod tests;
