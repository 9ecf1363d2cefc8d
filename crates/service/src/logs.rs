//! Logs go to stderr, as text for people or as JSON lines for programs.

use std::{error::Error, io::IsTerminal as _};
use tracing_subscriber::{EnvFilter, filter::ParseError, util::TryInitError};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of text; coloured when stderr is a terminal.
    #[default]
    Pretty,
    /// One JSON object a line, with the fields of the event and of the spans around it.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is not in the form `level` or `target=level,…`.
    #[error("log filter {filter:?} is not understood")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// Logging is already set up in this process.
    #[error("logging is already set up")]
    Twice(#[source] TryInitError),
}

/// Log to stderr from now on. `filter` is a level or `target=level,…`, such as
/// `info,forebay_http=debug`. Panics are logged too, with their place.
pub fn init(format: Format, filter: &str) -> Result<(), LogsError> {
    let levels = EnvFilter::try_new(filter).map_err(|source| LogsError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let registry = tracing_subscriber::registry().with(levels);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Pretty => registry
            .with(lines.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        Format::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(LogsError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let message = crate::tasks::panic_message(panic.payload());
        tracing::error!(location, message, "panic");
    }));
    Ok(())
}

/// The error and its sources on one line: `cannot open x: permission denied`.
///
/// Errors keep their source out of their own text; this puts the chain together where it is
/// logged or shown. A source that a foreign error already repeats at its end is not said twice.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read {0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("it failed: {0}")]
    struct Repeats(#[source] Outer);

    #[test]
    fn prints_each_source_once() {
        let io = || std::io::Error::other("disk on fire");
        assert_eq!(chain(&Outer("x", io())), "cannot read x: disk on fire");
        assert_eq!(
            chain(&Repeats(Outer("x", io()))),
            "it failed: cannot read x: disk on fire"
        );
    }

    #[test]
    fn a_bad_filter_is_an_error() {
        let error = init(Format::Json, "forebay=loudly").unwrap_err();
        assert!(chain(&error).starts_with("log filter \"forebay=loudly\" is not understood: "));
    }
}
