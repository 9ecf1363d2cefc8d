//! How the cluster is, for everybody to see.

use forebay_service::CancellationToken;
use forebay_wire::{Freshness, api::ClusterStatus, link::Report};

use super::Maintainer;

impl Maintainer {
    pub(super) async fn status(&self, stop: CancellationToken) {
        loop {
            self.report_status().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.0.parts.limits.status) => {}
            }
        }
    }

    pub(super) async fn report_status(&self) {
        let status = self
            .0
            .parts
            .integration
            .status()
            .await
            .unwrap_or_else(|unavailable| ClusterStatus {
                freshness: Freshness::Stale,
                message: Some(unavailable.message),
                version: None,
                seen_at: None,
                partitions: Vec::new(),
            });
        let report = Report::Cluster {
            cluster: self.cluster().clone(),
            status,
        };
        if let Err(error) = self.report(vec![report]).await {
            tracing::warn!(
                error = forebay_service::logs::chain(&error),
                "the cluster's state is not kept"
            );
        }
    }
}
