//! What the link hands to the site.

use std::{collections::HashMap, sync::Arc};

use forebay_service::Tasks;
use forebay_wire::{ClusterName, JobId, link::OpenJobs};
use serde_json::Value;

use crate::{
    accounts::Accounts,
    job::Tracked,
    maintainer::{Maintainer, Stored},
    store::{Change, Store, StoreError},
    user_agents::UserAgents,
};

/// The site: its clusters, and what the link needs to know of its jobs.
#[derive(Clone, Debug)]
pub struct Site(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    maintainers: HashMap<ClusterName, Maintainer>,
    store: Store,
    accounts: Accounts,
    user_agents: UserAgents,
    tasks: Tasks,
}

impl Site {
    /// Of these clusters.
    pub fn new(
        maintainers: HashMap<ClusterName, Maintainer>,
        store: Store,
        accounts: Accounts,
        user_agents: UserAgents,
        tasks: Tasks,
    ) -> Self {
        Self(Arc::new(Inner {
            maintainers,
            store,
            accounts,
            user_agents,
            tasks,
        }))
    }

    /// Jobs are queued for a cluster.
    pub(super) fn work_waits(&self, cluster: &ClusterName) {
        match self.0.maintainers.get(cluster) {
            Some(maintainer) => maintainer.work_waits(),
            None => tracing::warn!(%cluster, "work for a cluster that this site does not have"),
        }
    }

    /// Jobs may be queued for any cluster.
    pub(super) fn all_work_waits(&self) {
        for maintainer in self.0.maintainers.values() {
            maintainer.work_waits();
        }
    }

    /// Somebody wants a job cancelled. Which cluster has it is not said; only one does.
    /// An error means that the wish was not heard: the link breaks off, and the next
    /// one begins by asking for all wishes.
    pub(super) async fn cancel(&self, job: JobId) -> Result<(), StoreError> {
        for maintainer in self.0.maintainers.values() {
            maintainer.want_cancelled(job);
        }
        self.0.store.write(vec![Change::cancel_wanted(job)]).await
    }

    /// Takes up what the central side says is ours: jobs whose claim we never
    /// heard of, and wishes to cancel.
    pub(super) async fn reconcile(&self, open: OpenJobs<Value>) -> Result<(), StoreError> {
        for open in open.jobs {
            let job = open.work.job;
            let tracked = match Tracked::recovered(open.work) {
                Ok(tracked) => tracked,
                Err(error) => {
                    tracing::error!(%job, %error, "an open job whose spec cannot be read");
                    continue;
                }
            };
            let Some(maintainer) = self.0.maintainers.get(&tracked.cluster) else {
                tracing::error!(%job, cluster = %tracked.cluster, "an open job of a cluster that this site does not have");
                continue;
            };
            if tracked.cancel_wanted {
                maintainer.want_cancelled(job);
                self.0.store.write(vec![Change::cancel_wanted(job)]).await?;
            }
            // Closed here: the report of its end is on its way.
            if maintainer.take_up_stored(job).await? == Stored::Unknown {
                tracing::info!(%job, "recovered a claimed job");
                self.0.store.write(vec![Change::track(&tracked)]).await?;
                maintainer.take_up_stored(job).await?;
            }
        }
        Ok(())
    }

    /// A job that this site has or had, with the maintainer of its cluster.
    pub(super) async fn job(
        &self,
        job: JobId,
    ) -> Result<Option<(Tracked, Maintainer)>, StoreError> {
        for maintainer in self.0.maintainers.values() {
            if let Some(tracked) = maintainer.watched(job) {
                return Ok(Some((tracked, maintainer.clone())));
            }
        }
        let Some(tracked) = self.0.store.tracked_job(job).await? else {
            return Ok(None);
        };
        let maintainer = self.0.maintainers.get(&tracked.cluster).cloned();
        Ok(maintainer.map(|maintainer| (tracked, maintainer)))
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    pub(super) fn user_agents(&self) -> &UserAgents {
        &self.0.user_agents
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }
}
