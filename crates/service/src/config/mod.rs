//! Configuration from TOML files, with errors that name file, line and column.
//!
//! A root parses into *raw* types (`#[serde(deny_unknown_fields)]`, checked values wrapped in
//! [`Spanned`]) with [`load`], then validates all of it into its own types, reporting each problem
//! to [`Problems`] instead of stopping at the first:
//!
//! ```
//! use forebay_service::config::{self, Spanned};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Raw { connections: Option<Spanned<u32>> }
//!
//! # fn main() -> Result<(), config::ConfigError> {
//! let (raw, mut problems) = config::parse::<Raw>(&[("view-server.toml", "connections = 0")])?;
//! let connections = problems.within(raw.connections.as_ref(), 1..=1000, 16);
//! let error = problems.finish(connections).unwrap_err();
//! assert_eq!(error.to_string(), "view-server.toml:1:15: connections: must be 1 to 1000 (got 0)");
//! # Ok(())
//! # }
//! ```
//!
//! `view-server.toml` is followed by `view-server.d/*.toml` in the order of their names. Tables are
//! merged; of any other value, arrays included, the last file's wins. Errors name the file that a
//! value came from.

mod merge;
mod problems;
mod sources;

pub use problems::{Problem, Problems};
pub use toml::Spanned;

use merge::Document;
use serde::de::DeserializeOwned;
use sources::Sources;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A single file may not be larger; nobody writes a mebibyte of settings by hand.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or the directory beside it cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the files say is wrong; one line for each problem.
    #[error("{}", problems::lines(.0))]
    Invalid(Vec<Problem>),
}

/// Read `path` and its drop-ins (`x.toml` → `x.d/*.toml`) into `T`.
///
/// The [`Problems`] returned know where each value stands; validate with them and end with
/// [`Problems::finish`]. The file itself must exist, its drop-ins need not.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<(T, Problems), ConfigError> {
    let mut files = vec![read(path)?];
    for drop_in in drop_ins(&path.with_extension("d"))? {
        files.push(read(&drop_in)?);
    }
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    parse(&files)
}

/// Like [`load`], from `(name, text)` pairs.
pub fn parse<T: DeserializeOwned>(files: &[(&str, &str)]) -> Result<(T, Problems), ConfigError> {
    let sources = Sources::new(files);
    let document = Document::parse(&sources).map_err(ConfigError::Invalid)?;
    let index = document.index();
    let value = document
        .deserialize(&sources)
        .map_err(ConfigError::Invalid)?;
    Ok((value, Problems::new(sources, index)))
}

fn read(path: &Path) -> Result<(String, String), ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        let message = format!("is larger than {FILE_BYTES_MAX} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, message)));
    }
    Ok((
        path.display().to_string(),
        fs::read_to_string(path).map_err(failed)?,
    ))
}

/// The `*.toml` of `directory` in the order of their names; none when there is no directory.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        // Editors leave `.x.toml.swp` and the like: neither hidden nor of another extension.
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
