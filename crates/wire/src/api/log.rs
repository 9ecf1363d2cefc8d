//! What jobs print.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::state::UnknownState;

/// Which of a job's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    /// The name in paths and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for LogStream {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err(UnknownState),
        }
    }
}

/// One item of a followed log. Offsets are bytes in the job's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum LogItem {
    /// The next piece; bytes that are not UTF-8 show as U+FFFD.
    Text {
        /// Where it begins.
        offset: u64,
        /// Where the following piece begins: resume from here.
        next: u64,
        /// The text, its characters whole.
        text: String,
    },
    /// The job printed faster than could be shown. The file has it all.
    Skipped {
        /// Where the gap begins.
        offset: u64,
        /// Where it ends.
        next: u64,
    },
    /// The job has ended and all of it was sent.
    End {
        /// The size of the file.
        offset: u64,
    },
}
