//! Freezes the JSON of the feed: pages in browsers rely on it.

use forebay_wire::{
    AnnouncementId, Code, Freshness, JobId, JobState, Problem, Timestamp,
    api::{Cluster, ClusterStatus, EventKind, Exit, JobEvent, JobStatus},
    feed::{
        Announcement, Command, Delta, Heartbeat, Item, JobItem, Level, Message, Object, Refusal,
        Snapshot, Topic,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

#[track_caller]
fn same_after_json<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("wire types are JSON");
    let back: T = serde_json::from_str(&text).expect("what we write, we read");
    assert_eq!(&back, value);
}

macro_rules! frozen {
    ($name:literal, $value:expr) => {{
        let value = $value;
        value.iter().for_each(same_after_json);
        insta::assert_json_snapshot!($name, value);
    }};
}

fn job_id() -> JobId {
    JobId::from_uuid(Uuid::from_u128(0x0192_f0c1_2345_7abc_8def_0123_4567_89ab))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_772_366_400 + seconds).expect("in the calendar")
}

fn item(events: Vec<JobEvent>) -> Item {
    let job = JobItem {
        id: job_id(),
        rev: 5,
        created_at: at(0),
        owner: "alice".into(),
        site: "home".parse().expect("a name"),
        cluster: "hpc".parse().expect("a name"),
        name: "relax".into(),
        status: JobStatus {
            state: JobState::Failed,
            freshness: Freshness::Live,
            run: 0,
            reason: Some("NonZeroExitCode".into()),
            cancel_wanted_at: None,
            scheduler_id: Some("42".into()),
            submitted_at: Some(at(1)),
            started_at: Some(at(2)),
            ended_at: Some(at(9)),
            exit: Some(Exit {
                code: 3,
                signal: None,
            }),
            nodes: Some("n1".into()),
            stdout_path: None,
            stderr_path: None,
            tasks: None,
        },
        events,
    };
    Item {
        key: job.id.to_string(),
        rev: job.rev,
        object: Object::Job(Some(Box::new(job))),
    }
}

fn cluster() -> Item {
    Item {
        object: Object::Cluster(Some(Box::new(Cluster {
            name: "hpc".parse().expect("a name"),
            site: "home".parse().expect("a name"),
            integration: "slurm".into(),
            rev: 7,
            status: ClusterStatus {
                freshness: Freshness::Live,
                message: None,
                version: Some("22.05.8".into()),
                seen_at: Some(at(10)),
                partitions: Vec::new(),
            },
        }))),
        key: "hpc".into(),
        rev: 7,
    }
}

fn announcement(withdrawn: bool) -> Item {
    let id = AnnouncementId::from_uuid(Uuid::from_u128(9));
    let announcement = Announcement {
        id,
        rev: 1,
        created_at: at(0),
        level: Level::Warning,
        text: "Maintenance on Tuesday.".into(),
        until: Some(at(86_400)),
    };
    Item {
        object: Object::Announcement((!withdrawn).then(|| Box::new(announcement))),
        key: id.to_string(),
        rev: 1 + i64::from(withdrawn),
    }
}

#[test]
fn messages() {
    let event = JobEvent {
        seq: 4,
        at: at(9),
        run: 0,
        kind: EventKind::State {
            state: JobState::Failed,
        },
        message: None,
    };
    frozen!(
        "feed_messages",
        [
            Message::Snapshot(Snapshot {
                topic: Topic::Jobs,
                cursor: "7.901.33".into(),
                items: vec![item(Vec::new())],
                more: true,
            }),
            Message::Delta(Delta {
                topic: Topic::Job(job_id()),
                cursor: "7.904.35".into(),
                item: item(vec![event]),
            }),
            Message::Delta(Delta {
                topic: "cluster/hpc".parse().expect("a topic"),
                cursor: "7.905.36".into(),
                item: cluster(),
            }),
            Message::Snapshot(Snapshot {
                topic: Topic::Announcements,
                cursor: "7.905.36".into(),
                items: vec![announcement(false)],
                more: false,
            }),
            Message::Delta(Delta {
                topic: Topic::Announcements,
                cursor: "7.906.37".into(),
                item: announcement(true),
            }),
            Message::Heartbeat(Heartbeat {
                topic: None,
                cursor: Some("7.910.40".into()),
            }),
            Message::Heartbeat(Heartbeat::default()),
            Message::Problem(Refusal {
                topic: Some(Topic::Job(job_id())),
                problem: Problem::new(Code::NotFound, "There is no such job."),
            }),
        ]
    );
}

#[test]
fn commands() {
    frozen!(
        "feed_commands",
        [
            Command::Subscribe {
                topic: Topic::Jobs,
                after: Some("7.901.33".into()),
            },
            Command::Subscribe {
                topic: "cluster/hpc".parse().expect("a topic"),
                after: None,
            },
            Command::Unsubscribe {
                topic: Topic::Job(job_id()),
            },
        ]
    );
}

#[test]
fn what_is_no_command_is_refused() {
    for text in [
        r#"{"type":"subscribe"}"#,
        r#"{"type":"subscribe","topic":"jobs","afer":"1.2.3"}"#,
        r#"{"type":"subscribe","topic":"everything"}"#,
        r#"{"type":"shout","topic":"jobs"}"#,
        "[]",
        "\"jobs\"",
    ] {
        assert!(serde_json::from_str::<Command>(text).is_err(), "{text}");
    }
}
