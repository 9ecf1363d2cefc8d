//! From a configuration to a running service.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use forebay_central::{Error, Store};
use forebay_http::{
    App, Limits, ListenError, Listener,
    routes::{Access, Route, Table},
};
use forebay_postgres::{Config as PoolConfig, Pool};
use forebay_service::{Backoff, Every, Nudge, Service};
use forebay_wire::feed::{EVENTS_PATH, SOCKET_PATH};
use http::Method;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    config::Config,
    events, feed,
    gauges::Gauges,
    health,
    realtime::Realtime,
    rights::{self, Shown},
    socket,
};

/// How long readers may take to hear that the service stops.
const DRAIN: Duration = Duration::from_secs(5);
/// The service's own deadline for that: somewhat longer.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(8);
/// Behind the socket: the gateway, as another account of the same group.
const SOCKET_MODE: u32 = 0o660;
/// Connections beside those of readers: health, metrics, those being refused; the database's.
const SPARE: u32 = 256;

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's configuration cannot be used.
    #[error("the database cannot be used")]
    Pool(#[source] forebay_postgres::Error),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[source] Error),
    /// It cannot listen.
    #[error("the service cannot listen")]
    Listen(#[source] ListenError),
}

/// Where a started service can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Address and port; the port is the one taken where 0 was configured.
    pub listen: Option<SocketAddr>,
    /// The unix socket, if there is one.
    pub unix_socket: Option<PathBuf>,
}

/// Everything that the service serves.
pub fn table(realtime: &Realtime) -> Table {
    use Access::{Authenticated, Public};
    use Method as M;
    let mut table = Table::new();
    table.extend([
        Route::with(realtime, M::GET, "/health/live", Public, health::live),
        Route::with(realtime, M::GET, "/health/ready", Public, health::ready),
        Route::with(realtime, M::GET, "/metrics", Public, health::metrics),
        Route::with(realtime, M::GET, SOCKET_PATH, Authenticated, socket::socket),
        Route::with(realtime, M::GET, EVENTS_PATH, Authenticated, events::events),
    ]);
    table
}

/// Starts the service's tasks on `service`. The database may come later.
pub async fn start(config: &Config, service: &Service) -> Result<Started, StartError> {
    descriptors(config.limits.clients);
    let pool = PoolConfig {
        connections_max: config.database.connections,
        ..PoolConfig::new(config.database.target.clone(), "forebay-realtime")
    };
    let pool = Pool::new(pool).map_err(StartError::Pool)?;
    let store = Store::new(pool).map_err(StartError::Store)?;
    let realtime = Realtime::new(
        store,
        config.clone(),
        service.tasks.clone(),
        service.metrics.clone(),
    );
    let app = App::from(table(&realtime)).with_metrics(&service.metrics);
    let tcp = Listener::tcp(config.listen)
        .await
        .map_err(StartError::Listen)?;
    let unix = match &config.unix_socket {
        Some(path) => Some(Listener::unix(path, SOCKET_MODE).map_err(StartError::Listen)?),
        None => None,
    };
    let started = Started {
        listen: tcp.tcp_address(),
        unix_socket: config.unix_socket.clone(),
    };
    background(&realtime, service);
    for listener in [Some(tcp), unix].into_iter().flatten() {
        let limits = Limits {
            connections_max: config.limits.clients.saturating_add(SPARE),
            body_bytes_max: 0,
            drain_deadline: DRAIN,
            ..Limits::default()
        };
        let serve = forebay_http::serve(listener, app.clone(), limits, service.tasks.clone());
        // Detached: the service's tracker holds it.
        drop(service.tasks.spawn("http", serve));
    }
    Ok(started)
}

/// Each reader takes a descriptor: as many as are allowed, and a word if that is too few.
fn descriptors(clients: u32) {
    let wanted = u64::from(clients) + u64::from(SPARE);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    let allowed = getrlimit(Resource::Nofile).current;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "fewer files can be open than limits.clients needs: raise LimitNOFILE, or lower limits.clients"
        );
    }
}

fn background(realtime: &Realtime, service: &Service) {
    let tasks = &service.tasks;
    let listener = realtime.store().listener().clone();
    tasks.supervise("doorbell listener", Backoff::default(), move |stop| {
        let listener = listener.clone();
        async move {
            listener.run(stop).await;
            Ok::<_, Infallible>(())
        }
    });
    let reader = realtime.clone();
    tasks.supervise("feed reader", Backoff::default(), move |stop| {
        let realtime = reader.clone();
        async move {
            feed::read(realtime, stop).await;
            Ok::<_, Infallible>(())
        }
    });
    let every =
        |seconds| Every::new(Duration::from_secs(seconds)).deadline(Duration::from_secs(10));
    let rights = realtime.clone();
    tasks.periodic("credentials", every(2), Nudge::new(), move || {
        let realtime = rights.clone();
        async move { rights::credentials(&realtime).await }
    });
    let topics = realtime.clone();
    tasks.periodic("rights to topics", every(15), Nudge::new(), move || {
        let realtime = topics.clone();
        async move { rights::topics(&realtime).await }
    });
    let (clusters, shown) = (realtime.clone(), Arc::new(Mutex::new(Shown::new())));
    tasks.periodic("clusters", every(5), Nudge::new(), move || {
        let (realtime, shown) = (clusters.clone(), Arc::clone(&shown));
        async move {
            let lock = || shown.lock().unwrap_or_else(PoisonError::into_inner);
            let before = lock().clone();
            let now = rights::clusters(&realtime, &before).await?;
            *lock() = now;
            Ok::<_, Error>(())
        }
    });
    let (gauges, measured) = (Gauges::new(&service.metrics), realtime.clone());
    tasks.periodic("gauges", every(10), Nudge::new(), move || {
        let (gauges, realtime) = (gauges.clone(), measured.clone());
        async move { gauges.read(&realtime).await }
    });
}
