//! Where output goes, and what the place it goes to can show.

use std::{
    cell::RefCell,
    fmt,
    io::{self, IsTerminal as _, Write},
};

use serde::Serialize;

use crate::{environment::Environment, failure::Failure, text};

/// Stdout and stderr, shared by whatever runs at the same time on this thread.
pub struct Console {
    stdout: RefCell<Box<dyn Write>>,
    stderr: RefCell<Stderr>,
    /// What stdout can show.
    pub screen: Screen,
}

struct Stderr {
    to: Box<dyn Write>,
    /// The progress line that stands there now.
    drawn: Option<String>,
    /// Absent unless stderr is a terminal.
    progress_cells: Option<usize>,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Cells in a line; absent for files and pipes, which take any length.
    pub cells: Option<usize>,
    /// Whether colours are wanted.
    pub colour: bool,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("screen", &self.screen)
            .finish_non_exhaustive()
    }
}

// === impl Console ===

impl Console {
    /// That of this process.
    pub fn of_process(environment: &Environment) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let dumb = environment.get("TERM").is_some_and(|term| term == "dumb");
        let screen = Screen {
            cells: stdout.is_terminal().then(|| cells(&stdout)),
            colour: stdout.is_terminal() && !dumb && environment.get("NO_COLOR").is_none(),
        };
        let progress_cells = (stderr.is_terminal() && !dumb).then(|| cells(&stderr));
        Self {
            stdout: RefCell::new(Box::new(stdout)),
            stderr: RefCell::new(Stderr {
                to: Box::new(stderr),
                drawn: None,
                progress_cells,
            }),
            screen,
        }
    }

    /// Writes to stdout and flushes; a progress line makes way.
    pub fn out(&self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.stderr.borrow_mut().clear();
        let mut stdout = self.stdout.borrow_mut();
        stdout
            .write_all(bytes.as_ref())
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::of_output(&error))
    }

    /// One line on stdout.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        self.out(format!("{line}\n"))
    }

    /// One JSON document on stdout, for programs and for reading.
    pub fn json<T: Serialize + ?Sized>(&self, document: &T) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(document)
            .map_err(|error| Failure::caused("cannot write JSON", &error))?;
        self.line(&text::plain_json(&json))
    }

    /// One JSON document on a line of its own, one of several.
    pub fn json_line<T: Serialize + ?Sized>(&self, document: &T) -> Result<(), Failure> {
        let json = serde_json::to_string(document)
            .map_err(|error| Failure::caused("cannot write JSON", &error))?;
        self.line(&text::plain_json(&json))
    }

    /// Bytes for stderr as they are: a job's own standard error.
    pub fn err(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stderr = self.stderr.borrow_mut();
        stderr.clear();
        let to = &mut stderr.to;
        to.write_all(bytes)
            .and_then(|()| to.flush())
            .map_err(|error| Failure::of_output(&error))
    }

    /// A remark of ours on stderr. That it cannot be written is no failure.
    pub fn note(&self, message: &str) {
        let _ = self.err(format!("forebay: {}\n", text::plain(message)).as_bytes());
    }

    /// A line that belongs to the remark before it.
    pub fn detail(&self, line: &str) {
        let _ = self.err(format!("  {}\n", text::plain(line)).as_bytes());
    }

    /// Says why a command failed, if it is to be said.
    pub fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::Said(_)) {
            let _ = self.err(format!("{failure}\n").as_bytes());
        }
    }

    /// Whether [`progress`](Self::progress) shows anything.
    pub fn shows_progress(&self) -> bool {
        self.stderr.borrow().progress_cells.is_some()
    }

    /// Puts `line` in place of the progress line, if stderr is a terminal.
    pub fn progress(&self, line: &str) {
        self.stderr.borrow_mut().draw(line);
    }

    /// Takes the progress line away.
    pub fn clear(&self) {
        self.stderr.borrow_mut().clear();
    }
}

impl Stderr {
    fn draw(&mut self, line: &str) {
        let Some(cells) = self.progress_cells else {
            return;
        };
        let line = text::plain(line);
        let line = text::cut(&line, cells.saturating_sub(1));
        if self.drawn.as_deref() != Some(&*line) {
            let _ = write!(self.to, "\r\x1b[K{line}").and_then(|()| self.to.flush());
            self.drawn = Some(line.into_owned());
        }
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            let _ = self
                .to
                .write_all(b"\r\x1b[K")
                .and_then(|()| self.to.flush());
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How wide a terminal is; 80 when it does not say.
fn cells(terminal: &impl rustix::fd::AsFd) -> usize {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col >= 20 => usize::from(size.ws_col),
        _ => 80,
    }
}
