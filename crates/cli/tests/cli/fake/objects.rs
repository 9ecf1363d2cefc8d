//! Jobs, events and clusters to begin with.

use forebay_wire::{
    Freshness, JobState, Timestamp,
    api::{Cluster, ClusterStatus, EventKind, Job, JobEvent, JobStatus, Partition},
};
use serde_json::json;

use super::FakeJob;

/// A job of the number, handed in five minutes ago.
pub(crate) fn job(number: u8, name: &str, state: JobState) -> FakeJob {
    let id = format!("j01jdzz2v8nf3tbw0q5c7m9xk{number:02}");
    let ago =
        |seconds: i64| Timestamp::from_unix(Timestamp::now().unix() - seconds).expect("a time");
    let spec = json!({ "cluster": "hpc", "name": name, "command": ["true"] });
    let job = Job {
        id: id.parse().expect("an id"),
        rev: 1,
        created_at: ago(330),
        owner: "ada".to_owned(),
        site: "home".parse().expect("a name"),
        spec: serde_json::from_value(spec).expect("a spec"),
        status: status(state),
    };
    FakeJob {
        job,
        end: None,
        events: vec![event(1, state)],
        stdout: Vec::new(),
        stderr: Vec::new(),
    }
}

pub(crate) fn status(state: JobState) -> JobStatus {
    let json = json!({ "state": state, "freshness": Freshness::Live, "run": 0 });
    serde_json::from_value(json).expect("a status")
}

pub(crate) fn event(seq: i64, state: JobState) -> JobEvent {
    JobEvent {
        seq,
        at: "2026-03-01T12:00:00Z".parse().expect("a time"),
        run: 0,
        kind: EventKind::State { state },
        message: None,
    }
}

pub(crate) fn cluster(name: &str) -> Cluster {
    let partition = |name: &str, default, state: &str, time_limit_s| Partition {
        name: name.to_owned(),
        default,
        state: state.to_owned(),
        time_limit_s,
        nodes: 4,
        cpus: 256,
        cpus_idle: 96,
        memory_mib: Some(512_000),
    };
    Cluster {
        name: name.parse().expect("a name"),
        site: "home".parse().expect("a name"),
        integration: "slurm".to_owned(),
        rev: 1,
        status: ClusterStatus {
            freshness: Freshness::Live,
            message: None,
            version: Some("22.05.8".to_owned()),
            seen_at: None,
            partitions: vec![
                partition("short", true, "up", Some(14_400)),
                partition("long", false, "drain", None),
            ],
        },
    }
}
