//! Which clusters there are, remembered for a moment: each job that is handed in
//! names one. Who may do what is never remembered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use forebay_central::{Error, Store};
use forebay_wire::ClusterName;

/// For so long. The database refuses a job whose cluster has gone meanwhile.
const KEEP: Duration = Duration::from_secs(1);

/// The integration of each cluster, by name.
pub(crate) type Known = Arc<BTreeMap<String, String>>;

/// What was read last.
#[derive(Debug, Default)]
pub(crate) struct Clusters(Mutex<Option<(Instant, Known)>>);

impl Clusters {
    /// Those known, `wanted` among them if there is such a cluster at all: one that is not
    /// remembered is looked for.
    pub(crate) async fn with(&self, wanted: &ClusterName, store: &Store) -> Result<Known, Error> {
        let remembered = self.lock().clone();
        if let Some((read_at, known)) = remembered
            && read_at.elapsed() < KEEP
            && known.contains_key(wanted.as_str())
        {
            return Ok(known);
        }
        let known: Known = Arc::new(
            store
                .clusters()
                .await?
                .into_iter()
                .map(|cluster| (cluster.name.to_string(), cluster.integration))
                .collect(),
        );
        *self.lock() = Some((Instant::now(), Arc::clone(&known)));
        Ok(known)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Known)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
