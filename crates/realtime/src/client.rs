//! One connection's topics, and what its reader is to be told of them: a snapshot or what it missed, then deltas.
//!
//! Subscribing first opens the mailbox and only then reads the database, so nothing falls between; what is in both
//! is told by its place in the feed. All that waits is bounded: the mailbox, a page of the feed, one snapshot.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use forebay_central::{
    Again, Error,
    feeds::{Change, Cursor, Source},
};
use forebay_http::{Code, Problem};
use forebay_service::logs;
use forebay_streams::hub::{Bounds, Reader, Received};
use forebay_wire::{
    UserId,
    feed::{Heartbeat, Message, Refusal, Snapshot, Topic},
};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    realtime::Realtime,
    told::{Told, What, text},
};

/// Topics of one connection.
pub(crate) const TOPICS_MAX: usize = 64;
/// What may wait for one connection: about what a page of jobs takes.
const MAILBOX: Bounds = Bounds {
    items: 256,
    bytes: 128 << 10,
};
/// A reader that missed more than this begins anew: a snapshot is smaller.
const RESUMED_CHANGES_MAX: usize = 500;
/// After a failure of the database.
const PAUSE: Duration = Duration::from_secs(1);

/// One connection's reader.
pub(crate) struct Client {
    realtime: Realtime,
    user: UserId,
    mailbox: Reader<Source, Told>,
    topics: BTreeMap<Source, Begun>,
    /// To be begun: with a cursor from there, else with a snapshot.
    owed: BTreeMap<Source, Option<Cursor>>,
    not_before: Instant,
    out: VecDeque<Out>,
}

/// Up to where a topic was told when it began; not known before.
#[derive(Clone, Copy, Debug, Default)]
struct Begun(Option<Cursor>);

/// Something to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    /// The message's `type`.
    pub(crate) kind: &'static str,
    /// The message as JSON.
    pub(crate) text: Utf8Bytes,
    /// Where all of this connection's topics may go on after it, as far as that is one place.
    pub(crate) cursor: Option<Cursor>,
}

impl Client {
    pub(crate) fn new(realtime: &Realtime, user: UserId) -> Self {
        Self {
            mailbox: realtime.hub().reader(MAILBOX),
            realtime: realtime.clone(),
            user,
            topics: BTreeMap::new(),
            owed: BTreeMap::new(),
            not_before: Instant::now(),
            out: VecDeque::new(),
        }
    }

    /// Begins a topic, or begins it anew.
    pub(crate) fn subscribe(
        &mut self,
        topic: &Topic,
        after: Option<Cursor>,
    ) -> Result<(), Problem> {
        let source = Source::of(topic, self.user);
        if !self.topics.contains_key(&source) && self.topics.len() >= TOPICS_MAX {
            let message = format!("A connection has at most {TOPICS_MAX} topics.");
            return Err(Problem::new(Code::Busy, message));
        }
        self.mailbox.subscribe(source.clone());
        self.topics.insert(source.clone(), Begun::default());
        self.owed.insert(source, after);
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, topic: &Topic) {
        self.end(&Source::of(topic, self.user));
    }

    fn end(&mut self, source: &Source) {
        self.mailbox.unsubscribe(source);
        self.topics.remove(source);
        self.owed.remove(source);
    }

    /// Whether topics are still to be begun.
    pub(crate) fn is_owed(&self) -> bool {
        !self.owed.is_empty()
    }

    /// The next thing to be sent. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Out {
        loop {
            if let Some(out) = self.out.pop_front() {
                return out;
            }
            if !self.owed.is_empty() {
                sleep_until(self.not_before).await;
                self.settle().await;
                continue;
            }
            match self.mailbox.next().await {
                Received::Item(told) => self.take(&told),
                Received::Lagged(missed) => {
                    tracing::debug!(missed, "a reader was too slow and begins anew");
                    self.realtime.counters().lagged.inc();
                    self.out.clear();
                    self.owed = self.topics.keys().map(|s| (s.clone(), None)).collect();
                }
            }
        }
    }

    /// What tells that all is well; to be sent when nothing else was for a while.
    pub(crate) fn heartbeat(&self) -> Option<Out> {
        // First the position: an empty mailbox after it had everything up to there.
        let position = *self.realtime.position().borrow();
        let idle = self.out.is_empty() && self.owed.is_empty() && self.mailbox.is_empty();
        let not_behind = |position: &Cursor| {
            let begun = self.topics.values().filter_map(|begun| begun.0);
            !begun.into_iter().any(|begun| is_past(&begun, position))
        };
        let cursor = position.filter(|_| idle).filter(not_behind);
        heartbeat(None, cursor)
    }

    fn take(&mut self, told: &Told) {
        let Some(begun) = self.topics.get(told.source()) else {
            return;
        };
        match told.what() {
            What::Delta(written) => {
                let known = |place: Cursor| begun.0.is_some_and(|begun| !is_past(&place, &begun));
                if written.place.is_some_and(known) {
                    return;
                }
                self.realtime.counters().deltas.inc();
                self.out.push_back(Out {
                    kind: "delta",
                    text: written.text.clone(),
                    cursor: Some(written.cursor),
                });
            }
            What::Ended(problem) => self.refuse(told.source(), problem.clone()),
        }
    }

    /// Begins what is owed, as far as the database answers. What is owed goes only when it is in `out`.
    async fn settle(&mut self) {
        if let Err(error) = self.try_settle().await {
            tracing::debug!(
                error = logs::chain(&error),
                "topics cannot be begun at present"
            );
            self.not_before = Instant::now() + PAUSE;
        }
    }

    async fn try_settle(&mut self) -> Result<(), Error> {
        let realtime = self.realtime.clone();
        // Until the feed is read, what happens after a snapshot would not be heard of. (The sender lives as long as
        // this does.)
        let _ = realtime
            .position()
            .subscribe()
            .wait_for(Option::is_some)
            .await;
        let Ok(_turn) = realtime.turns().acquire().await else {
            return Ok(());
        };
        let mut by_cursor: BTreeMap<Option<Cursor>, Vec<Source>> = BTreeMap::new();
        for (source, after) in &self.owed {
            by_cursor.entry(*after).or_default().push(source.clone());
        }
        let mut anew = by_cursor.remove(&None).unwrap_or_default();
        for (after, sources) in by_cursor {
            let Some(after) = after else { continue };
            let sources = self.readable(sources).await?;
            match missed(&realtime, after, &sources).await? {
                Some((changes, upto)) => self.resume(&sources, changes, upto),
                None => anew.extend(sources),
            }
        }
        if anew.is_empty() {
            return Ok(());
        }
        let (states, cursor) = realtime.store().states(&anew).await?;
        let mut told = 0;
        let all = states.iter().flatten().count();
        for (source, state) in anew.into_iter().zip(states) {
            let Some(state) = state else {
                self.refuse_missing(&source);
                continue;
            };
            told += 1;
            let message = Message::Snapshot(Snapshot {
                topic: source.topic(),
                cursor: cursor.to_string(),
                items: state.items,
                more: state.more,
            });
            realtime.counters().snapshots.inc();
            if let Some(text) = text(&message) {
                // Whoever has heard only some of them must begin all of them anew.
                let cursor = (told == all).then_some(cursor);
                self.out.push_back(Out {
                    kind: "snapshot",
                    text,
                    cursor,
                });
            }
            self.topics.insert(source.clone(), Begun(Some(cursor)));
            self.owed.remove(&source);
        }
        Ok(())
    }

    /// Those that the user may read; the others are refused.
    async fn readable(&mut self, sources: Vec<Source>) -> Result<Vec<Source>, Error> {
        let readable = self.realtime.store().may_read(&sources).await?;
        let (may, may_not): (Vec<_>, Vec<_>) =
            sources.into_iter().zip(readable).partition(|(_, may)| *may);
        for (source, _) in may_not {
            self.refuse_missing(&source);
        }
        Ok(may.into_iter().map(|(source, _)| source).collect())
    }

    fn resume(&mut self, sources: &[Source], changes: Vec<Change>, upto: Cursor) {
        for change in changes {
            let cursor = change.cursor;
            let Some(told) = Told::change(change) else {
                continue;
            };
            if let What::Delta(written) = told.what() {
                self.realtime.counters().deltas.inc();
                self.out.push_back(Out {
                    kind: "delta",
                    text: written.text.clone(),
                    cursor: Some(cursor),
                });
            }
        }
        for source in sources {
            self.realtime.counters().resumed.inc();
            self.out.extend(heartbeat(Some(source.topic()), Some(upto)));
            self.topics.insert(source.clone(), Begun(Some(upto)));
            self.owed.remove(source);
        }
    }

    fn refuse_missing(&mut self, source: &Source) {
        let what = match source {
            Source::Cluster(_) => "cluster",
            _ => "job",
        };
        self.refuse(source, Problem::not_found(what));
    }

    fn refuse(&mut self, source: &Source, problem: Problem) {
        self.end(source);
        self.out.extend(refusal(Some(source.topic()), problem));
    }
}

/// What was missed in these after `after`, and up to where that is; none if a snapshot is better.
async fn missed(
    realtime: &Realtime,
    after: Cursor,
    sources: &[Source],
) -> Result<Option<(Vec<Change>, Cursor)>, Error> {
    let mut cursor = after;
    let mut missed = Vec::new();
    if sources.is_empty() {
        return Ok(Some((missed, cursor)));
    }
    loop {
        let page = realtime
            .store()
            .changes(&cursor, Some(sources), |_| true)
            .await?;
        let Some(page) = page else { return Ok(None) };
        realtime.counters().skipped.inc_by(page.skipped);
        missed.extend(
            page.changes
                .into_iter()
                .filter(|change| sources.contains(&change.source)),
        );
        cursor = page.next;
        if missed.len() > RESUMED_CHANGES_MAX {
            return Ok(None);
        }
        if page.again != Again::Now {
            return Ok(Some((missed, cursor)));
        }
    }
}

/// Whether `place` lies behind `begun`. Cursors of different epochs are not in any order: then it is news.
fn is_past(place: &Cursor, begun: &Cursor) -> bool {
    place.epoch != begun.epoch || place > begun
}

fn heartbeat(topic: Option<Topic>, cursor: Option<Cursor>) -> Option<Out> {
    let whole = topic.is_none();
    let text = text(&Message::Heartbeat(Heartbeat {
        topic,
        cursor: cursor.map(|cursor| cursor.to_string()),
    }))?;
    Some(Out {
        kind: "heartbeat",
        text,
        // Of one topic it says nothing of the others.
        cursor: cursor.filter(|_| whole),
    })
}

/// A refusal of a topic, or of the connection.
pub(crate) fn refusal(topic: Option<Topic>, problem: Problem) -> Option<Out> {
    let text = text(&Message::Problem(Refusal { topic, problem }))?;
    Some(Out {
        kind: "problem",
        text,
        cursor: None,
    })
}
