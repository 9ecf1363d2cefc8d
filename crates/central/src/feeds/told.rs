//! What a row of the feed says, decoded. Pure.

use forebay_postgres::feed::Delta;
use forebay_wire::{AnnouncementId, UserId};
use serde::Deserialize;

use super::Source;
use crate::announcements::TOPIC as ANNOUNCEMENTS;

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) source: Source,
    pub(super) object: Object,
    pub(super) rev: i64,
}

/// Which object it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A job, with the numbers of its events that are new: those above the first, up to the second.
    Job(forebay_wire::JobId, (i64, i64)),
    /// The source's own cluster.
    Cluster,
    Announcement(AnnouncementId),
}

/// What rows of jobs hold besides their key.
#[derive(Deserialize)]
struct JobBody {
    owner: UserId,
    events_from: i64,
    event_seq: i64,
}

/// None for a row that is not for people's eyes: what is wanted of a site.
pub(super) fn decode(row: &Delta) -> Result<Option<Told>, String> {
    let (noun, of) = match row.topic.split_once(':') {
        Some(("site", _)) => return Ok(None),
        Some(pair) => pair,
        None => (row.topic.as_str(), ""),
    };
    let kind = match noun {
        "job" | "user" => "job",
        "cluster" => "cluster",
        ANNOUNCEMENTS => "announcement",
        _ => return Err("its topic is unknown".into()),
    };
    if row.kind != kind {
        return Err(format!("its kind is not {kind}"));
    }
    let key = |error: &dyn std::fmt::Display| format!("its key: {error}");
    let (source, object) = match noun {
        "cluster" => {
            let name = of.parse().map_err(|error| key(&error))?;
            (Source::Cluster(name), Object::Cluster)
        }
        ANNOUNCEMENTS => {
            let id = row.key.parse().map_err(|error| key(&error))?;
            (Source::Announcements, Object::Announcement(id))
        }
        _ => {
            let job = row.key.parse().map_err(|error| key(&error))?;
            let body: JobBody = serde_json::from_str(row.body.get())
                .map_err(|error| format!("its body: {error}"))?;
            let source = if noun == "job" {
                Source::Job(job, body.owner)
            } else {
                Source::Jobs(body.owner)
            };
            if source.in_feed() != row.topic {
                return Err("its key or body is of another topic".into());
            }
            (source, Object::Job(job, (body.events_from, body.event_seq)))
        }
    };
    Ok(Some(Told {
        source,
        object,
        rev: row.rev,
    }))
}

#[cfg(test)]
mod tests {
    use forebay_postgres::feed::Cursor;
    use forebay_wire::JobId;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn row(topic: &str, kind: &str, key: &str, body: &str) -> Delta {
        Delta {
            cursor: Cursor {
                epoch: 1,
                xid: 2,
                id: 3,
            },
            topic: topic.into(),
            kind: kind.into(),
            key: key.into(),
            rev: 4,
            body: RawValue::from_string(body.into()).expect("JSON"),
            at: time::OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn each_kind_of_row() {
        let (job, user) = (JobId::new(), UserId::new());
        let body =
            format!(r#"{{"state":"queued","owner":"{user}","events_from":2,"event_seq":4}}"#);
        let told = |topic: &str, kind, key: &str, body: &str| {
            decode(&row(topic, kind, key, body)).map(|told| told.map(|t| (t.source, t.object)))
        };
        let key = job.to_string();
        assert_eq!(
            told(&format!("job:{job}"), "job", &key, &body),
            Ok(Some((Source::Job(job, user), Object::Job(job, (2, 4)))))
        );
        assert_eq!(
            told(&format!("user:{user}"), "job", &key, &body),
            Ok(Some((Source::Jobs(user), Object::Job(job, (2, 4)))))
        );
        let hpc = Source::Cluster("hpc".parse().expect("a name"));
        assert_eq!(
            told("cluster:hpc", "cluster", "hpc", "{}"),
            Ok(Some((hpc, Object::Cluster)))
        );
        assert_eq!(told("site:here", "work", "hpc", "{}"), Ok(None));
        for (topic, kind, key, body) in [
            ("nonsense", "job", key.as_str(), body.as_str()),
            (&format!("job:{job}"), "log", &key, &body),
            (&format!("job:{job}"), "job", "j1", &body),
            (&format!("job:{job}"), "job", &key, "{}"),
            (&format!("job:{job}"), "job", &key, "7"),
            (&format!("job:{}", JobId::new()), "job", &key, &body),
            (&format!("user:{}", UserId::new()), "job", &key, &body),
            ("cluster:no name", "cluster", "hpc", "{}"),
            ("announcements", "announcement", "7", "{}"),
        ] {
            assert!(
                told(topic, kind, key, body).is_err(),
                "{topic} {kind} {key} {body}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_row_panics(
            topic in "(job|user|cluster|site|announcements)?:?[a-z0-9]{0,30}",
            kind in "(job|cluster|announcement)?",
            key in "\\PC{0,30}",
        ) {
            let _ = decode(&row(&topic, &kind, &key, "[1]"));
        }
    }
}
