//! Pieces of files, waiting for them to grow.
//!
//! The user may name any file: it is opened with the user's rights and no others, so where links
//! lead is the user's business. But only regular files are read: a FIFO or a device would hang
//! the call or be disturbed by it.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_service::CancellationToken;
use forebay_streams::range::{ByteRange, Resolved};
use forebay_wire::{Code, Problem};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::problems::blocking;

/// The longest wait a call may ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long one look at a file, or reading one chunk of it, may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(20);
/// The pause between two looks at first, and later.
const POLL: (Duration, Duration) = (Duration::from_millis(40), Duration::from_millis(80));
/// When "later" begins.
const POLL_LATER: Duration = Duration::from_secs(2);
/// Read at once, bytes; a stream holds one or two of these.
const CHUNK: u64 = 256 * 1024;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The file; absolute.
    pub path: PathBuf,
    /// Which part; all of it if absent.
    pub range: Option<ByteRange>,
    /// How long to wait until there is something in the range.
    pub wait: Duration,
    /// At most so many bytes, from the start of the range.
    pub max: Option<u64>,
}

/// What was found; the file is open, so it stays the same file.
#[derive(Debug)]
pub struct Found {
    file: Arc<File>,
    /// Which part of it to send; `None` if there is nothing in the range yet.
    pub part: Option<Resolved>,
    /// The size of the file, bytes.
    pub size: u64,
}

/// Reads logs, for a bounded number of callers that wait.
#[derive(Debug)]
pub struct Logs {
    waiting: Semaphore,
    stop: CancellationToken,
}

impl Logs {
    /// At most `waiting` calls wait at once, and none once `stop` is cancelled.
    pub fn new(waiting: usize, stop: CancellationToken) -> Self {
        Self {
            waiting: Semaphore::new(waiting),
            stop,
        }
    }

    /// Looks until there is something in the range or the wait is over.
    ///
    /// Absent at the end of the wait is 404; nothing in the range is no error.
    pub async fn find(&self, query: Query) -> Result<Found, Problem> {
        let query = Arc::new(query);
        let first = look(&query).await;
        if query.wait.is_zero() || !worth_waiting(&first) {
            return first;
        }
        let _turn = self.turn()?;
        let begun = Instant::now();
        let end = begun + query.wait.min(WAIT_MAX);
        loop {
            let pause = if begun.elapsed() < POLL_LATER {
                POLL.0
            } else {
                POLL.1
            };
            let pause = tokio::time::sleep_until(end.min(Instant::now() + pause));
            let stopped = self.stop.run_until_cancelled(pause).await.is_none();
            let found = look(&query).await;
            if !worth_waiting(&found) || stopped || Instant::now() >= end {
                return found;
            }
        }
    }

    fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.waiting.try_acquire().map_err(|_| {
            Problem::new(
                Code::Busy,
                "Too many calls wait for logs; try again without wait_ms.",
            )
        })
    }
}

fn worth_waiting(found: &Result<Found, Problem>) -> bool {
    match found {
        Ok(found) => found.part.is_none(),
        Err(problem) => problem.code == Code::NotFound,
    }
}

impl Found {
    /// The next chunk of the part from `done` bytes into it; `None` at its end.
    ///
    /// A file that became shorter meanwhile is an error: what was promised is not there.
    pub async fn chunk(&self, done: u64) -> Result<Option<Vec<u8>>, Problem> {
        let Some(part) = self.part.filter(|part| done < part.length) else {
            return Ok(None);
        };
        let (file, length) = (Arc::clone(&self.file), (part.length - done).min(CHUNK));
        let read = move || {
            let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut chunk, part.start + done)
                .map_err(|error| {
                    Problem::new(
                        Code::Unavailable,
                        format!("The file cannot be read further: {error}."),
                    )
                })?;
            Ok(Some(chunk))
        };
        blocking(LOOK_DEADLINE, "read a file", read).await
    }
}

/// Opens the file anew each time: a network file system asks its server for the size only then.
async fn look(query: &Arc<Query>) -> Result<Found, Problem> {
    let query = Arc::clone(query);
    blocking(LOOK_DEADLINE, "open a file", move || {
        let (file, size) = open(&query.path)?;
        let part = match query.range {
            Some(range) => range.resolve(size).ok(),
            None => ByteRange::From { first: 0 }.resolve(size).ok(),
        };
        let part = part.map(|part| query.max.map_or(part, |max| part.at_most(max)));
        Ok(Found {
            file: Arc::new(file),
            part,
            size,
        })
    })
    .await
}

fn open(path: &Path) -> Result<(File, u64), Problem> {
    // Not to wait for the writer of a FIFO, nor to take a terminal.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => Problem::new(Code::NotFound, "There is no such file."),
        Errno::ACCESS | Errno::PERM => Problem::new(Code::Forbidden, "You may not read this file."),
        Errno::NXIO | Errno::NODEV => irregular(),
        Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL => Problem::invalid(
            "path",
            "This path cannot be used: too long, or its links lead in a circle.",
        ),
        errno => Problem::new(
            Code::Unavailable,
            format!("The file cannot be opened: {errno}."),
        ),
    })?;
    let file = File::from(fd);
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| {
        Problem::new(
            Code::Unavailable,
            format!("The file cannot be looked at: {error}."),
        )
    })?;
    if !metadata.is_file() {
        return Err(irregular());
    }
    Ok((file, metadata.size()))
}

fn irregular() -> Problem {
    Problem::invalid(
        "path",
        "This is not a file; directories, FIFOs, sockets and devices are not read.",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn query(path: &Path, range: &str, wait_ms: u64) -> Query {
        let range = (!range.is_empty()).then(|| range.parse().unwrap());
        Query {
            path: path.to_owned(),
            range,
            wait: Duration::from_millis(wait_ms),
            max: None,
        }
    }

    async fn whole(found: &Found) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(chunk) = found.chunk(all.len() as u64).await.unwrap() {
            all.extend(chunk);
        }
        all
    }

    #[tokio::test]
    async fn ranges_of_bytes_that_are_no_text() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let logs = Logs::new(1, CancellationToken::new());
        for (range, from, to) in [
            ("", 0, 700_000),
            ("bytes=5-9", 5, 10),
            ("bytes=300000-", 300_000, 700_000),
            ("bytes=-3", 699_997, 700_000),
        ] {
            let found = logs.find(query(&path, range, 0)).await.unwrap();
            assert_eq!(found.size, 700_000);
            assert_eq!(whole(&found).await, content[from..to], "{range}");
        }
        let capped = logs
            .find(Query {
                max: Some(10),
                ..query(&path, "bytes=20-", 0)
            })
            .await
            .unwrap();
        assert_eq!(whole(&capped).await, content[20..30]);
    }

    #[tokio::test]
    async fn waits_for_growth_and_for_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        let logs = Logs::new(1, CancellationToken::new());
        let grow = async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            std::fs::write(&path, "abc").unwrap();
            Instant::now()
        };
        let (found, grown) = tokio::join!(logs.find(query(&path, "bytes=0-", 20_000)), grow);
        assert_eq!(whole(&found.unwrap()).await, b"abc");
        assert!(grown.elapsed() < Duration::from_secs(2));

        let grow = async {
            tokio::time::sleep(Duration::from_millis(120)).await;
            std::fs::File::options()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(b"de")
                .unwrap();
        };
        let (found, ()) = tokio::join!(logs.find(query(&path, "bytes=3-", 20_000)), grow);
        assert_eq!(whole(&found.unwrap()).await, b"de");

        let begun = Instant::now();
        let found = logs.find(query(&path, "bytes=5-", 200)).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200));
        assert!(found.part.is_none() && found.size == 5);
        assert!(whole(&found).await.is_empty());
        let shorter = logs.find(query(&path, "bytes=9-", 0)).await.unwrap();
        assert!(
            shorter.part.is_none() && shorter.size == 5,
            "the size tells that it was cut"
        );
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        std::fs::write(&path, "").unwrap();
        let logs = Logs::new(1, CancellationToken::new());
        let both = tokio::join!(
            logs.find(query(&path, "", 300)),
            logs.find(query(&path, "", 300))
        );
        // Whichever had its first look later.
        match both {
            (Ok(_), Err(problem)) | (Err(problem), Ok(_)) => assert_eq!(problem.code, Code::Busy),
            other => panic!("{other:?}"),
        }
        assert!(
            logs.find(query(&path, "", 1)).await.is_ok(),
            "its turn has come back"
        );
    }

    #[tokio::test]
    async fn nobody_waits_for_a_service_that_stops() {
        let temp = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let logs = Logs::new(1, stop.clone());
        let begun = Instant::now();
        let waiting = query(&temp.path().join("absent"), "", 20_000);
        let (found, ()) = tokio::join!(logs.find(waiting), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.cancel();
        });
        assert_eq!(found.unwrap_err().code, Code::NotFound);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn what_is_no_file_is_refused_at_once() {
        let temp = tempfile::tempdir().unwrap();
        let logs = Logs::new(1, CancellationToken::new());
        rustix::fs::mkfifoat(rustix::fs::CWD, temp.path().join("fifo"), Mode::RWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(temp.path().join("socket")).unwrap();
        std::os::unix::fs::symlink("loop", temp.path().join("loop")).unwrap();
        let long = temp.path().join("x".repeat(300));
        for path in [
            temp.path(),
            &temp.path().join("fifo"),
            &temp.path().join("socket"),
            Path::new("/dev/zero"),
            &temp.path().join("loop"),
            &long,
        ] {
            let problem = logs.find(query(path, "", 5_000)).await.unwrap_err();
            assert_eq!(problem.code, Code::Invalid, "{}", path.display());
        }
        let absent = temp.path().join("absent");
        assert_eq!(
            logs.find(query(&absent, "", 50)).await.unwrap_err().code,
            Code::NotFound
        );
    }

    #[tokio::test]
    async fn a_file_that_was_cut_is_an_error_not_a_hang() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("log");
        std::fs::write(&path, "0123456789").unwrap();
        let found = Logs::new(1, CancellationToken::new())
            .find(query(&path, "", 0))
            .await
            .unwrap();
        std::fs::write(&path, "0").unwrap();
        assert_eq!(found.chunk(0).await.unwrap_err().code, Code::Unavailable);
    }
}
