//! A log as it is printed: through the tunnel while there is one, and the kept
//! tail when the job has ended and its site is away.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use forebay_central::{Caller, Error, JobPlace};
use forebay_http::{
    Client, ClientError,
    ndjson::{Line, LineError, Reader},
    sse::Event,
};
use forebay_postgres::doorbell::Bell;
use forebay_service::logs;
use forebay_wire::api::LogItem;
use http::Method;

use super::{
    super::events::{LOOK, RIGHTS},
    Which,
};
use crate::view::View;

/// The agent sends something at least this often.
const SILENCE: Duration = Duration::from_secs(45);
/// A piece of a log on one line: 64 KiB of text, escaped at worst sixfold.
const LINE_BYTES: usize = 1 << 20;

/// One follower.
pub(super) struct Follow {
    view: View,
    caller: Caller,
    which: Which,
    /// Everything before was sent.
    from: u64,
    bell: Bell,
    reader: Option<Reader>,
    kept: VecDeque<LogItem>,
    asked: Instant,
    ended: bool,
}

impl Follow {
    pub(super) fn new(view: &View, caller: Caller, which: Which, from: u64) -> Self {
        Self {
            view: view.clone(),
            caller,
            which,
            from,
            bell: view.store().bell(),
            reader: None,
            kept: VecDeque::new(),
            asked: Instant::now(),
            ended: false,
        }
    }

    /// The next piece; none after the end, or when the caller may no longer see it.
    pub(super) async fn next(&mut self) -> Option<Event> {
        while !self.ended {
            if self.asked.elapsed() >= RIGHTS && !self.may_go_on().await {
                return None;
            }
            let item = match self.kept.pop_front() {
                Some(item) => Some(item),
                None => match self.reader.take() {
                    Some(reader) => self.read(reader).await,
                    None => match self.begin().await {
                        Ok(()) => None,
                        Err(Gone) => return None,
                    },
                },
            };
            let Some(item) = item else { continue };
            self.from = match &item {
                LogItem::Text { next, .. } | LogItem::Skipped { next, .. } => *next,
                LogItem::End { offset } => {
                    self.ended = true;
                    *offset
                }
            };
            match Event::json("log", &item) {
                Ok(event) => return Some(event.with_id(self.from.to_string())),
                Err(error) => tracing::error!(%error, "a piece of a log cannot be written as JSON"),
            }
        }
        None
    }

    /// Asked while pieces come, too: rights end although a log goes on.
    async fn may_go_on(&mut self) -> bool {
        match self.view.store().still_good(&self.caller).await {
            Ok(good) => {
                self.asked = Instant::now();
                good
            }
            Err(error) => {
                tracing::warn!(error = logs::chain(&error), "rights could not be checked");
                // Not told anything that could not be checked.
                tokio::time::sleep(LOOK).await;
                self.view
                    .store()
                    .still_good(&self.caller)
                    .await
                    .unwrap_or(false)
            }
        }
    }

    /// One piece from the agent. Puts the reader back unless it has broken.
    async fn read(&mut self, mut reader: Reader) -> Option<LogItem> {
        match tokio::time::timeout(RIGHTS, reader.next::<LogItem>()).await {
            Ok(Ok(Some(Line::Item(item)))) => {
                self.reader = Some(reader);
                return Some(item);
            }
            Ok(Ok(Some(Line::Heartbeat))) | Err(_) => self.reader = Some(reader),
            Ok(Ok(None)) => {}
            Ok(Err(error @ (LineError::TooLong { .. } | LineError::Malformed(_)))) => {
                tracing::error!(%error, "the agent sent what is no piece of a log");
            }
            Ok(Err(error)) => tracing::info!(%error, "a followed log broke off"),
        }
        if self.reader.is_none() {
            // The agent ends with `End`; anything else is resumed, not at once.
            self.bell.wait(LOOK).await;
        }
        None
    }

    /// Finds a place to read from; if there is none now, waits a moment.
    async fn begin(&mut self) -> Result<(), Gone> {
        let place = match self
            .view
            .store()
            .job_place(&self.caller, self.which.job)
            .await
        {
            Ok(place) => place,
            Err(Error::NotFound(_)) => return Err(Gone),
            Err(error) => {
                tracing::warn!(
                    error = logs::chain(&error),
                    "a followed job could not be read"
                );
                tokio::time::sleep(LOOK).await;
                return Ok(());
            }
        };
        if place.printed {
            let agent = self.view.ways().to(&place.site).await;
            let reached = match agent {
                Some(agent) => call(agent, self.which, self.from).await.map(Some),
                None => Ok(None),
            };
            match reached {
                Ok(Some(reader)) => {
                    self.reader = Some(reader);
                    return Ok(());
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::info!(error = logs::chain(&error), "a log cannot be followed now");
                }
            }
        }
        if place.state.is_end() && self.use_tail(&place).await {
            return Ok(());
        }
        self.bell.wait(LOOK).await;
        Ok(())
    }

    /// Whether the kept tail, or the certainty that there is nothing, settles it.
    async fn use_tail(&mut self, place: &JobPlace) -> bool {
        let Which { job, stream, task } = self.which;
        match self
            .view
            .store()
            .log_tail(&self.caller, job, stream, task)
            .await
        {
            // The file has what the tail has not, and its site is likely to be back in a moment.
            Ok(Some(tail)) if self.from < tail.offset && self.view.ways().may_come(&place.site) => {
                false
            }
            Ok(Some(tail)) => {
                let end = tail.offset.saturating_add(tail.body.len() as u64);
                let start = self.from.max(tail.offset);
                if self.from < tail.offset {
                    self.kept.push_back(LogItem::Skipped {
                        offset: self.from,
                        next: tail.offset,
                    });
                }
                if start < end {
                    let skip = usize::try_from(start - tail.offset).unwrap_or(usize::MAX);
                    let text = String::from_utf8_lossy(tail.body.get(skip..).unwrap_or_default())
                        .into_owned();
                    self.kept.push_back(LogItem::Text {
                        offset: start,
                        next: end,
                        text,
                    });
                }
                self.kept.push_back(LogItem::End { offset: end });
                true
            }
            Ok(None) if !place.printed => {
                self.kept.push_back(LogItem::End { offset: 0 });
                true
            }
            // It has ended, and its site, which has the file, will be back.
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(error = logs::chain(&error), "a kept log could not be read");
                false
            }
        }
    }
}

/// The job is gone.
struct Gone;

async fn call(agent: Client, which: Which, from: u64) -> Result<Reader, ClientError> {
    let mut call = agent
        .call(Method::GET, &which.path("/follow"))
        .query("from", &from.to_string());
    if let Some(task) = which.task {
        call = call.query("task", &task.to_string());
    }
    Ok(call.stream().await?.lines(LINE_BYTES, SILENCE))
}
