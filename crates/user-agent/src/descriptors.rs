//! Descriptors that the starter left open.

#![allow(
    unsafe_code,
    reason = "a descriptor that was left open is known by its number alone"
)]

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags};

/// Keeps what is open now, but for the usual three, from what this process will run. For the
/// beginning of a program, before it has threads.
pub fn seal() {
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<RawFd> = list
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The directory that was listed is closed by now: not an error.
        let _ = mark(number);
    }
}

/// A copy of one of them. The original stays open, but is not handed on either.
pub fn take(number: RawFd) -> Result<OwnedFd, Errno> {
    mark(number)?;
    // SAFETY: as in `mark`.
    let original = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_dupfd_cloexec(original, 3)
}

fn mark(number: RawFd) -> Result<(), Errno> {
    // `borrow_raw` asks for a number that is not -1, and an open descriptor.
    if number < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the descriptor was found open, or its number came from the starter, who left it
    // open for us. Nothing is closed here; if the number is not open, the system says EBADF, and
    // if something else of ours has it, that something loses nothing by these calls.
    let original = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(original, FdFlags::CLOEXEC)
}
