//! The store: the pool and what hangs on it. Each noun's queries are in the
//! module of that name, as further `impl Store`.

use forebay_postgres::{
    Client, Pool,
    doorbell::{Bell, Listener, Ringer},
    feed, migrate,
};
use uuid::Uuid;

use crate::error::Error;

/// The doorbell's channel.
const CHANNEL: &str = "forebay_feed";

/// The central database. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: Pool,
    pub(crate) feed: feed::Reader,
    ringer: Ringer,
    listener: Listener,
}

impl Store {
    /// A store in the pool's database. Connects to nothing.
    pub fn new(pool: Pool) -> Result<Self, Error> {
        Ok(Self {
            feed: feed::Reader::new(pool.clone()),
            ringer: Ringer::new(pool.clone(), CHANNEL)?,
            listener: Listener::new(pool.clone(), CHANNEL)?,
            pool,
        })
    }

    /// Brings the database's schema up to this program's, and returns the names
    /// of the migrations applied now. Several programs may do so at once.
    pub async fn migrate(&self) -> Result<Vec<String>, migrate::Error> {
        let runner = migrate::runner(&[
            ("V1__feed", feed::SCHEMA_SQL),
            ("V2__central", include_str!("../migrations/V2__central.sql")),
            (
                "V3__enrolment",
                include_str!("../migrations/V3__enrolment.sql"),
            ),
            (
                "V4__sessions",
                include_str!("../migrations/V4__sessions.sql"),
            ),
            (
                "V5__announcements",
                include_str!("../migrations/V5__announcements.sql"),
            ),
        ])?;
        migrate::run(&self.pool, &runner).await
    }

    /// Rings after commits; its `run` must be kept running.
    pub fn ringer(&self) -> &Ringer {
        &self.ringer
    }

    /// Hears the rings of all processes; its `run` must be kept running.
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    /// A bell that rings when something may have changed.
    pub fn bell(&self) -> Bell {
        self.listener.subscribe()
    }

    /// The pool, for its metrics.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether the database answers and has this program's schema.
    pub async fn ready(&self) -> Result<(), Error> {
        self.installation().await.map(drop)
    }

    /// The id of this installation.
    pub async fn installation(&self) -> Result<Uuid, Error> {
        let client = self.client().await?;
        let row = client
            .named("installation.get")
            .query_one("SELECT id FROM installation", &[])
            .await?;
        Ok(row
            .try_get(0)
            .map_err(forebay_postgres::Error::in_query("installation.get"))?)
    }

    pub(crate) async fn client(&self) -> Result<Client, Error> {
        Ok(self.pool.get().await?)
    }

    /// To be called after each commit that wrote to the feed.
    pub(crate) fn ring(&self) {
        self.ringer.ring();
    }
}
