//! Insecure settings are refused, unless the service runs with `--dev`.

use crate::config::Problems;
use std::ops::Range;

/// How insecure settings are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strictness {
    /// Started with `--dev`: insecure settings are warned about, not refused.
    pub dev: bool,
}

impl Strictness {
    /// Report an insecure setting: a problem of the configuration, or with `--dev` a warning in
    /// the log. `message` says what is insecure, such as `listens beyond loopback without TLS`.
    pub fn insecure(self, problems: &mut Problems, span: Range<usize>, message: &str) {
        if self.dev {
            tracing::warn!(setting = %problems.describe(span), "insecure, allowed by --dev: {message}");
        } else {
            problems.at(span, format!("{message} (allowed only with --dev)"));
        }
    }

    /// The same for something missing: `key` is the dotted path that would make it secure.
    pub fn insecure_without(self, problems: &mut Problems, key: &str, message: &str) {
        if self.dev {
            tracing::warn!(setting = key, "insecure, allowed by --dev: {message}");
        } else {
            problems.missing(key, format!("{message} (allowed only with --dev)"));
        }
    }
}
