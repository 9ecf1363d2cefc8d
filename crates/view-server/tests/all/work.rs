//! What a site would report.

use forebay_wire::{
    JobId, JobState, Timestamp,
    api::Exit,
    link::{Observation, Report},
};

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + seconds).expect("a time")
}

pub(crate) fn saw(job: JobId, seconds: i64, saw: Observation) -> Report {
    Report::Job {
        job,
        at: at(seconds),
        run: 0,
        saw,
    }
}

pub(crate) fn released(job: JobId) -> Report {
    let released = Observation::Released {
        scheduler_id: "7".into(),
        submitted_at: at(1),
        stdout_path: Some("/home/ann/out".into()),
        stderr_path: None,
    };
    saw(job, 1, released)
}

pub(crate) fn started(job: JobId) -> Report {
    saw(
        job,
        2,
        Observation::Started {
            nodes: Some("n1".into()),
        },
    )
}

pub(crate) fn ended(job: JobId, end: JobState, code: i32) -> Report {
    let ended = Observation::Ended {
        end,
        exit: Some(Exit { code, signal: None }),
        started_at: Some(at(2)),
        nodes: None,
        message: None,
    };
    saw(job, 9, ended)
}
