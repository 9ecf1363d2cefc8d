//! From a configuration to a running service.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use forebay_central::Store;
use forebay_http::{
    App, Limits, ListenError, Listener,
    routes::Table,
    tls::{Certificates, TlsError},
};
use forebay_postgres::{Config as PoolConfig, Pool};
use forebay_service::{Backoff, Every, Nudge, Service, Tasks};

use crate::{
    api,
    config::{Config, Database},
    gauges::Gauges,
    link,
    page::{self, FilesError, Page},
    replica,
    view::View,
};

/// How long the database may take to come up when the service starts.
const DATABASE: Duration = Duration::from_secs(30);
/// How long requests may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(10);
/// The service's own deadline for that: somewhat longer.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(13);
/// How often to look whether the certificate was renewed.
const CERTIFICATE: Duration = Duration::from_secs(10);
/// Behind the socket: the gateway, as another account of the same group.
const SOCKET_MODE: u32 = 0o660;

/// The service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database's configuration cannot be used.
    #[error("the database cannot be used")]
    Pool(#[source] forebay_postgres::Error),
    /// The store cannot be used.
    #[error("the store cannot be used")]
    Store(#[source] forebay_central::Error),
    /// The database could not be brought up to date.
    #[error("the database could not be migrated")]
    Migrate(#[source] forebay_postgres::migrate::Error),
    /// The page cannot be served.
    #[error("the page cannot be served")]
    Page(#[source] FilesError),
    /// It cannot listen.
    #[error("the service cannot listen")]
    Listen(#[source] ListenError),
    /// Its certificate cannot be used.
    #[error("the service cannot speak TLS")]
    Tls(#[source] TlsError),
}

/// Where a started service can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Address and port; the port is the one taken where 0 was configured.
    pub listen: Option<SocketAddr>,
    /// The unix socket, if there is one.
    pub unix_socket: Option<PathBuf>,
}

/// The store in the configured database, brought up to date.
pub async fn store(database: &Database) -> Result<Store, StartError> {
    let config = PoolConfig {
        connections_max: database.connections,
        ..PoolConfig::new(database.target.clone(), "forebay-view-server")
    };
    let pool = Pool::new(config).map_err(StartError::Pool)?;
    let store = Store::new(pool).map_err(StartError::Store)?;
    let until = Instant::now() + DATABASE;
    loop {
        match store.migrate().await {
            Ok(_) => return Ok(store),
            Err(forebay_postgres::migrate::Error::Database(error))
                if error.is_unavailable() && Instant::now() < until =>
            {
                tracing::info!("waiting for the database");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(StartError::Migrate(error)),
        }
    }
}

/// Everything that the service serves.
pub fn table(view: &View) -> Table {
    let mut table = Table::new();
    table
        .extend(api::routes(view))
        .extend(link::routes(view))
        .extend(replica::routes(view));
    if view.page().is_there() {
        table.otherwise(view, page::serve);
    }
    table
}

/// Starts the service's tasks on `service`.
pub async fn start(config: &Config, service: &Service) -> Result<Started, StartError> {
    let store = store(&config.database).await?;
    let page = Page::new(config).map_err(StartError::Page)?;
    let view = View::new(
        store,
        config.limits,
        page,
        service.tasks.clone(),
        service.metrics.clone(),
    );
    let app = App::from(table(&view)).with_metrics(&service.metrics);
    let tcp = Listener::tcp(config.listen)
        .await
        .map_err(StartError::Listen)?;
    let tcp = match &config.reach.certificates {
        Some(certificates) => tcp.with_tls(certificates).map_err(StartError::Tls)?,
        None => tcp,
    };
    let unix = match &config.unix_socket {
        Some(path) => Some(Listener::unix(path, SOCKET_MODE).map_err(StartError::Listen)?),
        None => None,
    };
    let started = Started {
        listen: tcp.tcp_address(),
        unix_socket: config.unix_socket.clone(),
    };
    background(&view, config, service);
    announce(&view, config, started.listen, &service.tasks);
    for listener in [Some(tcp), unix].into_iter().flatten() {
        serve(listener, app.clone(), config, &service.tasks);
    }
    Ok(started)
}

/// Tells the other replicas where this one is, if there is an address to tell.
fn announce(view: &View, config: &Config, listens: Option<SocketAddr>, tasks: &Tasks) {
    let certificates = config.reach.certificates.clone();
    if let Some(certificates) = certificates.clone() {
        let every = Every::new(CERTIFICATE);
        tasks.periodic("certificate", every, Nudge::new(), move || {
            let certificates = certificates.clone();
            async move { renew(&certificates) }
        });
    }
    let given = config.reach.replica_url.clone();
    // What was given was checked with the configuration; what is guessed must be as safe.
    let safe = config.dev
        || certificates.is_some()
        || listens.is_some_and(|address| address.ip().is_loopback());
    let guessed = || {
        listens
            .filter(|_| safe)
            .and_then(|address| config.url_at(address))
    };
    match given.or_else(guessed) {
        Some(url) => view.ways().announce(url, certificates, tasks),
        None => {
            tracing::info!(
                "other replicas cannot reach this one: set replica_url if there are any"
            );
        }
    }
}

fn renew(certificates: &Certificates) -> Result<(), TlsError> {
    if certificates.refresh()? {
        tracing::info!(pin = %certificates.pin(), "the certificate was read anew");
    }
    Ok(())
}

fn serve(listener: Listener, app: App, config: &Config, tasks: &Tasks) {
    let limits = Limits {
        connections_max: config.limits.connections,
        body_bytes_max: config.limits.body_bytes,
        drain_deadline: DRAIN,
        ..Limits::default()
    };
    // Detached: the service's tracker holds it.
    drop(tasks.spawn(
        "http",
        forebay_http::serve(listener, app, limits, tasks.clone()),
    ));
}

fn background(view: &View, config: &Config, service: &Service) {
    let tasks = &service.tasks;
    let ringer = view.store().ringer().clone();
    tasks.supervise("doorbell ringer", Backoff::default(), move |stop| {
        let ringer = ringer.clone();
        async move {
            ringer.run(stop).await;
            Ok::<_, Infallible>(())
        }
    });
    let listener = view.store().listener().clone();
    tasks.supervise("doorbell listener", Backoff::default(), move |stop| {
        let listener = listener.clone();
        async move {
            listener.run(stop).await;
            Ok::<_, Infallible>(())
        }
    });
    let (store, keep) = (view.store().clone(), config.retention);
    let every = Every::new(Duration::from_secs(600)).deadline(Duration::from_secs(300));
    tasks.periodic("retention", every, Nudge::new(), move || {
        let store = store.clone();
        async move {
            let gone = store.tend(&keep).await?;
            if gone > 0 {
                tracing::info!(rows = gone, "what was old was deleted");
            }
            Ok::<_, forebay_central::Error>(())
        }
    });
    let gauges = Gauges::new(&service.metrics);
    let view = view.clone();
    let every = Every::new(Duration::from_secs(10)).deadline(Duration::from_secs(8));
    tasks.periodic("gauges", every, Nudge::new(), move || {
        let (gauges, view) = (gauges.clone(), view.clone());
        async move { gauges.read(&view).await }
    });
}
