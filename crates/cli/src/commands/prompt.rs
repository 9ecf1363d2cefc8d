//! Asking for a secret on a terminal without showing it.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use secrecy::SecretString;

use crate::{access::TOKEN_BYTES_MAX, exit, failure::Failure};

// What the keys send while the terminal edits nothing itself.
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;

/// Reads one line from stdin: from a terminal without echo, after `question`
/// on stderr; from anything else as it comes.
pub(super) fn secret(question: &str) -> Result<SecretString, Failure> {
    let stdin = io::stdin();
    let failed = |error: io::Error| Failure::caused("cannot read standard input", &error);
    if !stdin.is_terminal() {
        let mut line = String::new();
        let limit = u64::try_from(TOKEN_BYTES_MAX + 2).unwrap_or(u64::MAX);
        stdin
            .lock()
            .take(limit)
            .read_line(&mut line)
            .map_err(failed)?;
        return Ok(line.into());
    }
    let quiet = Quiet::begin(&stdin).map_err(failed)?;
    let _ = write!(io::stderr(), "{question}").and_then(|()| io::stderr().flush());
    let typed = type_line(stdin.lock());
    drop(quiet);
    let _ = writeln!(io::stderr());
    typed
        .map_err(failed)?
        .map(SecretString::from)
        .ok_or(Failure::Quiet(exit::INTERRUPTED))
}

/// The line that is typed; `None` when it is given up with Ctrl-C.
fn type_line(keys: impl BufRead) -> io::Result<Option<String>> {
    let mut typed = Vec::with_capacity(TOKEN_BYTES_MAX);
    for key in keys.bytes() {
        match key? {
            CTRL_C => return Ok(None),
            b'\r' | b'\n' | CTRL_D => break,
            BACKSPACE | DELETE => _ = typed.pop(),
            CTRL_U => typed.clear(),
            other if typed.len() < TOKEN_BYTES_MAX => typed.push(other),
            _ => return Err(io::Error::other("the line is too long")),
        }
    }
    String::from_utf8(typed).map(Some).map_err(io::Error::other)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
/// Keys such as Ctrl-C come as bytes: a signal would leave it like this.
struct Quiet<'a> {
    terminal: &'a io::Stdin,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn begin(terminal: &'a io::Stdin) -> io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes -=
            LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(terminal, OptionalActions::Drain, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.terminal, OptionalActions::Drain, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_edit_the_line() {
        let typed = |keys: &[u8]| type_line(keys).expect("read");
        assert_eq!(typed(b"fb_k_s\nrest").as_deref(), Some("fb_k_s"));
        assert_eq!(typed(b"fb_x\x7f\x08k\r").as_deref(), Some("fbk"));
        assert_eq!(typed(b"wrong\x15right").as_deref(), Some("right"));
        assert_eq!(typed(b"fb_\x03"), None);
        assert!(type_line(&[b'a'; TOKEN_BYTES_MAX + 1][..]).is_err());
    }
}
