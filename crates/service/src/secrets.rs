//! Secrets live in files of one account, and are read once.

use secrecy::{SecretString, zeroize::Zeroize as _};
use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A file that holds a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the secret file {}", path.display())]
pub struct SecretError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    #[source]
    pub reason: Reason,
}

/// What is wrong with a secret's file.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It cannot be opened or read; also for a symbolic link, which is not followed.
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    /// It is a directory, a device, or the like.
    #[error("it is not a regular file")]
    NotAFile,
    /// Others may read or write it.
    #[error("it has mode {0:04o}; run chmod 0600 on it")]
    Mode(u32),
    /// It belongs to neither this account nor root.
    #[error("it belongs to uid {0}, which is neither this account nor root")]
    Owner(u32),
    /// It is larger than the caller allows.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// It holds nothing but perhaps a line end.
    #[error("it is empty")]
    Empty,
    /// It is not text.
    #[error("it is not UTF-8 text")]
    NotText,
}

/// Read the secret in the file `path`, of at most `bytes_max` bytes, without the line end behind it.
///
/// The file is regular, not a symbolic link, owned by this account or root, and open to nobody
/// but its owner (0600 or 0400).
pub fn read(path: &Path, bytes_max: usize) -> Result<SecretString, SecretError> {
    read_checked(path, bytes_max).map_err(|reason| SecretError {
        path: path.to_owned(),
        reason,
    })
}

fn read_checked(path: &Path, bytes_max: usize) -> Result<SecretString, Reason> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(|_| Reason::NotAFile)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(Reason::Io)?;
    let metadata = file.metadata().map_err(Reason::Io)?;
    if !metadata.is_file() {
        return Err(Reason::NotAFile);
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !0o600 != 0 {
        return Err(Reason::Mode(mode));
    }
    check_owner(metadata.uid(), rustix::process::geteuid().as_raw())?;
    // One byte more than allowed tells the two cases apart. Sized at once: growing would leave
    // copies of the secret behind.
    let mut bytes = Vec::with_capacity(bytes_max.saturating_add(1));
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(Reason::Io)?;
    if bytes.len() > bytes_max {
        bytes.zeroize();
        return Err(Reason::TooLarge(bytes_max));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        error.into_bytes().zeroize();
        Reason::NotText
    })?;
    Ok(SecretString::from(text))
}

fn check_owner(owner: u32, this_account: u32) -> Result<(), Reason> {
    if owner == 0 || owner == this_account {
        Ok(())
    } else {
        Err(Reason::Owner(owner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    fn file(directory: &tempfile::TempDir, name: &str, text: &[u8], mode: u32) -> PathBuf {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn reads_only_private_files() {
        let directory = tempfile::tempdir().unwrap();
        let good = file(&directory, "good", b"s3cret\n", 0o600);
        assert_eq!(read(&good, 64).unwrap().expose_secret(), "s3cret");
        let exact = file(&directory, "exact", b"s3cret", 0o400);
        assert_eq!(read(&exact, 6).unwrap().expose_secret(), "s3cret");

        for mode in [0o640, 0o604, 0o620, 0o700, 0o4600] {
            let open = file(&directory, "open", b"s3cret", mode);
            assert!(
                matches!(read(&open, 64).unwrap_err().reason, Reason::Mode(found) if found == mode)
            );
        }
        assert!(matches!(
            read(&good, 3).unwrap_err().reason,
            Reason::TooLarge(3)
        ));
        let empty = file(&directory, "empty", b"\n", 0o600);
        assert!(matches!(
            read(&empty, 64).unwrap_err().reason,
            Reason::Empty
        ));
        let binary = file(&directory, "binary", b"\xff\xfe", 0o600);
        assert!(matches!(
            read(&binary, 64).unwrap_err().reason,
            Reason::NotText
        ));

        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&good, &link).unwrap();
        assert!(matches!(read(&link, 64).unwrap_err().reason, Reason::Io(_)));
        assert!(matches!(
            read(directory.path(), 64).unwrap_err().reason,
            Reason::NotAFile
        ));
        // Would block for ever if it were opened as a reader of a pipe is.
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(matches!(
            read(&pipe, 64).unwrap_err().reason,
            Reason::NotAFile
        ));
    }

    #[test]
    fn refuses_a_file_of_another_account() {
        assert!(check_owner(0, 1000).is_ok());
        assert!(check_owner(1000, 1000).is_ok());
        assert!(matches!(check_owner(1001, 1000), Err(Reason::Owner(1001))));
        assert!(matches!(check_owner(1000, 0), Err(Reason::Owner(1000))));
    }

    #[test]
    fn errors_name_the_file_and_never_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = file(&directory, "open", b"s3cret", 0o644);
        let text = crate::logs::chain(&read(&path, 64).unwrap_err());
        assert!(
            text.ends_with("open: it has mode 0644; run chmod 0600 on it"),
            "{text}"
        );
        assert!(!text.contains("s3cret"));
    }
}
