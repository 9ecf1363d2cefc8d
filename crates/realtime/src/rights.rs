//! Rights are asked for again while connections live: whether each reader's credentials are still good, and whether
//! each topic may still be read. Few queries, however many connections there are.

use std::collections::{BTreeMap, HashMap};

use forebay_central::{Error, feeds::Source};
use forebay_wire::{ClusterName, Freshness, Problem, feed::Object};

use crate::{realtime::Realtime, told::Told};

/// Sources in one question.
const BATCH: usize = 1_000;

/// Ends the connections whose credentials are no longer good.
pub(crate) async fn credentials(realtime: &Realtime) -> Result<(), Error> {
    let callers = realtime.seats().callers();
    for batch in callers.chunks(BATCH) {
        let good = realtime.store().all_still_good(batch).await?;
        let bad: Vec<_> = batch
            .iter()
            .zip(good)
            .filter(|(_, good)| !good)
            .map(|(caller, _)| caller.clone())
            .collect();
        if !bad.is_empty() {
            realtime.seats().end(&bad);
        }
    }
    Ok(())
}

/// Ends the topics that may no longer be read: jobs that were deleted, or are another's now.
pub(crate) async fn topics(realtime: &Realtime) -> Result<(), Error> {
    let jobs = realtime
        .hub()
        .wanted(|source| matches!(source, Source::Job(..)).then(|| source.clone()));
    for batch in jobs.chunks(BATCH) {
        let readable = realtime.store().may_read(batch).await?;
        for (source, _) in batch.iter().zip(readable).filter(|(_, may)| !may) {
            let told = Told::ended(source.clone(), Problem::not_found("job"));
            realtime.hub().send(source, &told);
        }
    }
    Ok(())
}

/// How clusters were shown last: whether they are there, and how fresh.
pub(crate) type Shown = HashMap<ClusterName, Option<Freshness>>;

/// Tells of clusters that went, or whose freshness is another: no row of the feed tells that a site is silent.
pub(crate) async fn clusters(realtime: &Realtime, before: &Shown) -> Result<Shown, Error> {
    let names = realtime.hub().wanted(|source| match source {
        Source::Cluster(name) => Some(name.clone()),
        _ => None,
    });
    let position = *realtime.position().borrow();
    let (Some(position), false) = (position, names.is_empty()) else {
        return Ok(Shown::new());
    };
    let items = realtime.store().clusters_shown(&names).await?;
    let mut items: BTreeMap<_, _> = items
        .into_iter()
        .map(|item| (item.key.clone(), item))
        .collect();
    let mut shown = Shown::new();
    for name in names {
        let item = items.remove(name.as_str());
        let freshness = item.as_ref().and_then(|item| match &item.object {
            Object::Cluster(Some(cluster)) => Some(cluster.status.freshness),
            _ => None,
        });
        // One that was not watched may have changed since its first reader's snapshot.
        if before.get(&name) != Some(&freshness) {
            let source = Source::Cluster(name.clone());
            let told = match item {
                Some(item) => Told::seen(source, position, item),
                None => Some(Told::ended(source, Problem::not_found("cluster"))),
            };
            if let Some(told) = told {
                realtime.hub().send(told.source(), &told);
            }
        }
        shown.insert(name, freshness);
    }
    Ok(shown)
}
