//! Reading a request's body, bounded in size and time.

use crate::reply::Shared;
use bytes::{Buf, Bytes, BytesMut};
use forebay_wire::{Code, Problem};
use futures_util::{Stream, StreamExt as _};
use std::{fmt, time::Duration};
use tokio::time::timeout;

/// A body that is refused as too large is read on so far, and for so long, and thrown away: a
/// client that still writes when the connection is closed may never see our answer.
const DISCARD_BYTES_MAX: usize = 64 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes_max: usize,
    /// Between two pieces.
    pub(crate) pause_max: Duration,
    /// What the client says the length is.
    pub(crate) declared: Option<u64>,
    /// The client sends the body only when it is asked for it (`Expect: 100-continue`).
    pub(crate) waits: bool,
}

/// A request's body, not yet read.
pub struct Body {
    pieces: Shared<Result<Bytes, warp::Error>>,
    limits: BodyLimits,
    read: usize,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("limits", &self.limits)
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}

impl Body {
    pub(crate) fn new<B: Buf>(
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
        limits: BodyLimits,
    ) -> Self {
        let pieces =
            body.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())));
        Self {
            pieces: Shared::new(pieces),
            limits,
            read: 0,
        }
    }

    /// All of it, of at most `bytes_max` bytes and at most what the server allows.
    pub async fn bytes(&mut self, bytes_max: usize) -> Result<Bytes, Problem> {
        let bytes_max = bytes_max.min(self.limits.bytes_max);
        // Believed only to refuse early.
        if self
            .limits
            .declared
            .is_some_and(|length| length > bytes_max as u64)
        {
            return Err(self.too_large(bytes_max).await);
        }
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if self.read > bytes_max {
                return Err(self.too_large(bytes_max).await);
            }
            // Small bodies come in one piece, which is passed on as it is.
            if first.is_empty() && whole.is_empty() {
                first = piece;
            } else {
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&piece);
            }
        }
        Ok(if whole.is_empty() {
            first
        } else {
            whole.freeze()
        })
    }

    /// The next piece, or none at the end. The server's limits on size and pauses hold.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, Problem> {
        let piece = self.next().await?;
        if self.read > self.limits.bytes_max {
            return Err(self.too_large(self.limits.bytes_max).await);
        }
        Ok(piece)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        match timeout(self.limits.pause_max, self.pieces.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(Ok(piece))) => {
                self.read = self.read.saturating_add(piece.len());
                Ok(Some(piece))
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a body broke off");
                Err(Problem::new(
                    Code::Malformed,
                    "The body broke off or is not in valid HTTP.",
                ))
            }
            Err(_) => Err(Problem::new(Code::Deadline, "The body came too slowly.")),
        }
    }

    async fn too_large(&mut self, bytes_max: usize) -> Problem {
        if !self.limits.waits || self.read > 0 {
            let mut left = DISCARD_BYTES_MAX;
            let discard = async {
                while let Some(Ok(piece)) = self.pieces.next().await {
                    left = left.saturating_sub(piece.len());
                    if left == 0 {
                        break;
                    }
                }
            };
            // Whichever comes first; the answer is the same.
            let _ = timeout(DISCARD_TIME_MAX, discard).await;
        }
        let message = format!("The body is larger than the {bytes_max} bytes allowed here.");
        Problem::new(Code::TooLarge, message)
    }
}
