//! The link to the view-server, which this agent dials.
//!
//! While it is up, four things go on: work is claimed, the desired feed is
//! read, reports are sent, and the tunnel answers reads of logs. While it is
//! down, the site goes on with what it has, and reports gather in the site
//! database.

mod calls;
mod desired;
mod health;
mod reports;
mod session;
mod site;
mod tunnel;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use forebay_http::{Client, ClientError};
use forebay_service::{Backoff, CancellationToken, Metrics, Strictness, Tasks, logs};
use forebay_wire::{
    ClusterName, Code,
    link::{Claim, Claimed, Session},
};
use tokio::sync::watch;
use uuid::Uuid;

use calls::Calls;
pub use health::serve_health;
pub use site::Site;

use crate::{
    config,
    enrolment::{Enrolment, EnrolmentError},
    store::{Store, StoreError},
};

/// How long a call on the link may take.
const CALL: Duration = Duration::from_secs(20);

/// A link that was up for so long is dialled again at once.
const LASTING: Duration = Duration::from_secs(30);
/// Whatever the view-server says, a session lives so long at least and at most, seconds.
const SESSION_S: (u64, u64) = (5, 24 * 3600);

/// Why a call on the link came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link is down.
    #[error("the link to the view-server is down")]
    Down,
    /// The view-server did not answer, or refused.
    #[error("the view-server did not do `{call}`")]
    Call {
        /// Which call.
        call: &'static str,
        /// How.
        #[source]
        source: ClientError,
    },
    /// The site database did not do its part.
    #[error("the site database failed the link")]
    Store(#[from] StoreError),
    /// The site is not enrolled, or cannot use its enrolment.
    #[error("the site's enrolment cannot be used")]
    Enrolment(#[from] EnrolmentError),
    /// What the site says of itself cannot be written down.
    #[error("the statement cannot be written as JSON")]
    Statement(#[source] serde_json::Error),
    /// The feed ended, or fell silent.
    #[error("the desired feed {0}")]
    Feed(&'static str),
}

impl LinkError {
    /// Another agent has opened the link of this site since.
    fn is_superseded(&self) -> bool {
        matches!(self, Self::Call { source: ClientError::Problem(problem), .. } if problem.code == Code::Superseded)
    }
}

/// The link; clones share it.
#[derive(Clone, Debug)]
pub struct Link(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    enrolment: std::path::PathBuf,
    strictness: Strictness,
    /// This process, among those that may speak for the site.
    process: Uuid,
    calls: Calls,
    clusters: Vec<(ClusterName, &'static str)>,
    store: Store,
    /// The open link, or that it is down.
    session: watch::Sender<Option<Open>>,
    installation: watch::Sender<Option<Uuid>>,
}

/// An open link.
#[derive(Clone, Debug)]
struct Open {
    session: Session,
    /// Speaks for the session.
    client: Client,
}

impl Link {
    /// Dials nothing yet.
    pub async fn new(
        config: &config::Link,
        store: Store,
        clusters: Vec<(ClusterName, &'static str)>,
        metrics: &Metrics,
    ) -> Result<Self, LinkError> {
        // Said now rather than later; it is read again for each session.
        let enrolment = Enrolment::load(&config.enrolment)?;
        enrolment.client(config.strictness)?;
        let installation = store.installation().await?;
        Ok(Self(Arc::new(Shared {
            enrolment: config.enrolment.clone(),
            strictness: config.strictness,
            process: Uuid::new_v4(),
            calls: Calls::new(metrics),
            clusters,
            store,
            session: watch::Sender::new(None),
            installation: watch::Sender::new(installation),
        })))
    }

    /// Keeps the link up, and the site informed, until the service stops.
    pub fn start(&self, site: Site, tasks: &Tasks) {
        let this = self.clone();
        let handle = tasks.clone();
        // The loop has its own backoff; supervision is for what nobody foresaw.
        tasks.supervise("link", Backoff::default(), move |stop| {
            let this = this.clone();
            let site = site.clone();
            let handle = handle.clone();
            async move {
                Box::pin(this.run(&site, &handle, &stop)).await;
                Ok::<_, std::convert::Infallible>(())
            }
        });
    }

    async fn run(&self, site: &Site, tasks: &Tasks, stop: &CancellationToken) {
        let mut again = false;
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let mut retry = backoff.retry();
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => break,
                ended = self.once(site, &mut again) => ended,
            };
            // A link that opens only to break is not dialled in a hurry.
            if began.elapsed() > LASTING {
                retry.reset();
            }
            self.0.session.send_replace(None);
            match ended {
                // Time for a new session: at once.
                Ok(()) => continue,
                Err(error) if error.is_superseded() => {
                    tasks.fatal("another agent has opened the link of this site");
                    break;
                }
                Err(error) => tracing::warn!(error = logs::chain(&error), "the link is down"),
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(retry.next_delay()) => {}
            }
        }
        self.0.session.send_replace(None);
    }

    /// One session, from its opening until it must be renewed or something fails.
    async fn once(&self, site: &Site, again: &mut bool) -> Result<(), LinkError> {
        let open = self.open_session(*again).await?;
        // From now on this process does not take the site from one that came after it.
        *again = true;
        let session = &open.session;
        tracing::info!(epoch = session.epoch, site = %session.site, "the link is up");
        let lives_s = session.expires_in_s.clamp(SESSION_S.0, SESSION_S.1);
        let renew = Duration::from_secs(lives_s) * 2 / 3;
        self.0.session.send_replace(Some(open.clone()));
        self.reconcile(&open, site).await?;
        tokio::select! {
            ended = self.read_desired(&open, site) => ended,
            ended = self.send_reports(&open) => ended,
            () = self.keep_tunnel(&open, site) => Ok(()),
            () = tokio::time::sleep(renew) => Ok(()),
        }
    }

    /// Takes queued jobs; the same `request_id` gets the same jobs.
    pub async fn claim(
        &self,
        cluster: &ClusterName,
        free: u32,
        request_id: Uuid,
    ) -> Result<Claimed<serde_json::Value>, LinkError> {
        let open = self.0.session.borrow().clone().ok_or(LinkError::Down)?;
        let claim = Claim {
            cluster: cluster.clone(),
            free,
            request_id,
        };
        self.post(&open, "claim", "/link/v1/claim", &claim).await
    }

    /// The installation that this site belongs to; waits for the first link.
    pub async fn installation(&self) -> Uuid {
        let mut installation = self.0.installation.subscribe();
        // The sender lives in `self`, so waiting cannot fail; should it, nothing may be submitted.
        match installation.wait_for(Option::is_some).await.map(|id| *id) {
            Ok(Some(id)) => id,
            _ => std::future::pending().await,
        }
    }

    /// Whether the link is up.
    pub fn is_up(&self) -> bool {
        self.0.session.borrow().is_some()
    }
}
