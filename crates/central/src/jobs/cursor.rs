//! Where a page of jobs ended: opaque to callers, good only for the same list.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use forebay_wire::{ClusterName, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::list::{JobFilter, JobSort};
use crate::error::Error;

/// No cursor of ours is longer: a name of 200 characters of 4 bytes, and the rest.
const CHARS_MAX: usize = 2_048;

/// The last row of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Which list: a digest of its sort and filters.
    list: String,
    pub(super) key: Key,
    pub(super) id: Uuid,
}

/// The value that the list is sorted by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Key {
    At(Timestamp),
    Name(String),
}

impl Cursor {
    pub(super) fn encode(
        filter: &JobFilter,
        sort: JobSort,
        key: Key,
        id: Uuid,
    ) -> Result<String, Error> {
        let cursor = Self {
            list: digest(filter, sort),
            key,
            id,
        };
        let json = serde_json::to_vec(&cursor).map_err(|_| Error::Cursor)?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    }

    /// Refused unless it was made for this list.
    pub(super) fn decode(text: &str, filter: &JobFilter, sort: JobSort) -> Result<Self, Error> {
        if text.len() > CHARS_MAX {
            return Err(Error::Cursor);
        }
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Cursor)?;
        let cursor: Self = serde_json::from_slice(&json).map_err(|_| Error::Cursor)?;
        let fits = match &cursor.key {
            Key::At(_) => sort.by_time(),
            // Postgres holds no NUL, so no name of ours has one.
            Key::Name(name) => !sort.by_time() && !name.contains('\0'),
        };
        if cursor.list != digest(filter, sort) || !fits {
            return Err(Error::Cursor);
        }
        Ok(cursor)
    }
}

fn digest(filter: &JobFilter, sort: JobSort) -> String {
    let mut hash = Sha256::new();
    hash.update(sort.as_str());
    let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
    let cluster = filter.cluster.as_ref().map(ClusterName::as_str);
    for part in [
        Some(states.join(",").as_str()),
        cluster,
        filter.name.as_deref(),
    ] {
        // The length keeps neighbouring parts apart.
        hash.update(
            part.map_or(u64::MAX, |part| part.len() as u64)
                .to_be_bytes(),
        );
        hash.update(part.unwrap_or_default());
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..9])
}

#[cfg(test)]
mod tests {
    use forebay_wire::JobState;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_list_only() {
        let plain = JobFilter::default();
        let named = JobFilter {
            name: Some("x".into()),
            ..JobFilter::default()
        };
        let ended = JobFilter {
            states: vec![JobState::Failed],
            ..JobFilter::default()
        };
        let key = Key::At(Timestamp::from_unix(1).expect("a time"));
        let text = Cursor::encode(&plain, JobSort::Oldest, key.clone(), Uuid::nil()).expect("JSON");
        let back = Cursor::decode(&text, &plain, JobSort::Oldest).expect("its own");
        assert_eq!((back.key, back.id), (key, Uuid::nil()));
        for (filter, sort) in [
            (&plain, JobSort::Newest),
            (&named, JobSort::Oldest),
            (&ended, JobSort::Oldest),
        ] {
            assert!(Cursor::decode(&text, filter, sort).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = Cursor::decode(&text, &JobFilter::default(), JobSort::Newest);
        }
    }
}
