//! What a mailbox holds: a delta, written as JSON once for all who get it; or that a topic has ended.

use std::sync::Arc;

use forebay_central::feeds::{Change, Cursor, Source};
use forebay_http::Problem;
use forebay_streams::hub;
use forebay_wire::feed::{Delta, Item, Message, Object};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Counted for each in a mailbox, beside its text.
const OVERHEAD_BYTES: usize = 200;

/// Something to tell the readers of one source. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Told(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: Arc<str>,
    source: Source,
    what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Delta(Written),
    /// The reader may no longer read it.
    Ended(Problem),
}

/// A delta and its text.
#[derive(Debug)]
pub(crate) struct Written {
    /// Its place in the feed; none for what was not told by the feed, which is news in any case.
    pub(crate) place: Option<Cursor>,
    /// Where a reader may go on after it.
    pub(crate) cursor: Cursor,
    item: Item,
    pub(crate) text: Utf8Bytes,
}

impl Told {
    /// A change that the feed told of. None if it cannot be written, which is logged.
    pub(crate) fn change(change: Change) -> Option<Self> {
        let Change {
            cursor,
            source,
            item,
        } = change;
        Self::delta(source, Some(cursor), cursor, item)
    }

    /// A change that we saw ourselves, when the feed had been read up to `cursor`.
    pub(crate) fn seen(source: Source, cursor: Cursor, item: Item) -> Option<Self> {
        Self::delta(source, None, cursor, item)
    }

    /// The topic has ended for its readers.
    pub(crate) fn ended(source: Source, problem: Problem) -> Self {
        Self(Arc::new(Inner {
            key: key(&source, "", ""),
            source,
            what: What::Ended(problem),
        }))
    }

    fn delta(source: Source, place: Option<Cursor>, cursor: Cursor, item: Item) -> Option<Self> {
        let kind = match item.object {
            Object::Job(_) => "job",
            Object::Cluster(_) => "cluster",
            Object::Announcement(_) => "announcement",
        };
        let key = key(&source, kind, &item.key);
        let message = Message::Delta(Delta {
            topic: source.topic(),
            cursor: cursor.to_string(),
            item,
        });
        let text = text(&message)?;
        let Message::Delta(Delta { item, .. }) = message else {
            return None;
        };
        Some(Self(Arc::new(Inner {
            key,
            source,
            what: What::Delta(Written {
                place,
                cursor,
                item,
                text,
            }),
        })))
    }

    pub(crate) fn source(&self) -> &Source {
        &self.0.source
    }

    pub(crate) fn what(&self) -> &What {
        &self.0.what
    }
}

impl hub::Item for Told {
    type Key = Arc<str>;

    fn key(&self) -> Arc<str> {
        Arc::clone(&self.0.key)
    }

    fn bytes(&self) -> usize {
        let text = match &self.0.what {
            What::Delta(written) => written.text.len(),
            What::Ended(problem) => problem.message.len(),
        };
        text + OVERHEAD_BYTES
    }

    /// A job's delta has only the events that are new: those of the older one come along.
    fn replacing(self, older: Self) -> Self {
        let (What::Delta(new), What::Delta(old)) = (&self.0.what, &older.0.what) else {
            return self;
        };
        let (Object::Job(Some(job)), Object::Job(Some(before))) =
            (&new.item.object, &old.item.object)
        else {
            return self;
        };
        if before.events.is_empty() {
            return self;
        }
        let mut job = job.clone();
        job.events.splice(0..0, before.events.iter().cloned());
        job.events.dedup_by_key(|event| event.seq);
        let item = Item {
            object: Object::Job(Some(job)),
            ..new.item.clone()
        };
        Self::delta(self.0.source.clone(), new.place, new.cursor, item).unwrap_or(self)
    }
}

/// Unique among what one reader gets.
fn key(source: &Source, kind: &str, key: &str) -> Arc<str> {
    format!("{} {kind} {key}", source.topic()).into()
}

/// A message as JSON. None if that is not possible, which is a mistake of this program and is logged.
pub(crate) fn text(message: &Message) -> Option<Utf8Bytes> {
    match serde_json::to_string(message) {
        Ok(text) => Some(text.into()),
        Err(error) => {
            tracing::error!(%error, "a message cannot be written as JSON");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_streams::hub::Item as _;
    use forebay_wire::{
        Freshness, JobId, JobState, Timestamp, UserId,
        api::{EventKind, JobEvent, JobStatus},
        feed::JobItem,
    };

    use super::*;

    fn told(job: JobId, user: UserId, rev: i64, seqs: &[i64]) -> Told {
        let at = Timestamp::from_unix(1_800_000_000).expect("a time");
        let event = |seq: &i64| JobEvent {
            seq: *seq,
            at,
            run: 0,
            kind: EventKind::CancelWanted,
            message: None,
        };
        let item = JobItem {
            id: job,
            rev,
            created_at: at,
            owner: "ann".into(),
            site: "here".parse().expect("a name"),
            cluster: "hpc".parse().expect("a name"),
            name: String::new(),
            status: JobStatus {
                state: JobState::Running,
                freshness: Freshness::Live,
                run: 0,
                reason: None,
                cancel_wanted_at: None,
                scheduler_id: None,
                submitted_at: None,
                started_at: None,
                ended_at: None,
                exit: None,
                nodes: None,
                stdout_path: None,
                stderr_path: None,
                tasks: None,
            },
            events: seqs.iter().map(event).collect(),
        };
        Told::change(Change {
            cursor: Cursor {
                epoch: 1,
                xid: 1,
                id: rev,
            },
            source: Source::Job(job, user),
            item: Item {
                key: job.to_string(),
                rev,
                object: Object::Job(Some(Box::new(item))),
            },
        })
        .expect("JSON")
    }

    #[test]
    fn the_newer_takes_the_events_of_the_older_along() {
        let (job, user) = (JobId::new(), UserId::new());
        let (first, second) = (told(job, user, 1, &[1, 2]), told(job, user, 2, &[3]));
        let (third, fourth) = (told(job, user, 3, &[]), told(job, user, 4, &[4]));
        assert_eq!(first.key(), fourth.key());
        assert_ne!(first.key(), told(JobId::new(), user, 1, &[]).key());
        let all = fourth.replacing(third.replacing(second.replacing(first)));
        let What::Delta(written) = all.what() else {
            panic!("a delta");
        };
        let message: Message = serde_json::from_str(&written.text).expect("a message");
        let Message::Delta(Delta { item, cursor, .. }) = message else {
            panic!("a delta");
        };
        assert_eq!((item.rev, cursor.as_str()), (4, "1.1.4"));
        let Object::Job(Some(job)) = item.object else {
            panic!("a job");
        };
        let seqs: Vec<_> = job.events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, [1, 2, 3, 4]);
    }
}
