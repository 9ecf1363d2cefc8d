//! The site database. SQL of the agent stands in this module and nowhere else.

mod journal;
mod lock;
mod outbound;
mod tails;
mod tracked;

use std::sync::Arc;

use forebay_postgres::Pool;
use forebay_wire::link::Report;
use tokio::sync::{mpsc, watch};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

pub use journal::{Change, Journal};
pub use lock::hold_site;

use crate::job::Tracked;

const MIGRATIONS: &[(&str, &str)] = &[
    ("V1__site", include_str!("migrations/V1__site.sql")),
    (
        "V2__link_and_tails",
        include_str!("migrations/V2__link_and_tails.sql"),
    ),
    ("V3__reaper", include_str!("migrations/V3__reaper.sql")),
];

/// What the site database could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or refused the statement.
    #[error("the site database failed at {what}")]
    Database {
        /// What was being done.
        what: &'static str,
        /// Why.
        #[source]
        source: forebay_postgres::Error,
    },
    /// A row that this version cannot read. It is left as it is.
    #[error("the site database holds a {what} that this version cannot read")]
    Row {
        /// Which kind of row.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database belongs to another installation.
    #[error(
        "this site database belongs to installation {pinned}, and the view-server is of {offered}; \
         point the agent to its own view-server, or give it an empty database"
    )]
    OtherInstallation {
        /// The one whose jobs it holds.
        pinned: uuid::Uuid,
        /// The one that the view-server says it is.
        offered: uuid::Uuid,
    },
    /// What was written together with other callers' changes failed.
    #[error("writing jobs and reports failed")]
    Batch(#[source] Arc<StoreError>),
    /// The database could not be brought up to date.
    #[error("the site database could not be brought up to date")]
    Migrate(#[source] forebay_postgres::migrate::Error),
    /// Another agent has it.
    #[error("another agent holds this site database; a site has one agent")]
    Held,
    /// The agent is ending; nothing was written.
    #[error("the agent is ending; nothing was written")]
    Closed,
}

impl StoreError {
    /// The database is away: the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database { source, .. } => source.is_unavailable() || source.is_retryable(),
            Self::Batch(error) => error.is_unavailable(),
            Self::Row { .. }
            | Self::OtherInstallation { .. }
            | Self::Migrate(_)
            | Self::Held
            | Self::Closed => false,
        }
    }

    /// Names what was being done when the database failed.
    fn at(what: &'static str) -> impl FnOnce(forebay_postgres::Error) -> Self {
        move |source| Self::Database { what, source }
    }
}

/// Handle to the site database; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    journal: mpsc::Sender<journal::Entry>,
    /// The number of the newest report written by this process.
    written: Arc<watch::Sender<i64>>,
    /// Those who will write although the agent is ending.
    writers: TaskTracker,
    unreadable: Arc<outbound::Unreadable>,
}

impl Store {
    /// Brings the database up to date and opens it. The [`Journal`] must be
    /// run for [`Store::write`] to make progress.
    pub async fn open(pool: Pool) -> Result<(Self, Journal), StoreError> {
        let runner = forebay_postgres::migrate::runner(MIGRATIONS).map_err(StoreError::Migrate)?;
        forebay_postgres::migrate::run(&pool, &runner)
            .await
            .map_err(StoreError::Migrate)?;
        let holder = lock::take(&pool).await?;
        let (journal, entries) = mpsc::channel(1_024);
        let written = Arc::new(watch::Sender::new(0));
        let store = Self {
            pool: pool.clone(),
            journal,
            written: Arc::clone(&written),
            writers: TaskTracker::new(),
            unreadable: Arc::default(),
        };
        let journal = Journal::new(pool, holder, entries, written, store.writers.clone());
        Ok((store, journal))
    }

    /// A connection for one look at the database.
    async fn client(&self) -> Result<forebay_postgres::Client, StoreError> {
        self.pool.get().await.map_err(StoreError::at("connecting"))
    }

    /// Writes all of it in one transaction, together with what other callers
    /// write at the same moment. Returns when it is on disk.
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (entry, done) = journal::Entry::new(changes);
        self.journal
            .send(entry)
            .await
            .map_err(|_| StoreError::Closed)?;
        done.await.map_err(|_| StoreError::Closed)?
    }

    /// Keeps the journal running while the agent ends, for as long as the token
    /// lives: for a step whose outcome is to be written down.
    pub fn keep_open(&self) -> TaskTrackerToken {
        self.writers.token()
    }

    /// [`Store::write`] for one job.
    pub async fn save(&self, job: &Tracked, reports: Vec<Report>) -> Result<(), StoreError> {
        self.write(vec![Change::save(job, reports)]).await
    }

    /// Changes when reports were written.
    pub fn reports_written(&self) -> watch::Receiver<i64> {
        self.written.subscribe()
    }
}
