//! Bringing a job's output here, by bytes or as it comes.

use std::{ops::Range, time::Duration};

use forebay_wire::{
    JobId,
    api::{LogItem, LogStream},
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    api::{Api, ApiError, Patience, Span},
    console::Console,
    failure::Failure,
    follow::{Position, Step},
};

/// After the job's end: how long nothing may come before we stop.
const IDLE_AFTER_END: Duration = Duration::from_secs(30);

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    /// To our standard output, as it is.
    Stdout,
    /// To our standard error, as it is.
    Stderr,
    /// To our standard output, a JSON document an item.
    Json,
}

/// One of a job's outputs.
pub(super) struct Output<'a> {
    /// Whom to ask.
    pub(super) api: &'a Api,
    /// Where to print.
    pub(super) console: &'a Console,
    /// Whose.
    pub(super) id: JobId,
    /// Which.
    pub(super) stream: LogStream,
    /// Of an array: whose output.
    pub(super) task: Option<u32>,
    /// In which form.
    pub(super) sink: Sink,
}

/// Why output stopped coming.
pub(super) enum Stopped {
    /// Ours could not be written.
    Here(Failure),
    /// The server's could not be read.
    There(ApiError),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

impl From<ApiError> for Stopped {
    fn from(error: ApiError) -> Self {
        Self::There(error)
    }
}

impl From<Stopped> for Failure {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Here(failure) => failure,
            Stopped::There(error) => error.into(),
        }
    }
}

impl Output<'_> {
    /// Prints what there is of `span`; answers where the next byte lies.
    pub(super) async fn print(
        &self,
        span: Span,
        patience: &mut Patience<'_>,
    ) -> Result<Position, Stopped> {
        let mut span = span;
        let mut position = match span {
            Span::From(offset) | Span::Between(Range { start: offset, .. }) => Position::at(offset),
            Span::Last(_) => Position::default(),
        };
        loop {
            let cut = match self.api.log(self.id, self.stream, self.task, &span).await {
                // The log ends before the span begins: nothing to print.
                Err(error) if error.is_out_of_range() => return Ok(position),
                Err(error) => error,
                Ok(mut log) => {
                    if !matches!(span, Span::Last(_)) {
                        self.note_missing(log.offset.saturating_sub(position.offset()));
                    }
                    position = Position::at(log.offset);
                    loop {
                        match log.next().await {
                            Ok(Some(bytes)) => {
                                patience.reset();
                                position = Position::at(position.offset() + bytes.len() as u64);
                                self.write(&bytes)?;
                            }
                            Ok(None) => return Ok(position),
                            Err(error) => break error,
                        }
                        // From here on we know where we are.
                        span = match span {
                            Span::Between(Range { end, .. }) => {
                                Span::Between(position.offset()..end)
                            }
                            Span::From(_) | Span::Last(_) => Span::From(position.offset()),
                        };
                    }
                }
            };
            if let Span::Between(Range { start, end }) = &span
                && start >= end
            {
                return Ok(position);
            }
            patience.after(cut).await?;
        }
    }

    /// Prints from `position` on until the job has ended and all was printed.
    ///
    /// `ended` tells when the job has ended, if the caller knows: from then on
    /// nothing is waited for that does not come.
    pub(super) async fn follow(
        &self,
        mut position: Position,
        patience: &mut Patience<'_>,
        ended: Option<watch::Receiver<bool>>,
    ) -> Result<(), Stopped> {
        loop {
            let cut = match self
                .api
                .follow_log(self.id, self.stream, self.task, position.offset())
                .await
            {
                Err(error) => error,
                Ok(mut items) => loop {
                    let next = tokio::select! {
                        next = items.next() => next,
                        () = idle(ended.clone()) => return Err(ApiError::Silent(IDLE_AFTER_END).into()),
                    };
                    match next {
                        Ok(Some(data)) => {
                            patience.reset();
                            // An item of a newer server's is passed over; its bytes come with the next.
                            let Ok(item) = serde_json::from_str::<LogItem>(&data) else {
                                continue;
                            };
                            if self.take(item, &mut position, patience).await? {
                                return Ok(());
                            }
                        }
                        Ok(None) => break ApiError::Cut,
                        Err(error) => break error,
                    }
                },
            };
            patience.after(cut).await?;
        }
    }

    /// Prints an item; answers whether it was the last.
    async fn take(
        &self,
        item: LogItem,
        position: &mut Position,
        patience: &mut Patience<'_>,
    ) -> Result<bool, Stopped> {
        if self.sink == Sink::Json {
            let steps = position.advance(item.clone());
            if !steps.is_empty() {
                self.console
                    .json_line(&json!({ "kind": "log", "stream": self.stream, "item": item }))?;
            }
            return Ok(steps.contains(&Step::Done));
        }
        for step in position.advance(item) {
            match step {
                Step::Print(text) => self.write(text.as_bytes())?,
                Step::Fetch(range) => self.fetch(range, patience).await?,
                Step::Done => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Prints bytes of the file that did not come as text.
    async fn fetch(&self, range: Range<u64>, patience: &mut Patience<'_>) -> Result<(), Stopped> {
        let reached = self.print(Span::Between(range.clone()), patience).await?;
        self.note_missing(range.end.saturating_sub(reached.offset()));
        Ok(())
    }

    /// Says that bytes are left out: their file is out of reach, or shorter now.
    fn note_missing(&self, bytes: u64) {
        if bytes > 0 {
            self.console.note(&format!(
                "{bytes} bytes of {} cannot be had now and are left out",
                self.stream
            ));
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        match self.sink {
            Sink::Stdout | Sink::Json => self.console.out(bytes),
            Sink::Stderr => self.console.err(bytes),
        }
    }
}

/// Returns when the job has ended and a while has passed; never, if nobody tells.
async fn idle(ended: Option<watch::Receiver<bool>>) {
    if let Some(mut ended) = ended
        && ended.wait_for(|ended| *ended).await.is_ok()
    {
        tokio::time::sleep(IDLE_AFTER_END).await;
    } else {
        std::future::pending::<()>().await;
    }
}
