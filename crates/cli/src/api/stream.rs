//! Answers that come in pieces: events, and the bytes of logs.

use std::{collections::VecDeque, fmt, io, ops::Range, pin::Pin, time::Duration};

use bytes::Bytes;
use forebay_http::client::Call;
use futures_util::{Stream, StreamExt as _};
use tokio::time::timeout;

use super::{ApiError, Span, sse};

/// The server sends a heartbeat each 15 s; after three times as long it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A body, with a bound on its silence.
struct Pieces(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>);

impl Pieces {
    /// The next piece; may be dropped and asked again without loss.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match timeout(SILENCE_MAX, self.0.next()).await {
            Ok(Some(piece)) => piece.map(Some).map_err(ApiError::Broken),
            Ok(None) => Ok(None),
            Err(_) => Err(ApiError::Silent(SILENCE_MAX)),
        }
    }
}

/// The data of server-sent events, as they come.
pub struct Events {
    pieces: Pieces,
    reader: sse::Reader,
    /// Read, and not yet given out.
    ready: VecDeque<String>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

impl Events {
    pub(super) async fn open(call: Call) -> Result<Self, ApiError> {
        let answer = call.header("accept", "text/event-stream")?.stream().await?;
        let kind = answer.header("content-type").unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(ApiError::Unread(format!(
                "it is {kind:?} instead of an event stream"
            )));
        }
        Ok(Self {
            pieces: Pieces(Box::pin(answer.into_bytes())),
            reader: sse::Reader::default(),
            ready: VecDeque::new(),
        })
    }

    /// The next event's data; `None` when the server has ended the stream. May
    /// be dropped and asked again without loss.
    pub async fn next(&mut self) -> Result<Option<String>, ApiError> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Ok(Some(data));
            }
            let Some(piece) = self.pieces.next().await? else {
                return Ok(None);
            };
            let events = self
                .reader
                .push(&piece)
                .map_err(|error| ApiError::Unread(error.to_string()))?;
            self.ready.extend(events);
        }
    }
}

/// Part of a log.
pub struct LogBytes {
    /// Where in the file it begins.
    pub offset: u64,
    pieces: Pieces,
}

impl fmt::Debug for LogBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogBytes")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl LogBytes {
    pub(super) async fn open(call: Call, span: &Span) -> Result<Self, ApiError> {
        let call = match span {
            Span::From(0) => call,
            Span::From(offset) => call.header("range", &format!("bytes={offset}-"))?,
            Span::Last(bytes) => call.header("range", &format!("bytes=-{bytes}"))?,
            // Ranges name their last byte.
            Span::Between(Range { start, end }) => {
                call.header("range", &format!("bytes={start}-{}", end.saturating_sub(1)))?
            }
        };
        let answer = call.stream().await?;
        let offset = match (answer.status.as_u16(), span) {
            // All of it, whatever was asked for.
            (200, Span::From(0)) => 0,
            (206, _) => {
                let range = answer.header("content-range").unwrap_or_default();
                begin_of(range)
                    .ok_or_else(|| ApiError::Unread(format!("it is the range {range:?}")))?
            }
            (status, _) => {
                return Err(ApiError::Unread(format!(
                    "it has status {status} instead of a range"
                )));
            }
        };
        // Later is possible: of some logs, only the end is kept.
        if let Span::From(wanted) | Span::Between(Range { start: wanted, .. }) = span
            && offset < *wanted
        {
            return Err(ApiError::Unread(format!(
                "it begins at byte {offset} instead of {wanted}"
            )));
        }
        Ok(Self {
            offset,
            pieces: Pieces(Box::pin(answer.into_bytes())),
        })
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        self.pieces.next().await
    }
}

/// The first byte of `bytes 5-9/10`.
fn begin_of(content_range: &str) -> Option<u64> {
    content_range
        .strip_prefix("bytes ")?
        .split_once('-')?
        .0
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_name_their_first_byte() {
        assert_eq!(begin_of("bytes 5-9/10"), Some(5));
        assert_eq!(begin_of("bytes 0-0/*"), Some(0));
        for bad in [
            "",
            "bytes */10",
            "bytes -5/10",
            "items 5-9/10",
            "bytes x-9/10",
        ] {
            assert_eq!(begin_of(bad), None, "{bad}");
        }
    }
}
