//! What realtime and its readers say to each other: a snapshot, then ordered deltas.
//!
//! # Two ways, one protocol
//!
//! | | |
//! |---|---|
//! | WebSocket | `GET /rt/v1/ws`; text frames, each one JSON object: [`Message`] to the reader, [`Command`] from it |
//! | server-sent events | `GET /rt/v1/events?topic=jobs&topic=cluster/hpc`; `data:` is the same [`Message`], `event:` its `type`, `id:` a cursor |
//!
//! Who reads is known by `Authorization: Bearer fb_…` or by the page's session cookie. A browser cannot give a
//! WebSocket headers: it uses the cookie, or event streams by `fetch`. A WebSocket opened with the cookie must come
//! from an allowed `Origin`. Without credentials both answer 401. They end within seconds when the token or session
//! is revoked, or the user is disabled.
//!
//! # Topics
//!
//! | topic | who may | items | deltas |
//! |---|---|---|---|
//! | `job/<id>` | its owner; anybody else hears `not_found` | the job, with its events | the job, with the events that are new |
//! | `jobs` | everybody: their own | the newest [`JOBS_MAX`] jobs, newest first | each job of theirs that changed |
//! | `cluster/<name>` | everybody | the cluster | the cluster |
//! | `announcements` | everybody | those in force | each that came, changed or went |
//!
//! # What a reader does
//!
//! 1. It subscribes: on a WebSocket `{"type":"subscribe","topic":"jobs"}`, of an event stream in the query.
//! 2. It gets a [`Snapshot`], then [`Delta`]s. A snapshot *replaces* all that it knew of the topic. It may come again
//!    at any time: a reader that is too slow is not sent what it missed but the state as it is.
//! 3. It applies a delta to the object `key` if `rev` is not lower than the one it has, and ignores it otherwise: the
//!    same may come twice. Revisions between may be left out: only the newest counts. A `body` of `null` says that
//!    the object is gone.
//! 4. Events of a job have a number, `seq`, which counts up from 1. None is left out, but the same may come twice:
//!    ignore those whose number is not above the last one seen. (A snapshot has the newest [`EVENTS_MAX`]; older
//!    ones are at `GET /api/v1/jobs/{id}/events`.)
//! 5. It remembers the last `cursor` of each topic. After a break it subscribes again with `after: <cursor>` and gets
//!    only what is new, or a snapshot where that is too far back. A [`Heartbeat`] with a topic says that it is
//!    up to date; one without a topic says so of all topics of this connection, and its cursor is good for each.
//!    An event stream has one cursor for all its topics, the `id`: browsers send it back as `Last-Event-ID` by
//!    themselves, others as `after=`.
//!
//! A connection on which nothing came for [`SILENCE_S`] seconds is dead: open it again.
//!
//! ```text
//! > {"type":"subscribe","topic":"job/j01jdzz2v8nf3tbw0q5c7m9xk4e"}
//! < {"type":"snapshot","topic":"job/j01j…","cursor":"7.901.33","items":[{"kind":"job","body":{…,"events":[…]},"key":"j01j…","rev":3}]}
//! < {"type":"delta","topic":"job/j01j…","cursor":"7.904.35","kind":"job","body":{…,"events":[{"seq":4,…}]},"key":"j01j…","rev":4}
//! < {"type":"heartbeat","cursor":"7.950.71"}
//! > {"type":"subscribe","topic":"job/j0another"}
//! < {"type":"problem","topic":"job/j0another","problem":{"code":"not_found",…}}
//! ```
//!
//! # Bounds
//!
//! Frames from a reader have at most [`FRAME_BYTES_MAX`] bytes and are text; 64 topics a connection; connections for
//! each user and in all are limited (`busy`). The server pings; a reader that takes nothing for half a minute is cut.
//! Close codes: 1001 the service stops, come again at once; 1008 the credentials are no longer good; 1009 a frame was
//! too large; 1003 it was not text; 1007 it was not UTF-8; 1002 it was no WebSocket frame.
//!
//! The freshness of a job is what was known when its message was made. A site that falls silent changes nothing in
//! its jobs' rows: show jobs as stale while `cluster/<name>` is not `live`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    AnnouncementId, ClusterName, JobId, Problem, SiteName, Timestamp,
    api::{Cluster, JobEvent, JobStatus},
};

/// The path of the WebSocket.
pub const SOCKET_PATH: &str = "/rt/v1/ws";
/// The path of the event stream.
pub const EVENTS_PATH: &str = "/rt/v1/events";
/// The most bytes of a frame from a reader.
pub const FRAME_BYTES_MAX: usize = 4 << 10;
/// The most jobs in a snapshot of `jobs`.
pub const JOBS_MAX: u32 = 100;
/// The most events in a snapshot of a job.
pub const EVENTS_MAX: u32 = 500;
/// Something comes at least this often.
pub const HEARTBEAT_S: u64 = 15;
/// A connection that was silent for so long is dead.
pub const SILENCE_S: u64 = 45;

/// What can be subscribed to. As text: `job/<id>`, `jobs`, `cluster/<name>`, `announcements`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// One job of the reader's.
    Job(JobId),
    /// All jobs of the reader's.
    Jobs,
    /// One cluster.
    Cluster(ClusterName),
    /// What the operators have to say.
    Announcements,
}

/// The text is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTopic;

impl fmt::Display for UnknownTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topic is job/<id>, jobs, cluster/<name> or announcements")
    }
}

impl std::error::Error for UnknownTopic {}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => write!(f, "job/{id}"),
            Self::Jobs => f.write_str("jobs"),
            Self::Cluster(name) => write!(f, "cluster/{name}"),
            Self::Announcements => f.write_str("announcements"),
        }
    }
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Self, UnknownTopic> {
        match text.split_once('/') {
            Some(("job", id)) => id.parse().map(Self::Job).map_err(|_| UnknownTopic),
            Some(("cluster", name)) => name.parse().map(Self::Cluster).map_err(|_| UnknownTopic),
            None if text == "jobs" => Ok(Self::Jobs),
            None if text == "announcements" => Ok(Self::Announcements),
            _ => Err(UnknownTopic),
        }
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// What a reader says on a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Tell me of this topic. Again for one that I have: begin it anew.
    Subscribe {
        /// Which.
        topic: Topic,
        /// The last cursor of an earlier connection; a snapshot if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// No more of this topic. What is under way may still come.
    Unsubscribe {
        /// Which.
        topic: Topic,
    },
}

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The state of a topic: replaces what was known of it.
    Snapshot(Snapshot),
    /// Something changed.
    Delta(Delta),
    /// All is well, and nothing else is to be said.
    Heartbeat(Heartbeat),
    /// Something is refused, or has ended.
    Problem(Refusal),
}

/// The state of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of which topic.
    pub topic: Topic,
    /// Where to go on.
    pub cursor: String,
    /// What there is.
    pub items: Vec<Item>,
    /// There are older ones that are not among the items.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// In which topic.
    pub topic: Topic,
    /// Where to go on.
    pub cursor: String,
    /// What is new.
    #[serde(flatten)]
    pub item: Item,
}

/// All is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// In which topic; in all of this connection's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
    /// Everything up to here was told; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Something is refused, or has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The topic, which is not subscribed to, or not any more; the whole connection if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
    /// Why.
    pub problem: Problem,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its `kind`, and as `body` the object itself.
    #[serde(flatten)]
    pub object: Object,
    /// Which object of its kind: an id or a name.
    pub key: String,
    /// Only rises.
    pub rev: i64,
}

/// An object of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Object {
    /// A job, as lists show it; none when it was deleted, long after its end.
    Job(Option<Box<JobItem>>),
    /// A cluster; none when its site no longer has it.
    Cluster(Option<Box<Cluster>>),
    /// An announcement; none when it was withdrawn.
    Announcement(Option<Box<Announcement>>),
}

/// A job as lists show it: without what was asked for and without the paths of its logs; `reason` and `nodes` are
/// cut at 1,000 characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct JobItem {
    /// Forebay's own id.
    pub id: JobId,
    /// Rises with every change.
    pub rev: i64,
    /// When it was handed in.
    pub created_at: Timestamp,
    /// The name of the user whose job it is.
    pub owner: String,
    /// The site that runs it.
    pub site: SiteName,
    /// The cluster that it runs on.
    pub cluster: ClusterName,
    /// Its name; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What became of it.
    pub status: JobStatus,
    /// In the topic `job/<id>` alone: steps of its life, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<JobEvent>,
}

/// What the operators have to say to everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Announcement {
    /// Its id.
    pub id: AnnouncementId,
    /// Rises with every change.
    pub rev: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// How much it matters.
    pub level: Level,
    /// Plain text, at most 2,000 characters.
    pub text: String,
    /// Until when it is in force; until it is withdrawn if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// How much an announcement matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Level {
    /// Good to know.
    #[default]
    Info,
    /// Something will not work as usual.
    Warning,
}

impl Level {
    /// The name in the database and in commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Level {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "info" => Ok(Self::Info),
            "warning" => Ok(Self::Warning),
            _ => Err("a level is info or warning"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics() {
        let id = JobId::new();
        for text in [
            format!("job/{id}"),
            "jobs".into(),
            "cluster/hpc".into(),
            "announcements".into(),
        ] {
            let topic: Topic = text.parse().expect("a topic");
            assert_eq!(topic.to_string(), text);
        }
        for text in [
            "",
            "job",
            "job/",
            "jobs/",
            "job/x",
            "cluster",
            "cluster/",
            "cluster/a/b",
            "announcements/1",
            "user/anna",
            "Jobs",
            " jobs",
        ] {
            assert_eq!(text.parse::<Topic>(), Err(UnknownTopic), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Topic>();
        }

        #[test]
        fn a_topic_is_written_in_one_way(text in "(job|jobs|cluster|announcements)(/[a-z0-9-]{0,30})?") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
