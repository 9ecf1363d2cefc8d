//! What `up` says while it works: on standard error, a line a step, with the seconds since it
//! began.

use std::io::{self, Write};
use std::time::Instant;

pub(super) struct Progress {
    began: Instant,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    pub(super) fn say(&self, text: &str) {
        line(&format!(
            "[{:6.1}s] {text}",
            self.began.elapsed().as_secs_f64()
        ));
    }

    /// An error and why.
    pub(super) fn failed(&self, error: &dyn std::error::Error) {
        self.say(&format!("failed: {error}"));
        let mut source = error.source();
        while let Some(cause) = source {
            line(&format!("  because: {cause}"));
            source = cause.source();
        }
    }
}

/// One line on standard error.
pub(super) fn line(text: &str) {
    // With nobody to read it there is nothing to do about it.
    let _ = writeln!(io::stderr(), "{text}");
}
