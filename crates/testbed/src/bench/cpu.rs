//! CPU time by part of an installation, which a busy machine does not change.

use std::{collections::BTreeMap, time::Duration};

use crate::{procfs, site::Site, slurm::Slurm};

/// CPU time of each part so far, those of its processes that have ended included.
#[derive(Clone, Debug)]
pub(super) struct Used(BTreeMap<&'static str, Duration>);

impl Used {
    pub(super) fn now(site: &Site, slurm: &Slurm) -> Self {
        let mut used: BTreeMap<&'static str, Duration> = BTreeMap::new();
        let mut add = |part, pid| {
            *used.entry(part).or_default() += procfs::cpu(pid).unwrap_or_default();
        };
        for (name, pid) in site.processes() {
            add(name, pid);
            if name == "postgres" {
                for child in procfs::descendants(pid) {
                    add(name, child.pid);
                }
            }
        }
        for (pid, _) in site.user_agents() {
            add("user-agent and what it runs", pid);
        }
        for (_, pid) in slurm.processes() {
            add("Slurm's daemons", pid);
        }
        Self(used)
    }

    /// What each part took since, in milliseconds for each of `jobs`.
    pub(super) fn since(&self, before: &Self, jobs: usize) -> Vec<(&'static str, f64)> {
        let each = |(part, now): (&&'static str, &Duration)| {
            let took = now.saturating_sub(before.0.get(part).copied().unwrap_or_default());
            #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
            let ms = took.as_secs_f64() * 1000.0 / jobs as f64;
            (*part, ms)
        };
        self.0.iter().map(each).collect()
    }
}
