//! What the central side wants of a site, as the feed tells it.

use std::collections::BTreeSet;

use forebay_postgres::feed::{Cursor, Topics};
use forebay_wire::{ClusterName, JobId, SiteName, link::Want};

use crate::{Store, error::Error};

/// Rows of the feed in one read.
const PAGE: usize = 500;

/// A read of the desired feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPage {
    /// What is wanted, each once.
    pub wants: Vec<Want>,
    /// Where to go on.
    pub next: DesiredCursor,
    /// Read again at once, or in some milliseconds: there is more, or something
    /// that cannot be read yet.
    pub again: Again,
}

/// When to look again without a doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Nothing is known to be there.
    No,
    /// The page was full.
    Now,
    /// A transaction holds newer rows back; no doorbell will ring for them.
    Soon,
}

/// A position in the desired feed, opaque to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredCursor(Cursor);

impl std::fmt::Display for DesiredCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for DesiredCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| Error::Cursor)
    }
}

impl Store {
    /// What is wanted of a site after `cursor`. An expired cursor gives
    /// [`Want::Resync`] and a fresh one.
    pub async fn desired(
        &self,
        site: &SiteName,
        cursor: DesiredCursor,
    ) -> Result<DesiredPage, Error> {
        let topics: Topics = [format!("site:{site}")].into_iter().collect();
        let page = match self.feed.read_after(&cursor.0, &topics, PAGE).await {
            Ok(page) => page,
            Err(error) if error.needs_snapshot() => {
                return Ok(DesiredPage {
                    wants: vec![Want::Resync],
                    next: DesiredCursor(self.feed.now().await?),
                    again: Again::Now,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let mut seen = BTreeSet::new();
        let mut wants = Vec::new();
        for row in &page.rows {
            // Several jobs queued for one cluster are one call to claim.
            if !seen.insert((row.kind.as_str(), row.key.as_str())) {
                continue;
            }
            match want(&row.kind, &row.key) {
                Some(want) => wants.push(want),
                None => tracing::error!(
                    kind = row.kind,
                    key = row.key,
                    "a feed row for a site cannot be read"
                ),
            }
        }
        Ok(DesiredPage {
            wants,
            next: DesiredCursor(page.next),
            again: match (page.more, page.held_back) {
                (true, _) => Again::Now,
                (false, true) => Again::Soon,
                (false, false) => Again::No,
            },
        })
    }
}

fn want(kind: &str, key: &str) -> Option<Want> {
    match kind {
        "work" => key
            .parse::<ClusterName>()
            .ok()
            .map(|cluster| Want::Work { cluster }),
        "cancel" => key.parse::<JobId>().ok().map(|job| Want::Cancel { job }),
        _ => None,
    }
}
