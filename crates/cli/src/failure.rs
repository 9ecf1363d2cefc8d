//! What went wrong, as the person at the terminal is told.

use std::{error::Error, fmt, io};

use crate::{exit, text};

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// Nothing is said; only the exit code speaks.
    Quiet(u8),
    /// A message, on stderr.
    Said(Box<Said>),
}

/// What is said about a failure.
#[derive(Debug)]
pub struct Said {
    /// One sentence.
    pub message: String,
    /// One line each: the fields at fault, the request's id.
    pub details: Vec<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// The exit code.
    pub exit: u8,
}

// === impl Failure ===

impl Failure {
    /// A failed request.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Said(Box::new(Said {
            message: message.into(),
            details: Vec::new(),
            hint: None,
            exit: exit::FAILED,
        }))
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).exiting(exit::USAGE)
    }

    /// A message made of an error and its sources.
    pub fn caused(message: impl fmt::Display, source: &(dyn Error + 'static)) -> Self {
        Self::new(format!(
            "{message}: {}",
            forebay_service::logs::chain(source)
        ))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Said(said) = &mut self {
            said.hint = Some(hint.into());
        }
        self
    }

    /// Adds a line of detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        if let Self::Said(said) = &mut self {
            said.details.push(detail.into());
        }
        self
    }

    /// The same, with another exit code.
    #[must_use]
    pub fn exiting(mut self, code: u8) -> Self {
        match &mut self {
            Self::Quiet(exit) => *exit = code,
            Self::Said(said) => said.exit = code,
        }
        self
    }

    /// The exit code.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Quiet(exit) => *exit,
            Self::Said(said) => said.exit,
        }
    }

    /// A failed write to stdout: silent when the reader has gone away.
    pub fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Quiet(exit::BROKEN_PIPE),
            _ => Self::caused("cannot write the output", error),
        }
    }
}

/// `forebay: message`, then details and the hint, a line each. What servers
/// and users wrote cannot act on the terminal.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Said(said) = self else {
            return Ok(());
        };
        write!(f, "forebay: {}", text::plain(&said.message))?;
        for detail in &said.details {
            write!(f, "\n  {}", text::plain(detail))?;
        }
        for line in said.hint.iter().flat_map(|hint| hint.lines()) {
            write!(f, "\n  {}", text::plain(line))?;
        }
        Ok(())
    }
}

impl Error for Failure {}
