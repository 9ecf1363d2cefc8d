//! A growing file, followed by byte offset.
//!
//! Polling only: the files are on NFS and Lustre, where nothing announces a change. The pause
//! between two looks grows from [`Options::poll_min`] while nothing comes. Whoever resumes gives
//! the offset behind the last byte it has.

use crate::utf8::{complete_len, leading_continuations};
use bytes::{Bytes, BytesMut};
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// How a file is followed.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The pause between two looks right after something came.
    pub poll_min: Duration,
    /// The pause grows to this while nothing comes.
    pub poll_max: Duration,
    /// No chunk is larger; at least 16 bytes.
    pub chunk_max: usize,
    /// Further behind the file's end than this, the follower skips to this distance from it, at a
    /// character's start, and says so. None: never skip.
    pub lag_max: Option<u64>,
    /// After [`Finish::finish`] the file must have shown nothing new for this long: another host
    /// may have written what this one does not see yet.
    pub settle: Duration,
}

impl Default for Options {
    /// 50 ms to 1 s, 64 KiB, no skipping, 500 ms.
    fn default() -> Self {
        Self {
            poll_min: Duration::from_millis(50),
            poll_max: Duration::from_secs(1),
            chunk_max: 64 << 10,
            lag_max: None,
            settle: Duration::from_millis(500),
        }
    }
}

/// What following a file gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// The bytes from `offset` on; never empty. The next offset is `offset` plus their number.
    /// A character is never torn, unless it is incomplete at the end of the file.
    Chunk {
        /// Where in the file the bytes stand.
        offset: u64,
        /// The bytes, not necessarily text.
        bytes: Bytes,
    },
    /// Bytes left out because the reader is too far behind.
    Skipped {
        /// The first byte left out.
        from: u64,
        /// The first byte after them.
        to: u64,
    },
    /// The file became shorter or was replaced by another: what follows starts at offset 0 of what
    /// is there now. Emptied and filled beyond the offset between two looks, it cannot be told from
    /// one that grew.
    Restarted,
}

/// Says that the file will grow no more. Clones say the same.
#[derive(Clone, Debug)]
pub struct Finish(Arc<watch::Sender<bool>>);

impl Finish {
    /// The writer has ended: deliver what remains, then end. A file that never appeared ends too.
    pub fn finish(&self) {
        self.0.send_replace(true);
    }
}

/// Follows one file.
#[derive(Debug)]
pub struct Follower {
    /// Where to look for a new file; none when only a handle was given.
    path: Option<PathBuf>,
    file: Option<Arc<File>>,
    offset: u64,
    options: Options,
    pause: Duration,
    finish: Finish,
    finished: watch::Receiver<bool>,
    /// Since when nothing new was seen after the finish.
    quiet_since: Option<Instant>,
    ended: bool,
}

/// What one look at the file found.
enum Look {
    Bytes(Bytes),
    SkipTo(u64),
    Nothing,
    Restarted(Arc<File>),
}

impl Follower {
    /// Follow the file at `path` from `offset` on. It need not exist yet. It must be a regular
    /// file; a symbolic link in its place is an error, while directories above it may be links.
    pub fn open(path: impl Into<PathBuf>, offset: u64, options: Options) -> Self {
        Self::new(Some(path.into()), None, offset, options)
    }

    /// Follow an open file. That another file takes its name goes unseen.
    pub fn from_file(file: File, offset: u64, options: Options) -> Self {
        Self::new(None, Some(Arc::new(file)), offset, options)
    }

    fn new(path: Option<PathBuf>, file: Option<Arc<File>>, offset: u64, options: Options) -> Self {
        let options = Options {
            // Room for a character, and progress however odd the configuration.
            chunk_max: options.chunk_max.max(16),
            poll_min: options.poll_min.max(Duration::from_millis(1)),
            ..options
        };
        let (sender, finished) = watch::channel(false);
        Self {
            path,
            file,
            offset,
            options,
            pause: options.poll_min,
            finish: Finish(Arc::new(sender)),
            finished,
            quiet_since: None,
            ended: false,
        }
    }

    /// A handle to say that the file will grow no more.
    pub fn finisher(&self) -> Finish {
        self.finish.clone()
    }

    /// Where the next chunk begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next item; none after the end. Cancel-safe: an item is lost only if it was returned.
    ///
    /// An error may pass (a file server that restarts): calling again goes on at the same offset.
    pub async fn next(&mut self) -> io::Result<Option<Item>> {
        while !self.ended {
            let finishing = *self.finished.borrow();
            let look = self.look(finishing).await?;
            match look {
                Look::Bytes(bytes) => {
                    self.came();
                    return Ok(Some(self.chunk(bytes)));
                }
                Look::SkipTo(to) => {
                    self.came();
                    let from = std::mem::replace(&mut self.offset, to);
                    return Ok(Some(Item::Skipped { from, to }));
                }
                Look::Restarted(file) => {
                    self.came();
                    self.file = Some(file);
                    self.offset = 0;
                    return Ok(Some(Item::Restarted));
                }
                Look::Nothing if finishing => {
                    let quiet_since = *self.quiet_since.get_or_insert_with(Instant::now);
                    if quiet_since.elapsed() >= self.options.settle {
                        // A torn character at the very end.
                        let rest = self.rest().await?;
                        self.ended = true;
                        return Ok((!rest.is_empty()).then(|| self.chunk(rest)));
                    }
                    sleep(self.options.poll_min).await;
                }
                Look::Nothing => {
                    let mut finished = self.finished.clone();
                    tokio::select! {
                        () = sleep(self.pause) => {}
                        // Its sender is in `self.finish`, so this ends only by finishing.
                        _ = finished.wait_for(|finished| *finished) => {}
                    }
                    self.pause =
                        (self.pause * 2).min(self.options.poll_max.max(self.options.poll_min));
                }
            }
        }
        Ok(None)
    }

    /// Something came: look again soon.
    fn came(&mut self) {
        self.pause = self.options.poll_min;
        self.quiet_since = None;
    }

    fn chunk(&mut self, bytes: Bytes) -> Item {
        let offset = self.offset;
        self.offset += bytes.len() as u64;
        Item::Chunk { offset, bytes }
    }

    /// One look, on a thread that may block: a file server may take its time.
    async fn look(&mut self, finishing: bool) -> io::Result<Look> {
        let (path, options, offset) = (self.path.clone(), self.options, self.offset);
        let file = self.file.clone();
        let (file, look) = blocking(move || {
            let Some(file) = file.map_or_else(|| open(path.as_ref()), |file| Ok(Some(file)))?
            else {
                return Ok((None, Look::Nothing));
            };
            let look = look(&file, path.as_ref(), offset, &options, finishing)?;
            Ok((Some(file), look))
        })
        .await?;
        self.file = file;
        Ok(look)
    }

    /// What is left behind the last whole character, at the end.
    async fn rest(&self) -> io::Result<Bytes> {
        let (file, offset, options) = (self.file.clone(), self.offset, self.options);
        blocking(move || match file {
            Some(file) => read(&file, offset, options.chunk_max),
            None => Ok(Bytes::new()),
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// None while there is no such file.
fn open(path: Option<&PathBuf>) -> io::Result<Option<Arc<File>>> {
    let Some(path) = path else { return Ok(None) };
    // A link is not followed; a pipe put in the file's place must not block us.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    Ok(Some(Arc::new(file)))
}

fn look(
    file: &Arc<File>,
    path: Option<&PathBuf>,
    offset: u64,
    options: &Options,
    finishing: bool,
) -> io::Result<Look> {
    let size = file.metadata()?.size();
    if size < offset {
        return Ok(Look::Restarted(open(path)?.unwrap_or_else(|| file.clone())));
    }
    if let Some(lag_max) = options.lag_max
        && size - offset > lag_max
    {
        let to = size - lag_max;
        let torn = leading_continuations(&read(file, to, 4)?);
        return Ok(Look::SkipTo(to + torn as u64));
    }
    let bytes = read(file, offset, options.chunk_max)?;
    let whole = complete_len(&bytes);
    if whole > 0 {
        return Ok(Look::Bytes(bytes.slice(..whole)));
    }
    // Nothing more in this one: has another taken its place? After the finish this also makes NFS
    // ask the server for the file's present size, which it does at each opening.
    match open(path)? {
        Some(now) if !same_file(file, &now)? => Ok(Look::Restarted(now)),
        Some(now) if finishing && now.metadata()?.size() > size => {
            look(&now, None, offset, options, false)
        }
        _ => Ok(Look::Nothing),
    }
}

fn same_file(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Up to `length` bytes at `offset`; fewer only at the end of the file.
fn read(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let available = file.metadata()?.size().saturating_sub(offset);
    let length = usize::try_from(available).unwrap_or(usize::MAX).min(length);
    let mut buffer = BytesMut::zeroed(length);
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.freeze())
}
