//! The ways from here to the agents: one live tunnel a site.
//!
//! This process knows the tunnels that were dialled to it. With several
//! replicas a site's tunnel may end at another one; finding it from here is
//! [`Tunnels::to`]'s to learn, and nobody else's.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use forebay_http::{Client, link::Link};
use forebay_wire::SiteName;

/// All tunnels that end here. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Tunnels(Arc<Mutex<BTreeMap<SiteName, Tunnel>>>);

#[derive(Clone, Debug)]
struct Tunnel {
    epoch: i64,
    link: Link,
}

impl Tunnels {
    /// Takes a site's tunnel into use and keeps it until it ends or `over` does: then it takes no
    /// more calls, and closes once those under way have ended. The newest link's tunnel wins.
    pub async fn keep(
        &self,
        site: SiteName,
        epoch: i64,
        link: Link,
        over: impl Future<Output = ()>,
    ) {
        {
            let mut tunnels = self.lock();
            let newer = |known: &Tunnel| known.epoch > epoch && !known.link.is_closed();
            if tunnels.get(&site).is_some_and(newer) {
                tracing::info!(%site, epoch, "a tunnel of an older link was not taken");
                return;
            }
            let link = link.clone();
            tunnels.insert(site.clone(), Tunnel { epoch, link });
        }
        tracing::info!(%site, epoch, "the tunnel is up");
        tokio::select! {
            () = link.closed() => {}
            () = over => {}
        }
        let mut tunnels = self.lock();
        // A newer one may have taken its place.
        if tunnels.get(&site).is_some_and(|known| known.epoch == epoch) {
            tunnels.remove(&site);
            tracing::info!(%site, epoch, "the tunnel is down");
        }
    }

    /// Calls to a site's agent, if there is a way now.
    pub fn to(&self, site: &SiteName) -> Option<Client> {
        let tunnels = self.lock();
        let tunnel = tunnels
            .get(site)
            .filter(|tunnel| !tunnel.link.is_closed())?;
        Some(tunnel.link.client.clone())
    }

    /// How many are up.
    pub fn count(&self) -> usize {
        self.lock()
            .values()
            .filter(|tunnel| !tunnel.link.is_closed())
            .count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SiteName, Tunnel>> {
        // Nothing below panics while holding it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
