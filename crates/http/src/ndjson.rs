//! JSON, one value a line: feeds between services. An empty line is a heartbeat.

use crate::reply::{self, Response};
use bytes::{Buf as _, Bytes, BytesMut};
use forebay_service::CancellationToken;
use futures_util::{Stream, StreamExt as _, stream};
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use std::{error::Error, fmt, pin::Pin, time::Duration};
use tokio::time::timeout;

/// The content type of such a stream.
pub const CONTENT_TYPE: &str = "application/x-ndjson";

/// Send `items` as they come, an empty line each `heartbeat` without any, until they end or `stop`
/// is cancelled. An item that cannot be written as JSON is left out and logged.
pub fn reply<T, S>(items: S, stop: CancellationToken, heartbeat: Duration) -> Response
where
    T: Serialize,
    S: Stream<Item = T> + Send + 'static,
{
    let items = Box::pin(items.take_until(stop.cancelled_owned()));
    let lines = stream::unfold(items, move |mut items| async move {
        loop {
            let line = match timeout(heartbeat, items.next()).await {
                Err(_) => Bytes::from_static(b"\n"),
                Ok(None) => return None,
                Ok(Some(item)) => match serde_json::to_vec(&item) {
                    Ok(mut line) => {
                        line.push(b'\n');
                        line.into()
                    }
                    Err(error) => {
                        tracing::error!(%error, "an item of a feed cannot be written as JSON");
                        continue;
                    }
                },
            };
            return Some((Ok(line), items));
        }
    });
    reply::stream(StatusCode::OK, CONTENT_TYPE, lines)
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<T> {
    /// A value.
    Item(T),
    /// The other side lives and has nothing to say.
    Heartbeat,
}

/// A line could not be had. After [`TooLong`](Self::TooLong) and [`Malformed`](Self::Malformed) the
/// next call gives the line behind it; the others end the stream.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Longer than allowed; it is skipped.
    #[error("a line is longer than {bytes_max} bytes")]
    TooLong {
        /// What is allowed.
        bytes_max: usize,
    },
    /// Not a value of the expected type; it is skipped.
    #[error("a line is not what was expected")]
    Malformed(#[source] serde_json::Error),
    /// Nothing came for too long, not even a heartbeat.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// The stream broke.
    #[error("the stream broke off")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
    /// The stream ended within a line.
    #[error("the stream ended within a line")]
    Torn,
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Box<dyn Error + Send + Sync>>> + Send>>;

/// Reads lines from a stream of bytes, holding no more than one.
pub struct Reader {
    pieces: Pieces,
    buffer: BytesMut,
    /// Up to here the buffer is known to hold no line end.
    searched: usize,
    line_bytes_max: usize,
    silence_max: Duration,
    /// Within a line that is too long.
    skipping: bool,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Read from `pieces`. A line is at most `line_bytes_max` bytes long; when nothing arrives for
    /// `silence_max` the other side counts as gone. Choose a few times its heartbeat.
    pub fn new<E>(
        pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
        line_bytes_max: usize,
        silence_max: Duration,
    ) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self {
            pieces: Box::pin(pieces.map(|piece| piece.map_err(Into::into))),
            buffer: BytesMut::new(),
            searched: 0,
            line_bytes_max,
            silence_max,
            skipping: false,
        }
    }

    /// The next line; none at the end. Cancel-safe.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Line<T>>, LineError> {
        let Some(line) = self.next_line().await? else {
            return Ok(None);
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Line::Heartbeat));
        }
        serde_json::from_slice(&line)
            .map(|item| Some(Line::Item(item)))
            .map_err(LineError::Malformed)
    }

    async fn next_line(&mut self) -> Result<Option<Bytes>, LineError> {
        let too_long = LineError::TooLong {
            bytes_max: self.line_bytes_max,
        };
        loop {
            let end = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(end) = end.map(|end| end + self.searched) {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                if std::mem::take(&mut self.skipping) || line.len() > self.line_bytes_max {
                    return Err(too_long);
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.line_bytes_max {
                // Told once its end has come; until then nothing of it is kept.
                self.skipping = true;
            }
            if self.skipping {
                self.buffer.clear();
                self.searched = 0;
            }
            match timeout(self.silence_max, self.pieces.next()).await {
                Err(_) => return Err(LineError::Silent(self.silence_max)),
                Ok(Some(Ok(piece))) => self.buffer.extend_from_slice(&piece),
                Ok(Some(Err(error))) => return Err(LineError::Broken(error)),
                Ok(None) if self.buffer.is_empty() && !self.skipping => return Ok(None),
                Ok(None) => {
                    self.buffer.clear();
                    self.skipping = false;
                    self.searched = 0;
                    return Err(LineError::Torn);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    async fn read(pieces: &[&'static str]) -> Vec<String> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece.as_bytes())))
            .collect();
        let mut reader = Reader::new(stream::iter(pieces), 10, Duration::from_secs(1));
        let mut lines = Vec::new();
        loop {
            match reader.next::<u32>().await {
                Ok(None) => return lines,
                Ok(Some(Line::Item(item))) => lines.push(item.to_string()),
                Ok(Some(Line::Heartbeat)) => lines.push("heartbeat".to_owned()),
                Err(error) => lines.push(error.to_string()),
            }
        }
    }

    #[tokio::test]
    async fn reads_lines_however_they_are_cut() {
        assert_eq!(
            read(&["1\n2", "3\n", "\n \r\n4", "5", "6\n"]).await,
            ["1", "23", "heartbeat", "heartbeat", "456"]
        );
        assert_eq!(
            read(&["1\n2"]).await,
            ["1", "the stream ended within a line"]
        );
    }

    #[tokio::test]
    async fn a_bad_line_is_skipped_and_told() {
        let bad = "a line is not what was expected";
        let long = "a line is longer than 10 bytes";
        assert_eq!(read(&["1\nx\n2\n"]).await, ["1", bad, "2"]);
        assert_eq!(
            read(&["1\n12345", "678", "90123", "4567890\n2\n"]).await,
            ["1", long, "2"]
        );
        assert_eq!(read(&["1\n12345678901\n2\n"]).await, ["1", long, "2"]);
        assert_eq!(
            read(&["1\n1234567890\n2\n"]).await,
            ["1", "1234567890", "2"]
        );
    }

    #[tokio::test]
    async fn silence_ends_the_wait() {
        let mut reader = Reader::new(
            stream::pending::<Result<Bytes, Infallible>>(),
            10,
            Duration::from_millis(5),
        );
        assert!(matches!(
            reader.next::<u32>().await,
            Err(LineError::Silent(_))
        ));
    }
}
