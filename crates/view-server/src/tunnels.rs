//! The tunnels that end in this process: one live one a site. Those that end at
//! other replicas are [`Ways`](crate::ways::Ways)' to find.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use forebay_http::{Client, link::Link};
use forebay_service::Nudge;
use forebay_wire::SiteName;

/// All tunnels that end here. Clones are the same.
#[derive(Clone, Debug)]
pub struct Tunnels {
    sites: Arc<Mutex<BTreeMap<SiteName, Site>>>,
    began: Instant,
    /// For so long a site without a tunnel is likely to dial again.
    site_return: Duration,
    changed: Nudge,
}

/// What is known of a site.
#[derive(Clone, Debug)]
enum Site {
    Up(Tunnel),
    DownSince(Instant),
}

#[derive(Clone, Debug)]
struct Tunnel {
    epoch: i64,
    link: Link,
}

impl Site {
    fn tunnel(&self) -> Option<&Tunnel> {
        match self {
            Self::Up(tunnel) => Some(tunnel),
            Self::DownSince(_) => None,
        }
    }

    fn open(&self) -> Option<&Tunnel> {
        self.tunnel().filter(|tunnel| !tunnel.link.is_closed())
    }
}

impl Tunnels {
    /// None yet. A site is likely to dial again for `site_return` after this, and after its
    /// tunnel ended.
    pub fn new(site_return: Duration) -> Self {
        Self {
            sites: Arc::default(),
            began: Instant::now(),
            site_return,
            changed: Nudge::new(),
        }
    }

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
            let mut sites = self.lock();
            let known = sites.get(&site).and_then(Site::open);
            if known.is_some_and(|known| known.epoch > epoch) {
                tracing::info!(%site, epoch, "a tunnel of an older link was not taken");
                return;
            }
            let link = link.clone();
            sites.insert(site.clone(), Site::Up(Tunnel { epoch, link }));
        }
        tracing::info!(%site, epoch, "the tunnel is up");
        self.changed.nudge();
        tokio::select! {
            () = link.closed() => {}
            () = over => {}
        }
        let mut sites = self.lock();
        // A newer one may have taken its place.
        let known = sites.get(&site).and_then(Site::tunnel);
        if known.is_some_and(|known| known.epoch == epoch) {
            tracing::info!(%site, epoch, "the tunnel is down");
            sites.insert(site, Site::DownSince(Instant::now()));
        }
        drop(sites);
        self.changed.nudge();
    }

    /// Calls to a site's agent, if there is a way now.
    pub fn to(&self, site: &SiteName) -> Option<Client> {
        let sites = self.lock();
        Some(sites.get(site)?.open()?.link.client.clone())
    }

    /// Is told when a tunnel comes or goes.
    pub fn changed(&self) -> &Nudge {
        &self.changed
    }

    /// Whose tunnels end here.
    pub fn sites(&self) -> Vec<SiteName> {
        let sites = self.lock();
        let open = sites.iter().filter(|(_, site)| site.open().is_some());
        open.map(|(name, _)| name.clone()).collect()
    }

    /// Notes that a site's tunnel ends at another replica now.
    pub fn elsewhere(&self, site: &SiteName) {
        let mut sites = self.lock();
        if sites.get(site).and_then(Site::open).is_none() {
            sites.insert(site.clone(), Site::DownSince(Instant::now()));
        }
    }

    /// Whether a site without a tunnel is likely to dial again soon: we, or its tunnel, have only
    /// just been restarted.
    pub fn may_come(&self, site: &SiteName) -> bool {
        let since = match self.lock().get(site) {
            Some(Site::DownSince(since)) => *since,
            Some(Site::Up(tunnel)) => return tunnel.link.is_closed(),
            None => self.began,
        };
        since.elapsed() < self.site_return
    }

    /// How many are up.
    pub fn count(&self) -> usize {
        let sites = self.lock();
        sites.values().filter(|site| site.open().is_some()).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SiteName, Site>> {
        // Nothing below panics while holding it.
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
