//! Where a user's jobs are kept: `~/.local/state/forebay/<environment>/{jobs,local}/<job>`.

use std::path::{Path, PathBuf};

use crate::dir::{Dir, DirError};

/// The directories of one user and environment. Each is opened anew at every use: the user may
/// have moved them since.
#[derive(Clone, Debug)]
pub struct Place {
    anchor: PathBuf,
    /// From the anchor down; others keep the rights they have there.
    shared: &'static [&'static str],
    /// Below those; ours alone.
    private: Vec<String>,
}

impl Place {
    /// Below the user's home.
    pub fn in_home(home: &Path, environment: &str) -> Self {
        Self {
            anchor: home.to_owned(),
            shared: &[".local", "state"],
            private: vec!["forebay".to_owned(), environment.to_owned()],
        }
    }

    /// Below a directory that exists.
    pub fn in_directory(directory: &Path, environment: &str) -> Self {
        Self {
            anchor: directory.to_owned(),
            shared: &[],
            private: vec![environment.to_owned()],
        }
    }

    /// The directory with one directory a job, made where it is absent.
    pub fn jobs(&self) -> Result<Dir, DirError> {
        self.open("jobs")
    }

    /// The directory with one directory a process of the `local` integration.
    pub fn local(&self) -> Result<Dir, DirError> {
        self.open("local")
    }

    fn open(&self, last: &str) -> Result<Dir, DirError> {
        let mut dir = Dir::anchor(&self.anchor)?;
        for name in self.shared {
            dir = dir.make(name)?;
        }
        for name in &self.private {
            dir = dir.make_private(name)?;
        }
        dir.make_private(last)
    }
}
