//! What a job printed, read through its owner's user-agent.

use std::time::Duration;

use bytes::Bytes;
use forebay_streams::utf8::Splitter;
use forebay_wire::api::LogItem;
use tokio::sync::mpsc;

use crate::{accounts::Account, user_agents::UserAgents};

/// Bytes of a log in one item.
const CHUNK_BYTES: u64 = 64 << 10;
/// A reader that is further behind is brought forward, with the gap marked.
const BEHIND_BYTES_MAX: u64 = 8 << 20;
/// Where such a reader goes on, before the end.
const RESUME_BYTES: u64 = 256 << 10;
/// How long one look at a file waits for it to grow. Between two looks the
/// follower learns whether the job has ended.
const LOOK: Duration = Duration::from_millis(500);

/// So often in a row the log of a job that has ended may fail to be read.
const FAILURES_MAX: u32 = 20;

/// What following needs to know of a job.
#[derive(Clone, Debug)]
pub struct Place {
    /// Whose file it is.
    pub account: Account,
    /// The file, once known.
    pub path: Option<String>,
    /// Whether the job has ended, so that what is there is all.
    pub ended: bool,
}

/// Follows a log from `from` on until the job has ended and all of it was
/// sent, or nobody receives. `place` is asked before each look.
pub async fn follow<P, F>(
    user_agents: &UserAgents,
    from: u64,
    items: mpsc::Sender<LogItem>,
    place: P,
) where
    P: Fn() -> F,
    F: Future<Output = Option<Place>>,
{
    let mut reader = Reader {
        offset: from,
        splitter: Splitter::new(),
    };
    let mut failures = 0;
    loop {
        // Known before the look: whatever was printed until the end is then in the file.
        let Some(place) = place().await else { return };
        let chunk = match &place.path {
            None => None,
            Some(path) => {
                let wait = if place.ended { Duration::ZERO } else { LOOK };
                let read =
                    user_agents.log_chunk(&place.account, path, reader.offset, CHUNK_BYTES, wait);
                match read.await {
                    Ok(chunk) => {
                        failures = 0;
                        chunk
                    }
                    Err(error) => {
                        tracing::warn!(path, %error, "a followed log cannot be read now");
                        failures += 1;
                        // Without an end, so that the reader knows that this is not all.
                        if items.is_closed() || (place.ended && failures >= FAILURES_MAX) {
                            return;
                        }
                        tokio::time::sleep(LOOK).await;
                        continue;
                    }
                }
            }
        };
        let sent = match chunk {
            Some(chunk) if !chunk.bytes.is_empty() => {
                reader
                    .take(chunk.size, chunk.bytes, place.ended, &items)
                    .await
            }
            _ if place.ended => {
                let _ = reader.end(&items).await;
                return;
            }
            _ => {
                if items.is_closed() {
                    return;
                }
                if place.path.is_none() {
                    tokio::time::sleep(LOOK).await;
                }
                Ok(())
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Where a follower is in the file: everything before `offset` was read, and
/// all of it but what the splitter holds was sent.
struct Reader {
    offset: u64,
    splitter: Splitter,
}

/// Nobody receives any more.
struct Gone;

impl Reader {
    async fn take(
        &mut self,
        size: u64,
        bytes: Bytes,
        ended: bool,
        items: &mpsc::Sender<LogItem>,
    ) -> Result<(), Gone> {
        let behind = size.saturating_sub(self.offset);
        if behind > BEHIND_BYTES_MAX && !ended {
            self.flush(items).await?;
            let next = size - RESUME_BYTES;
            send(
                items,
                LogItem::Skipped {
                    offset: self.offset,
                    next,
                },
            )
            .await?;
            self.offset = next;
            return Ok(());
        }
        let begins = self.offset - self.splitter.held() as u64;
        self.offset += bytes.len() as u64;
        let whole = self.splitter.push(&bytes);
        text(items, begins, &whole).await
    }

    /// Sends what was held back for the rest of a character that will not come.
    async fn flush(&mut self, items: &mpsc::Sender<LogItem>) -> Result<(), Gone> {
        let begins = self.offset - self.splitter.held() as u64;
        let rest = self.splitter.finish();
        text(items, begins, &rest).await
    }

    async fn end(&mut self, items: &mpsc::Sender<LogItem>) -> Result<(), Gone> {
        self.flush(items).await?;
        send(
            items,
            LogItem::End {
                offset: self.offset,
            },
        )
        .await
    }
}

async fn text(items: &mpsc::Sender<LogItem>, offset: u64, bytes: &[u8]) -> Result<(), Gone> {
    if bytes.is_empty() {
        return Ok(());
    }
    let next = offset + bytes.len() as u64;
    let text = String::from_utf8_lossy(bytes).into_owned();
    send(items, LogItem::Text { offset, next, text }).await
}

async fn send(items: &mpsc::Sender<LogItem>, item: LogItem) -> Result<(), Gone> {
    items.send(item).await.map_err(|_| Gone)
}
