//! The files that a job prints to.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// The device number of `/dev/null`.
const NULL_DEVICE: (u32, u32) = (1, 3);

/// Opens the file for appending, making it with mode 0600. What it is not may be a link, a
/// directory, a FIFO or a device (`/dev/null` may); the error says so in a sentence.
pub(super) fn open(path: &Path) -> Result<File, String> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW;
    // Not to wait for the reader of a FIFO, nor to take a terminal.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let fd = opened.map_err(|errno| match errno {
        Errno::LOOP => format!(
            "{} is a symbolic link; name the file itself",
            path.display()
        ),
        Errno::NXIO => format!("{} is not a file", path.display()),
        errno => format!("cannot open {}: {errno}", path.display()),
    })?;
    let file = File::from(fd);
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    let kind = metadata.file_type();
    let device = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    let is_null = kind.is_char_device() && device == NULL_DEVICE;
    if !kind.is_file() && !is_null {
        return Err(format!("{} is not a file", path.display()));
    }
    // The job shall see an ordinary file.
    let blocking =
        fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK));
    blocking.map_err(|errno| format!("cannot open {}: {errno}", path.display()))?;
    Ok(file)
}
