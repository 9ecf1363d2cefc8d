//! The ways from here to the agents: a tunnel that ends here, or the replica
//! where it ends, which passes calls on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use forebay_central::{Error, REPLICA_TOKEN, Replica, Store};
use forebay_http::{
    Client, ClientError,
    client::ClientLimits,
    tls::{Certificates, Trust},
};
use forebay_service::{Every, Nudge, Tasks, logs};
use forebay_wire::SiteName;
use secrecy::SecretString;
use uuid::Uuid;

use crate::tunnels::Tunnels;

/// Between two looks for a way.
const LOOK: Duration = Duration::from_millis(100);
/// How often the others are told that this replica is there; they believe it for 20 s.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Clients that are kept; beyond that, all are made anew.
const CLIENTS_MAX: usize = 1_024;

/// All ways; clones are the same.
#[derive(Clone, Debug)]
pub struct Ways(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    tunnels: Tunnels,
    me: Uuid,
    token: Mutex<Option<(SecretString, Instant)>>,
    clients: Mutex<HashMap<(Uuid, SiteName), (Replica, Client)>>,
}

impl Ways {
    /// With tunnels that end here.
    pub fn new(store: Store, tunnels: Tunnels) -> Self {
        Self(Arc::new(Inner {
            store,
            tunnels,
            me: Uuid::new_v4(),
            token: Mutex::default(),
            clients: Mutex::default(),
        }))
    }

    /// The tunnels that end here.
    pub fn tunnels(&self) -> &Tunnels {
        &self.0.tunnels
    }

    /// Calls to a site's agent, if there is a way now.
    pub async fn to(&self, site: &SiteName) -> Option<Client> {
        if let Some(agent) = self.0.tunnels.to(site) {
            return Some(agent);
        }
        match self.elsewhere(site).await {
            Ok(found) => found,
            Err(error) => {
                let error = logs::chain(error.as_ref());
                tracing::warn!(%site, error, "another replica's tunnel cannot be used");
                None
            }
        }
    }

    /// The same; waits for at most `patience` where the site is likely to dial again.
    pub async fn reach(&self, site: &SiteName, patience: Duration) -> Option<Client> {
        let until = Instant::now() + patience;
        loop {
            let agent = self.to(site).await;
            if agent.is_some() || Instant::now() >= until || !self.may_come(site) {
                return agent;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether a site that cannot be reached is likely to dial again soon.
    pub fn may_come(&self, site: &SiteName) -> bool {
        self.0.tunnels.may_come(site)
    }

    /// Through the replica where the site's tunnel ends, if there is one.
    async fn elsewhere(
        &self,
        site: &SiteName,
    ) -> Result<Option<Client>, Box<dyn std::error::Error + Send + Sync>> {
        let Some(replica) = self.0.store.replica_of(site, self.0.me).await? else {
            return Ok(None);
        };
        // It was reachable just now: should it be gone in a moment, it is likely to come back.
        self.0.tunnels.elsewhere(site);
        let client = self.client(&replica, site)?;
        Ok(Some(client.with_bearer(&self.token().await?)?))
    }

    fn client(&self, replica: &Replica, site: &SiteName) -> Result<Client, ClientError> {
        let key = (replica.id, site.clone());
        let mut clients = lock(&self.0.clients);
        if let Some((known, client)) = clients.get(&key)
            && known == replica
        {
            return Ok(client.clone());
        }
        let trust = replica.pin.map_or(Trust::System, Trust::Pin);
        let base = format!("{}/replica/v1/sites/{site}", replica.url);
        let client = Client::to_with(&base, trust, ClientLimits::default(), false)?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(key, (replica.clone(), client.clone()));
        Ok(client)
    }

    /// By which the others know this replica; another one when half of its time is over.
    async fn token(&self) -> Result<SecretString, Error> {
        if let Some((token, made)) = lock(&self.0.token).as_ref()
            && made.elapsed() < REPLICA_TOKEN / 2
        {
            return Ok(token.clone());
        }
        let token = self.0.store.replica_token().await?;
        *lock(&self.0.token) = Some((token.clone(), Instant::now()));
        Ok(token)
    }

    /// Tells the others where this replica is and whose tunnels end here, until the service stops.
    pub fn announce(&self, url: String, certificates: Option<Certificates>, tasks: &Tasks) {
        let this = self.clone();
        let every = Every::new(HEARTBEAT)
            .gap(Duration::from_millis(20))
            .deadline(Duration::from_secs(4));
        let nudge: Nudge = self.0.tunnels.changed().clone();
        tasks.periodic("replica", every, nudge, move || {
            let this = this.clone();
            let me = Replica {
                id: this.0.me,
                url: url.clone(),
                // Asked each time: the certificate may have been renewed.
                pin: certificates.as_ref().map(Certificates::pin),
            };
            async move {
                let sites = this.0.tunnels.sites();
                this.0.store.replica_heard(&me, &sites).await
            }
        });
        let (this, stop) = (self.clone(), tasks.stopping());
        drop(tasks.spawn("replica's end", async move {
            stop.cancelled().await;
            if let Err(error) = this.0.store.replica_gone(this.0.me).await {
                let error = logs::chain(&error);
                tracing::info!(
                    error,
                    "the other replicas will find out that this one is gone"
                );
            }
        }));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
