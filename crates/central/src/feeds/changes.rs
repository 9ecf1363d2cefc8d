//! What changed after a cursor.

use std::collections::{BTreeMap, BTreeSet};

use forebay_postgres::feed::{Cursor, Topics};
use forebay_wire::feed::{Item, Object as Shown};

use super::{
    Source, items,
    told::{self, Object, Told},
};
use crate::{Store, desired::Again, error::Error};

/// Rows of the feed in one read.
const PAGE: usize = 1_000;

/// One object that changed, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The position of the last row that told of it: going on from there misses nothing.
    pub cursor: Cursor,
    /// Who hears of it.
    pub source: Source,
    /// The object.
    pub item: Item,
}

/// A read of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In order of their cursors; each object of a source once.
    pub changes: Vec<Change>,
    /// Where to go on.
    pub next: Cursor,
    /// When to look again without a doorbell.
    pub again: Again,
    /// Rows that could not be read; they are logged.
    pub skipped: u64,
}

/// What the rows of a page say of one object of one source.
struct Gathered {
    cursor: Cursor,
    told: Told,
}

impl Store {
    /// What changed after `cursor` in the sources that are `wanted`, of all or only of those in `among`. None if the
    /// cursor is of no further use: take a snapshot.
    pub async fn changes(
        &self,
        cursor: &Cursor,
        among: Option<&[Source]>,
        wanted: impl Fn(&Source) -> bool,
    ) -> Result<Option<Changes>, Error> {
        let topics = match among {
            None => Topics::All,
            Some(sources) => sources.iter().map(Source::in_feed).collect(),
        };
        let page = match self.feed.read_after(cursor, &topics, PAGE).await {
            Ok(page) => page,
            Err(error) if error.needs_snapshot() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut skipped = 0;
        // By source and key; what a later row says takes the place of what an earlier one said.
        let mut gathered: BTreeMap<(Source, &str), Gathered> = BTreeMap::new();
        for row in &page.rows {
            match told::decode(row) {
                Ok(Some(told)) if wanted(&told.source) => {
                    let place = (told.source.clone(), row.key.as_str());
                    let earlier = gathered.remove(&place).map(|earlier| earlier.told);
                    let gather = Gathered {
                        cursor: row.cursor,
                        told: joined(earlier, told),
                    };
                    gathered.insert(place, gather);
                }
                Ok(_) => {}
                Err(reason) => {
                    skipped += 1;
                    let (topic, kind, key) = (&row.topic, &row.kind, &row.key);
                    tracing::error!(topic, kind, key, cursor = %row.cursor, reason, "a feed row cannot be read");
                }
            }
        }
        let mut changes = self.shown(gathered.into_values().collect()).await?;
        changes.sort_by_key(|change| change.cursor);
        Ok(Some(Changes {
            changes,
            next: page.next,
            again: match (page.more, page.held_back) {
                (true, _) => Again::Now,
                (false, true) => Again::Soon,
                (false, false) => Again::No,
            },
            skipped,
        }))
    }

    /// Reads the objects, each once.
    async fn shown(&self, gathered: Vec<Gathered>) -> Result<Vec<Change>, Error> {
        if gathered.is_empty() {
            return Ok(Vec::new());
        }
        let (mut jobs, mut clusters, mut announcements) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut ranges = BTreeMap::new();
        for Gathered { told, .. } in &gathered {
            match (&told.source, &told.object) {
                (Source::Job(..), Object::Job(id, range)) => {
                    jobs.insert(id.uuid());
                    ranges.insert(*id, *range);
                }
                (_, Object::Job(id, _)) => drop(jobs.insert(id.uuid())),
                (Source::Cluster(name), _) => drop(clusters.insert(name.as_str())),
                (_, Object::Announcement(id)) => drop(announcements.insert(id.uuid())),
                (_, Object::Cluster) => {}
            }
        }
        let client = self.client().await?;
        let jobs: Vec<_> = jobs.into_iter().collect();
        let clusters: Vec<_> = clusters.into_iter().collect();
        let announcements: Vec<_> = announcements.into_iter().collect();
        // The events first: what comes between is told by a later row, and the job is then newer than its events.
        let mut events = items::events(&client, &ranges).await?;
        let jobs = items::jobs(&client, &jobs).await?;
        let clusters = items::clusters(&client, &clusters).await?;
        let announcements = items::announcements(&client, &announcements).await?;
        drop(client);
        let shown = gathered.into_iter().filter_map(|Gathered { cursor, told }| {
            let gone = |key: String, object| Item {
                object,
                key,
                rev: told.rev,
            };
            let item = match (&told.source, &told.object) {
                (source, Object::Job(id, _)) => match jobs.get(id) {
                    // The table's owner decides.
                    Some(None) => return None,
                    Some(Some(owned)) => {
                        let (Source::Job(_, reader) | Source::Jobs(reader)) = source else {
                            return None;
                        };
                        if *reader != owned.owner {
                            tracing::error!(job = %id, "a feed row names another owner than the job's");
                            return None;
                        }
                        let mut job = owned.job.clone();
                        if matches!(source, Source::Job(..)) {
                            job.events = events.remove(id).unwrap_or_default();
                        }
                        items::job_item(job)
                    }
                    None => gone(id.to_string(), Shown::Job(None)),
                },
                (Source::Cluster(name), _) => clusters.get(name).cloned().unwrap_or_else(|| {
                    gone(name.to_string(), Shown::Cluster(None))
                }),
                (_, Object::Announcement(id)) => {
                    let known = announcements.get(&id.uuid()).cloned();
                    known.unwrap_or_else(|| gone(id.to_string(), Shown::Announcement(None)))
                }
                (_, Object::Cluster) => return None,
            };
            Some(Change {
                cursor,
                source: told.source.clone(),
                item,
            })
        });
        Ok(shown.collect())
    }

    /// These clusters as they are now, those that are gone left out: a site that falls silent tells nobody, so who
    /// shows a cluster looks now and then.
    pub async fn clusters_shown(
        &self,
        names: &[forebay_wire::ClusterName],
    ) -> Result<Vec<Item>, Error> {
        let names: Vec<_> = names
            .iter()
            .map(forebay_wire::ClusterName::as_str)
            .collect();
        let client = self.client().await?;
        Ok(items::clusters(&client, &names)
            .await?
            .into_values()
            .collect())
    }
}

/// Both rows as one: the later, with the events of the earlier as well.
fn joined(earlier: Option<Told>, mut later: Told) -> Told {
    let earlier = earlier.map(|told| told.object);
    if let (Some(Object::Job(_, (from, _))), Object::Job(_, range)) = (earlier, &mut later.object) {
        range.0 = range.0.min(from);
    }
    later
}
