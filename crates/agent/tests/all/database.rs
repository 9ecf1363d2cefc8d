//! A migrated site database for each test.

use forebay_agent::{
    job::Tracked,
    store::{Journal, Store, StoreError},
};
use forebay_postgres::Pool;
use forebay_service::{Backoff, Tasks};
use forebay_testbed::postgres::{Database, Postgres};
use forebay_wire::{JobId, UserId};

/// A database of its own in the instance that all tests share.
pub(crate) async fn database() -> Database {
    of(Postgres::shared().await.expect("Postgres starts")).await
}

/// A database in this instance.
pub(crate) async fn of(postgres: &Postgres) -> Database {
    let migrate = async |template: Database| -> Result<(), StoreError> {
        Store::open(pool(&template)).await.map(|_| ())
    };
    postgres
        .database_from_template("site", migrate)
        .await
        .expect("a migrated database")
}

pub(crate) fn pool(database: &Database) -> Pool {
    Pool::new(database.pool_config("agent-tests")).expect("a pool")
}

/// Opens the site database and runs its journal.
pub(crate) async fn open(database: &Database, tasks: &Tasks) -> Store {
    let (store, journal) = Store::open(pool(database)).await.expect("it opens");
    supervise(journal, tasks);
    store
}

fn supervise(journal: Journal, tasks: &Tasks) {
    tasks.supervise("journal", Backoff::default(), move |stop| {
        journal.clone().run(stop)
    });
}

/// A job just claimed, of this identity.
pub(crate) fn claimed(identity: &str) -> Tracked {
    let work = serde_json::json!({
        "job": JobId::new(),
        "owner": {"user": UserId::new(), "identity": identity},
        "spec": {"cluster": "hpc", "command": ["true"]},
    });
    let work = serde_json::from_value(work).expect("work");
    Tracked::claimed(work).expect("a spec")
}

/// Runs SQL beside the agent.
pub(crate) async fn sql(database: &Database, sql: &str) {
    let client = pool(database).get().await.expect("a connection");
    client.named("test").batch(sql).await.expect("it runs");
}
