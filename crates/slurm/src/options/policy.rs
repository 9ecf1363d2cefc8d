//! Which options a directive may use, and what to do instead of the refused ones.

use super::table::Release;

/// How strictly options are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An option that no release has is an error. For options given to an API.
    Strict,
    /// An unknown long option is passed through: a site's SPANK plugins may add it. For the
    /// `#SBATCH` lines of a user's script.
    Script,
}

/// What is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How strictly names are checked.
    pub mode: Mode,
    /// The release that will read the options; `None` accepts what any release from 22.05 to
    /// 26.05 accepts.
    pub release: Option<Release>,
}

impl Policy {
    /// For options given to an API.
    pub const fn strict() -> Self {
        Self {
            mode: Mode::Strict,
            release: None,
        }
    }

    /// For the `#SBATCH` lines of a user's script.
    pub const fn script() -> Self {
        Self {
            mode: Mode::Script,
            release: None,
        }
    }
}

/// The options that are refused however they are written, and what to do instead.
///
/// The first six would change the identity, the id that is read back, or how long the call
/// takes; `clusters` would put the job where this adapter does not look for it; the rest print
/// something instead of submitting.
const FORBIDDEN: &[(&str, &str)] = &[
    (
        "uid",
        "leave it out: a job runs as the account that submits it",
    ),
    (
        "gid",
        "leave it out: a job runs with the groups of the account that submits it",
    ),
    ("wait", "leave it out and watch the job's state instead"),
    ("wrap", "write the command into the script"),
    (
        "test-only",
        "leave it out: a job that is asked for is submitted",
    ),
    (
        "parsable",
        "leave it out: the job's id is read and returned anyway",
    ),
    (
        "clusters",
        "leave it out and address the job to the cluster it shall run on",
    ),
    (
        "cluster",
        "leave it out and address the job to the cluster it shall run on",
    ),
    ("help", "leave it out: it prints a text and submits nothing"),
    (
        "usage",
        "leave it out: it prints a text and submits nothing",
    ),
    (
        "version",
        "leave it out: it prints a text and submits nothing",
    ),
    (
        "autocomplete",
        "leave it out: it prints a text and submits nothing",
    ),
];

/// What to do instead of this option (its full long name), when it is refused.
pub(crate) fn instead_of(long: &str) -> Option<&'static str> {
    FORBIDDEN
        .iter()
        .find(|(name, _)| *name == long)
        .map(|(_, instead)| *instead)
}
