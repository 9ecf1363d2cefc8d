//! What realtime reads: snapshots of topics, and what changed after a cursor.
//!
//! A row of the feed says only *that* an object changed; [`Store::changes`] reads the changed objects, each once
//! however many rows tell of it and however many watch. Whose a job is stands in its row, and each topic is a
//! [`Source`] that names its reader: what is another's cannot even be asked for. The database's own `owner` decides
//! again when the object is read.

mod changes;
mod items;
mod snapshot;
mod told;

pub use changes::{Change, Changes};
pub use forebay_postgres::feed::Cursor;
pub use snapshot::State;

use forebay_wire::{ClusterName, JobId, UserId, feed::Topic};

use crate::{Store, error::Error};

/// A topic as somebody reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A job, and who reads of it: nothing comes to anybody but its owner.
    Job(JobId, UserId),
    /// All jobs of a user.
    Jobs(UserId),
    /// A cluster.
    Cluster(ClusterName),
    /// Announcements.
    Announcements,
}

impl Source {
    /// What `topic` means for this user.
    pub fn of(topic: &Topic, user: UserId) -> Self {
        match topic {
            Topic::Job(id) => Self::Job(*id, user),
            Topic::Jobs => Self::Jobs(user),
            Topic::Cluster(name) => Self::Cluster(name.clone()),
            Topic::Announcements => Self::Announcements,
        }
    }

    /// What its reader calls it.
    pub fn topic(&self) -> Topic {
        match self {
            Self::Job(id, _) => Topic::Job(*id),
            Self::Jobs(_) => Topic::Jobs,
            Self::Cluster(name) => Topic::Cluster(name.clone()),
            Self::Announcements => Topic::Announcements,
        }
    }

    /// What the feed calls it.
    fn in_feed(&self) -> String {
        match self {
            Self::Job(id, _) => format!("job:{id}"),
            Self::Jobs(user) => format!("user:{user}"),
            Self::Cluster(name) => format!("cluster:{name}"),
            Self::Announcements => crate::announcements::TOPIC.into(),
        }
    }
}

impl Store {
    /// The feed's cursor of this moment.
    pub async fn feed_now(&self) -> Result<Cursor, Error> {
        Ok(self.feed.now().await?)
    }

    /// For each of these whether the user may read it now. Jobs may not be theirs, or be gone; clusters may be gone.
    pub async fn may_read(&self, sources: &[Source]) -> Result<Vec<bool>, Error> {
        let (mut jobs, mut owners, mut clusters) = (Vec::new(), Vec::new(), Vec::new());
        for source in sources {
            match source {
                Source::Job(id, user) => {
                    jobs.push(id.uuid());
                    owners.push(user.uuid());
                }
                Source::Cluster(name) => clusters.push(name.as_str()),
                Source::Jobs(_) | Source::Announcements => {}
            }
        }
        let mut readable = std::collections::BTreeSet::new();
        if !jobs.is_empty() || !clusters.is_empty() {
            let client = self.client().await?;
            let rows = client
                .named("feeds.may_read")
                .query(
                    "SELECT j.id, j.owner, NULL AS cluster FROM jobs j
                     JOIN unnest($1::uuid[], $2::uuid[]) AS n (id, owner) ON n.id = j.id AND n.owner = j.owner
                     UNION ALL
                     SELECT NULL, NULL, name FROM clusters WHERE name = ANY($3) AND withdrawn_at IS NULL",
                    &[&jobs, &owners, &clusters],
                )
                .await?;
            for row in &rows {
                use crate::sql::{get, parsed};
                readable.insert(match get::<Option<uuid::Uuid>>(row, "id")? {
                    Some(id) => {
                        Source::Job(JobId::from_uuid(id), UserId::from_uuid(get(row, "owner")?))
                    }
                    None => Source::Cluster(parsed("clusters", row, "cluster")?),
                });
            }
        }
        let may = |source: &Source| match source {
            Source::Job(..) | Source::Cluster(_) => readable.contains(source),
            Source::Jobs(_) | Source::Announcements => true,
        };
        Ok(sources.iter().map(may).collect())
    }
}
