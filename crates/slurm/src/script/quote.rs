//! Quoting: for `sh`, and for `#SBATCH` lines, whose rules differ.

/// One argument as a word of `sh`: in single quotes, whatever it holds. It must not hold NUL.
///
/// Two things in it would mean something to `sbatch`, which reads the script without knowing
/// quotes: `\r\n`, for which it refuses the script, and a line that begins with `#PBS` or
/// `#BSUB`, which it takes for options wherever it stands. The quotes are closed and opened
/// again between such characters, which changes nothing for the shell.
pub fn quote(argument: &str) -> String {
    let mut quoted = String::with_capacity(argument.len() + 2);
    quoted.push('\'');
    let mut before = ' ';
    for character in argument.chars() {
        if matches!((before, character), ('\r', '\n') | ('\n', '#')) {
            quoted.push_str("''");
        }
        if character == '\'' {
            quoted.push_str("'\\''");
        } else {
            quoted.push(character);
        }
        before = character;
    }
    quoted.push('\'');
    quoted
}

/// A command as one line of `sh` (a newline in an argument stays in its quotes). Every word is
/// quoted, so that none can be a keyword, an assignment or an alias.
pub fn quote_command<S: AsRef<str>>(command: &[S]) -> String {
    command
        .iter()
        .map(|word| quote(word.as_ref()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// One word for a `#SBATCH` line: in double quotes, with backslashes before quotes and
/// backslashes, which is all that `sbatch` unquotes.
pub(super) fn quote_directive(word: &str) -> String {
    let mut quoted = String::with_capacity(word.len() + 2);
    quoted.push('"');
    for character in word.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}
