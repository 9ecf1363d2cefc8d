//! Migrations: replicas that start together, and programs older than the database.

use forebay_postgres::{feed, migrate};
use tokio::task::JoinSet;

use crate::support::{Instance, need};

const FIRST: (&str, &str) = ("V1__feed", feed::SCHEMA_SQL);
const SECOND: (&str, &str) = (
    "V2__jobs",
    "CREATE TABLE jobs (id int PRIMARY KEY); SELECT pg_sleep(0.3)",
);

#[tokio::test(flavor = "multi_thread")]
async fn replicas_may_start_together() {
    need!(postgres);
    let instance = Instance::start();
    let mut replicas = JoinSet::new();
    for _ in 0..6 {
        let pool = instance.pool(); // As in another process: nothing is shared but the database.
        replicas.spawn(async move {
            let runner = migrate::runner(&[SECOND, FIRST]).expect("a set");
            let applied = migrate::run(&pool, &runner).await.expect("it migrates");
            pool.get()
                .await
                .expect("a connection")
                .named("test.use")
                .execute("DELETE FROM jobs", &[])
                .await
                .expect("there");
            applied
        });
    }
    let mut applied: Vec<_> = replicas.join_all().await.into_iter().flatten().collect();
    applied.sort();
    assert_eq!(applied, ["V1__feed", "V2__jobs"], "each by one of them");

    // The limits that a migration lifts are not left on a connection of the pool, nor is its lock.
    let pool = instance.pool_with(|config| config.connections_max = 1);
    migrate::run(&pool, &migrate::runner(&[FIRST, SECOND]).expect("a set"))
        .await
        .expect("nothing to do");
    let client = pool.get().await.expect("a connection");
    let row = client
        .named("test.show")
        .query_one("SELECT current_setting('statement_timeout'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')", &[])
        .await
        .expect("a row");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), ("10s", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_program_is_refused() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool();
    migrate::run(&pool, &migrate::runner(&[FIRST, SECOND]).expect("a set"))
        .await
        .expect("it migrates");
    let error = migrate::run(&pool, &migrate::runner(&[FIRST]).expect("a set"))
        .await
        .expect_err("it is older");
    assert!(
        matches!(
            error,
            migrate::Error::Newer {
                database: 2,
                program: 1,
                ..
            }
        ),
        "{error:?}"
    );
    insta::assert_snapshot!(error);

    let changed =
        migrate::runner(&[FIRST, (SECOND.0, "CREATE TABLE jobs (id text)")]).expect("a set");
    let error = migrate::run(&pool, &changed)
        .await
        .expect_err("a text was changed");
    assert!(matches!(error, migrate::Error::Failed(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_migration_leaves_nothing_of_itself() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool();
    let broken = ("V2__broken", "CREATE TABLE half (id int); SELECT 1/0");
    let error = migrate::run(&pool, &migrate::runner(&[FIRST, broken]).expect("a set"))
        .await
        .expect_err("it fails");
    assert!(matches!(error, migrate::Error::Failed(_)), "{error:?}");
    let client = pool.get().await.expect("a connection");
    let tables = "SELECT to_regclass('feed') IS NOT NULL, to_regclass('half') IS NOT NULL";
    let row = client
        .named("test.tables")
        .query_one(tables, &[])
        .await
        .expect("a row");
    assert_eq!(
        (row.get::<_, bool>(0), row.get::<_, bool>(1)),
        (true, false)
    );
    let mended = migrate::runner(&[FIRST, SECOND]).expect("a set");
    assert_eq!(
        migrate::run(&pool, &mended).await.expect("it goes on"),
        ["V2__jobs"]
    );
}

#[test]
fn names_are_checked() {
    for bad in [
        &[("nonsense", "")][..],
        &[("Vx__a", "")],
        &[("V1__a", ""), ("V1__b", "")],
    ] {
        assert!(
            matches!(migrate::runner(bad), Err(migrate::Error::Invalid { .. })),
            "{bad:?}"
        );
    }
}

/// Databases hold the checksum of this text: a changed text would be refused by all of them.
#[test]
fn the_feed_schema_is_frozen() {
    insta::assert_snapshot!(feed::SCHEMA_SQL);
}

/// Numbers may be left out. But one that is filled in later is refused by a database that has gone past it: migrations
/// that are made side by side reach databases that are to be kept in one release.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_may_have_gaps_but_are_not_filled_in_later() {
    need!(postgres);
    let fifth = ("V5__more", "CREATE TABLE more (id int)");
    let third = ("V3__late", "CREATE TABLE late (id int)");
    let instance = Instance::start();
    let pool = instance.pool();
    let with_gap = migrate::runner(&[FIRST, fifth]).expect("a set");
    let applied = migrate::run(&pool, &with_gap).await.expect("it migrates");
    assert_eq!(applied, ["V1__feed", "V5__more"]);
    assert!(
        migrate::run(&pool, &with_gap)
            .await
            .expect("nothing to do")
            .is_empty()
    );
    let filled = migrate::runner(&[FIRST, third, fifth]).expect("a set");
    let refused = migrate::run(&pool, &filled).await;
    assert!(
        matches!(refused, Err(migrate::Error::Failed(_))),
        "{refused:?}"
    );
}
