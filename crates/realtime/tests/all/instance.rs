//! A database of one's own, migrated: in the instance that all tests share, or in one's own instance.

use std::sync::Arc;

use forebay_central::Store;
use forebay_postgres::{Pool, migrate};
use forebay_testbed::postgres::{self, Postgres};

/// A database.
#[derive(Clone)]
pub(crate) struct Database {
    pub(crate) database: postgres::Database,
    /// Where it is not the shared one: ends with the last of these.
    pub(crate) own: Option<Arc<Postgres>>,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let postgres = Postgres::shared().await.expect("Postgres starts");
        Self {
            database: migrated(postgres).await,
            own: None,
        }
    }

    /// For tests that kill the server.
    pub(crate) async fn alone() -> Self {
        let postgres = Postgres::start().await.expect("Postgres starts");
        Self {
            database: migrated(&postgres).await,
            own: Some(Arc::new(postgres)),
        }
    }

    pub(crate) fn store(&self) -> Store {
        store(&self.database)
    }
}

fn store(database: &postgres::Database) -> Store {
    let pool = Pool::new(database.pool_config("realtime-tests")).expect("a pool");
    Store::new(pool).expect("a store")
}

async fn migrated(postgres: &Postgres) -> postgres::Database {
    let migrate = async |template: postgres::Database| -> Result<(), migrate::Error> {
        store(&template).migrate().await.map(drop)
    };
    postgres
        .database_from_template("central", migrate)
        .await
        .expect("a migrated database")
}
