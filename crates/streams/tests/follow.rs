//! Following real files while they are written.
#![allow(clippy::unwrap_used, reason = "a test")]

use forebay_streams::follow::{Follower, Item, Options};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::{TempDir, tempdir};
use tokio::time::timeout;

fn quick() -> Options {
    Options {
        poll_min: Duration::from_millis(1),
        poll_max: Duration::from_millis(5),
        settle: Duration::from_millis(20),
        ..Options::default()
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempdir().unwrap();
    let path = directory.path().join("stdout");
    (directory, path)
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
        .write_all(bytes)
        .unwrap();
}

async fn next(follower: &mut Follower) -> Option<Item> {
    timeout(Duration::from_secs(10), follower.next())
        .await
        .expect("in time")
        .unwrap()
}

#[allow(clippy::unnecessary_wraps, reason = "the form of what `next` returns")]
fn chunk(offset: u64, text: &[u8]) -> Option<Item> {
    Some(Item::Chunk {
        offset,
        bytes: text.to_vec().into(),
    })
}

#[tokio::test]
async fn grows_drains_and_ends() {
    let (_directory, path) = place();
    let mut follower = Follower::open(&path, 0, quick());
    // It does not exist yet.
    assert!(
        timeout(Duration::from_millis(20), follower.next())
            .await
            .is_err()
    );
    append(&path, b"one\n");
    assert_eq!(next(&mut follower).await, chunk(0, b"one\n"));
    append(&path, b"two\n");
    assert_eq!(next(&mut follower).await, chunk(4, b"two\n"));
    append(&path, b"last words");
    follower.finisher().finish();
    assert_eq!(next(&mut follower).await, chunk(8, b"last words"));
    assert_eq!(follower.offset(), 18);
    assert_eq!(next(&mut follower).await, None);
    assert_eq!(next(&mut follower).await, None, "stays ended");
}

#[tokio::test]
async fn what_comes_shortly_after_the_end_is_not_lost() {
    let (_directory, path) = place();
    append(&path, b"early ");
    let options = Options {
        settle: Duration::from_millis(300),
        ..quick()
    };
    let mut follower = Follower::open(&path, 0, options);
    follower.finisher().finish();
    assert_eq!(next(&mut follower).await, chunk(0, b"early "));
    // As from another host whose last write arrives late.
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            append(&path, b"late");
        })
    };
    assert_eq!(next(&mut follower).await, chunk(6, b"late"));
    assert_eq!(next(&mut follower).await, None);
    writer.join().unwrap();
}

#[tokio::test]
async fn resumes_at_an_offset() {
    let (_directory, path) = place();
    append(&path, b"0123456789");
    let mut follower = Follower::open(&path, 7, quick());
    assert_eq!(next(&mut follower).await, chunk(7, b"789"));
}

#[tokio::test]
async fn ten_megabytes_of_characters_in_whole_chunks() {
    let (_directory, path) = place();
    let text = "aé€🦀\n".repeat(1 << 20);
    let writer = {
        let (path, text) = (path.clone(), text.clone());
        std::thread::spawn(move || {
            for piece in text.as_bytes().chunks(77_777) {
                append(&path, piece);
            }
        })
    };
    let mut follower = Follower::open(&path, 0, quick());
    let finish = follower.finisher();
    let waiter = std::thread::spawn(move || {
        writer.join().unwrap();
        finish.finish();
    });
    let mut read = String::new();
    while let Some(item) = next(&mut follower).await {
        let Item::Chunk { offset, bytes } = item else {
            panic!("{item:?}")
        };
        assert_eq!(offset, read.len() as u64);
        assert!(bytes.len() <= 64 << 10);
        read.push_str(std::str::from_utf8(&bytes).expect("no torn character"));
    }
    waiter.join().unwrap();
    assert!(read == text);
}

#[tokio::test]
async fn a_torn_character_waits_for_its_rest_or_the_end() {
    let (_directory, path) = place();
    append(&path, b"a\xF0\x9F");
    let mut follower = Follower::open(&path, 0, quick());
    assert_eq!(next(&mut follower).await, chunk(0, b"a"));
    assert!(
        timeout(Duration::from_millis(20), follower.next())
            .await
            .is_err()
    );
    append(&path, b"\xA6\x80\xE2");
    assert_eq!(next(&mut follower).await, chunk(1, "🦀".as_bytes()));
    follower.finisher().finish();
    assert_eq!(next(&mut follower).await, chunk(5, b"\xE2"));
    assert_eq!(next(&mut follower).await, None);
}

#[tokio::test]
async fn binary_output_passes_as_it_is() {
    let (_directory, path) = place();
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    append(&path, &bytes);
    let mut follower = Follower::open(&path, 0, quick());
    follower.finisher().finish();
    let mut read = Vec::new();
    while let Some(Item::Chunk { bytes, .. }) = next(&mut follower).await {
        read.extend_from_slice(&bytes);
    }
    assert!(read == bytes);
}

#[tokio::test]
async fn truncation_and_replacement_are_told() {
    let (directory, path) = place();
    append(&path, b"first run\n");
    let mut follower = Follower::open(&path, 0, quick());
    assert_eq!(next(&mut follower).await, chunk(0, b"first run\n"));
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    append(&path, b"2nd\n");
    assert_eq!(next(&mut follower).await, Some(Item::Restarted));
    assert_eq!(next(&mut follower).await, chunk(0, b"2nd\n"));

    // Replaced by a longer file; what the old one still gets first is not lost.
    append(&path, b"tail\n");
    let new = directory.path().join("new");
    append(&new, b"a third and longer file\n");
    fs::rename(&new, &path).unwrap();
    assert_eq!(next(&mut follower).await, chunk(4, b"tail\n"));
    assert_eq!(next(&mut follower).await, Some(Item::Restarted));
    assert_eq!(
        next(&mut follower).await,
        chunk(0, b"a third and longer file\n")
    );
}

#[tokio::test]
async fn an_open_file_needs_no_path() {
    let (_directory, path) = place();
    append(&path, b"abc");
    let mut follower = Follower::from_file(File::open(&path).unwrap(), 1, quick());
    fs::remove_file(&path).unwrap();
    assert_eq!(next(&mut follower).await, chunk(1, b"bc"));
    follower.finisher().finish();
    assert_eq!(next(&mut follower).await, None);
}

#[tokio::test]
async fn a_reader_far_behind_skips_to_the_tail_at_a_character() {
    let (_directory, path) = place();
    append(&path, "é".repeat(1000).as_bytes());
    let options = Options {
        lag_max: Some(101),
        ..quick()
    };
    let mut follower = Follower::open(&path, 10, options);
    assert_eq!(
        next(&mut follower).await,
        Some(Item::Skipped { from: 10, to: 1900 })
    );
    assert_eq!(
        next(&mut follower).await,
        chunk(1900, "é".repeat(50).as_bytes())
    );
    append(&path, b"more");
    assert_eq!(
        next(&mut follower).await,
        chunk(2000, b"more"),
        "no skip while it keeps up"
    );
}

#[tokio::test]
async fn only_regular_files_and_no_links() {
    let (directory, path) = place();
    let target = directory.path().join("secret");
    append(&target, b"secret");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let error = Follower::open(&path, 0, quick()).next().await.unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::LOOP.raw_os_error())
    );

    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let follow = async { Follower::open(&path, 0, quick()).next().await };
    let error = timeout(Duration::from_secs(5), follow)
        .await
        .expect("does not block")
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_file_that_never_came_ends() {
    let (_directory, path) = place();
    let mut follower = Follower::open(&path, 0, quick());
    let finish = follower.finisher();
    let started = Instant::now();
    let (item, ()) = tokio::join!(next(&mut follower), async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        finish.finish();
    });
    assert_eq!(item, None);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn cancelling_a_read_loses_nothing() {
    let (_directory, path) = place();
    let text = "a line\n".repeat(2000);
    let writer = {
        let (path, text) = (path.clone(), text.clone());
        std::thread::spawn(move || {
            for piece in text.as_bytes().chunks(100) {
                append(&path, piece);
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    let mut follower = Follower::open(&path, 0, quick());
    let mut read = Vec::new();
    while read.len() < text.len() {
        // Often too short for a look.
        match timeout(Duration::from_micros(150), follower.next()).await {
            Ok(Ok(Some(Item::Chunk { offset, bytes }))) => {
                assert_eq!(offset, read.len() as u64);
                read.extend_from_slice(&bytes);
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    writer.join().unwrap();
    assert!(read == text.as_bytes());
}
