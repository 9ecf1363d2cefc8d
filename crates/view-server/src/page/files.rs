//! The page's files, read once when the service starts. A request names a key of this table and
//! never a path of the file system: there is nothing to climb out of. Links are not followed.

use std::{
    collections::BTreeMap,
    fs::File as StdFile,
    io::{self, Read as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use http::HeaderValue;
use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, open, openat};
use sha2::{Digest as _, Sha256};

/// Bytes of all files together.
const BYTES_MAX: usize = 64 << 20;
const FILES_MAX: usize = 4_096;
const DEPTH_MAX: usize = 8;
const INDEX: &str = "/index.html";

/// The page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no page there.
    #[error("there is no index.html in {}: name the directory of a built page as ui_dir", .0.display())]
    NoIndex(PathBuf),
    /// It is larger than any page of ours.
    #[error("{} holds more than {FILES_MAX} files or {} MiB: name the directory of a built page as ui_dir", .0.display(), BYTES_MAX >> 20)]
    TooLarge(PathBuf),
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) body: bytes::Bytes,
    pub(super) kind: &'static str,
    /// Its `ETag`.
    pub(super) tag: HeaderValue,
}

/// All files by the path in URLs.
#[derive(Debug)]
pub(super) struct Files(BTreeMap<String, File>);

impl Files {
    pub(super) fn load(dir: &Path) -> Result<Self, FilesError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(dir, flags, Mode::empty()).map_err(|error| failed(dir, error))?;
        let mut walk = Walk {
            top: dir,
            files: BTreeMap::new(),
            bytes_left: BYTES_MAX,
        };
        walk.enter(&root, dir, "/", 0)?;
        if !walk.files.contains_key(INDEX) {
            return Err(FilesError::NoIndex(dir.to_owned()));
        }
        Ok(Self(walk.files))
    }

    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.0.get(path)
    }

    /// What is shown for each path that the page itself knows.
    pub(super) fn index(&self) -> &File {
        &self.0[INDEX]
    }
}

fn failed(path: &Path, error: impl Into<io::Error>) -> FilesError {
    FilesError::Read {
        path: path.to_owned(),
        source: error.into(),
    }
}

struct Walk<'a> {
    top: &'a Path,
    files: BTreeMap<String, File>,
    bytes_left: usize,
}

impl Walk<'_> {
    fn enter(
        &mut self,
        dir: &OwnedFd,
        path: &Path,
        url: &str,
        depth: usize,
    ) -> Result<(), FilesError> {
        let too_large = || FilesError::TooLarge(self.top.to_owned());
        if depth > DEPTH_MAX {
            return Err(too_large());
        }
        let entries = Dir::read_from(dir).map_err(|error| failed(path, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(path, error))?;
            let Some(name) = entry
                .file_name()
                .to_str()
                .ok()
                .filter(|name| is_plain(name))
            else {
                continue;
            };
            let below = path.join(name);
            // NONBLOCK: a pipe would be waited for.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match openat(dir, name, flags, Mode::empty()) {
                Err(rustix::io::Errno::LOOP) => {
                    tracing::warn!(path = %below.display(), "a link is no part of the page");
                    continue;
                }
                file => file.map_err(|error| failed(&below, error))?,
            };
            let stat = fstat(&file).map_err(|error| failed(&below, error))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    self.enter(&file, &below, &format!("{url}{name}/"), depth + 1)?;
                }
                FileType::RegularFile => self.add(file, &below, format!("{url}{name}"))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, file: OwnedFd, path: &Path, url: String) -> Result<(), FilesError> {
        let mut body = Vec::new();
        let mut file = StdFile::from(file).take(self.bytes_left as u64 + 1);
        file.read_to_end(&mut body)
            .map_err(|error| failed(path, error))?;
        if body.len() > self.bytes_left || self.files.len() >= FILES_MAX {
            return Err(FilesError::TooLarge(self.top.to_owned()));
        }
        self.bytes_left -= body.len();
        let digest = Sha256::digest(&body);
        let hex: String = digest
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let tag = HeaderValue::try_from(format!("\"{hex}\"")).expect("hexadecimal digits");
        let kind = kind(path);
        self.files.insert(
            url,
            File {
                body: body.into(),
                kind,
                tag,
            },
        );
        Ok(())
    }
}

/// As builds name files. What is hidden is not for the public.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !name.starts_with('.') && name.chars().all(plain)
}

fn kind(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn files_of_the_directory_and_no_others() {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("secret"), "secret").expect("written");
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path();
        let none = Files::load(root).expect_err("no page");
        assert!(matches!(none, FilesError::NoIndex(_)), "{none}");
        fs::create_dir(root.join("assets")).expect("made");
        fs::create_dir(root.join(".git")).expect("made");
        for (name, text) in [
            ("index.html", "<html>"),
            ("assets/a-1_x.js", "1"),
            (".git/config", "secret"),
            (".hidden", "secret"),
            ("odd name", "secret"),
        ] {
            fs::write(root.join(name), text).expect("written");
        }
        symlink(outside.path().join("secret"), root.join("link")).expect("a link");
        symlink(outside.path(), root.join("assets/out")).expect("a link");
        symlink("index.html", root.join("inside")).expect("a link");
        let files = Files::load(root).expect("a page");
        let names: Vec<_> = files.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["/assets/a-1_x.js", "/index.html"]);
        assert_eq!(files.index().body, "<html>");
        assert_ne!(files.index().tag, files.0["/assets/a-1_x.js"].tag);
        assert!(Files::load(&root.join("missing")).is_err());
    }
}
