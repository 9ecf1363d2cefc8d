//! The pool: limits, classification, and what a restart of the server costs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay_postgres::{Error, Pool, Target};
use tokio::task::JoinSet;

use crate::support::{Instance, eventually, need, server_pid};

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_has_its_limits() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool_with(|config| config.statement_timeout = Duration::from_millis(300));
    let client = pool.get().await.expect("a connection");
    for (setting, want) in [
        ("statement_timeout", "300ms"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("application_name", "tests"),
    ] {
        let row = client
            .named("test.show")
            .query_one("SELECT current_setting($1)", &[&setting])
            .await
            .expect("a row");
        assert_eq!(row.get::<_, &str>(0), want, "{setting}");
    }
    let began = Instant::now();
    let error = client
        .named("test.sleep")
        .query("SELECT pg_sleep(20)", &[])
        .await
        .expect_err("too slow");
    assert!(
        matches!(
            error,
            Error::Timeout {
                query: "test.sleep",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(error.is_unavailable() && !error.is_retryable() && !error.outcome_unknown());

    let (_, stats) = *pool
        .query_stats()
        .iter()
        .find(|(name, _)| *name == "test.sleep")
        .expect("it was recorded");
    assert_eq!((stats.calls, stats.errors), (1, 1));
    assert!(stats.slowest >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_says_busy() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool_with(|config| {
        config.connections_max = 1;
        config.wait_max = Duration::from_millis(200);
    });
    let held = pool.get().await.expect("the only connection");
    let error = pool.get().await.expect_err("none is free");
    assert!(
        matches!(error, Error::Busy { .. }) && error.is_retryable() && error.is_unavailable(),
        "{error:?}"
    );
    drop(held);
    pool.get().await.expect("it is free again");
    let status = pool.status();
    assert_eq!((status.connections_max, status.open), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_is_known() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool();
    let mut client = pool.get().await.expect("a connection");
    client
        .named("test.make")
        .batch("CREATE TABLE t (id int PRIMARY KEY)")
        .await
        .expect("a table");
    client
        .named("test.insert")
        .execute("INSERT INTO t VALUES ($1)", &[&1_i32])
        .await
        .expect("a row");

    let error = client
        .named("test.insert")
        .execute("INSERT INTO t VALUES ($1)", &[&1_i32])
        .await
        .expect_err("a duplicate");
    assert!(
        error.is_unique_violation() && !error.is_retryable() && !error.is_unavailable(),
        "{error:?}"
    );
    assert_eq!(error.constraint(), Some("t_pkey"));
    assert_eq!(
        error.to_string(),
        "query test.insert failed",
        "the source is not repeated"
    );

    // A commit after a failure is a rollback, and says so.
    let tx = client.transaction().await.expect("a transaction");
    tx.named("test.insert")
        .execute("INSERT INTO t VALUES ($1)", &[&2_i32])
        .await
        .expect("a row");
    tx.named("test.again")
        .execute("INSERT INTO t VALUES ($1)", &[&1_i32])
        .await
        .expect_err("a duplicate");
    let error = tx.commit().await.expect_err("nothing was committed");
    assert!(
        matches!(
            error,
            Error::Aborted {
                query: "test.again"
            }
        ),
        "{error:?}"
    );
    let count = client
        .named("test.count")
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .expect("a row");
    assert_eq!(count.get::<_, i64>(0), 1);

    // A prepared statement that no longer fits the table is prepared again.
    let all = "SELECT * FROM t";
    assert_eq!(
        client
            .named("test.all")
            .query(all, &[])
            .await
            .expect("rows")[0]
            .len(),
        1
    );
    client
        .named("test.alter")
        .batch("ALTER TABLE t ADD COLUMN more text")
        .await
        .expect("a column");
    assert_eq!(
        client
            .named("test.all")
            .query(all, &[])
            .await
            .expect("rows")[0]
            .len(),
        2
    );

    let error =
        Target::url("postgresql://somebody:secret@h/db?sslmode=require").expect_err("no TLS");
    assert!(!format!("{error} {error:?}").contains("secret"));
    for bad in ["", "not a url", "postgresql://h", "host=h"] {
        assert!(
            matches!(Target::url(bad), Err(Error::Config { .. })),
            "{bad:?}"
        );
    }
    let target = Target::url("postgresql://somebody:secret@h/db").expect("a good URL");
    assert!(!format!("{target:?}").contains("secret"), "{target:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_query_does_not_delay_the_next_borrower() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool_with(|config| config.connections_max = 1);
    let client = pool.get().await.expect("a connection");
    let query = client.named("test.sleep").query("SELECT pg_sleep(8)", &[]);
    tokio::time::timeout(Duration::from_millis(100), query)
        .await
        .expect_err("it sleeps");
    drop(client);
    let began = Instant::now();
    let client = pool.get().await.expect("a connection");
    client
        .named("test.one")
        .query_one("SELECT 1", &[])
        .await
        .expect("a row");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_server_is_unavailable_within_the_wait() {
    let dir = crate::support::directory();
    let target = Target::Private {
        socket_dir: dir.path().to_owned(),
        database: "x".into(),
        role: "x".into(),
    };
    let mut config = forebay_postgres::Config::new(target, "tests");
    config.wait_max = Duration::from_millis(300);
    let pool = Pool::new(config).expect("a good configuration");
    let began = Instant::now();
    let error = pool.get().await.expect_err("nobody is there");
    assert!(
        matches!(error, Error::Unavailable { .. }) && error.is_retryable(),
        "{error:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

/// Writers insert numbered rows all the time while the server is killed with `kill -9` and later restarted in order.
/// Each interruption may cost each writer the statement that it had in flight, and nothing else: no acknowledged row
/// is missing, and no row is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_costs_only_the_requests_in_flight() {
    const WRITERS: u64 = 6;
    static STOP: AtomicBool = AtomicBool::new(false);
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    need!(postgres);
    let mut instance = Instance::start();
    let pool = instance.pool_with(|config| {
        config.connections_max = 4;
        config.wait_max = Duration::from_secs(20);
    });
    let client = pool.get().await.expect("a connection");
    client
        .named("test.make")
        .batch("CREATE TABLE t (writer int8, n int8, PRIMARY KEY (writer, n))")
        .await
        .expect("a table");
    drop(client);

    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let pool = pool.clone();
        writers.spawn(async move {
            let (writer, mut failures) = (i64::try_from(writer).expect("small"), 0_u64);
            let mut n = 0_i64;
            while !STOP.load(Ordering::Relaxed) {
                let client = pool.get().await.expect("the wait outlasts the restart");
                let insert = "INSERT INTO t VALUES ($1, $2) ON CONFLICT DO NOTHING";
                match client
                    .named("test.insert")
                    .execute(insert, &[&writer, &n])
                    .await
                {
                    Ok(_) => {
                        n += 1;
                        WRITTEN.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        assert!(
                            error.is_unavailable() && error.outcome_unknown(),
                            "{error:?}"
                        );
                        failures += 1; // The same row again: it may or may not be there.
                    }
                }
            }
            (n, failures)
        });
    }
    let more_written = || {
        let before = WRITTEN.load(Ordering::Relaxed);
        eventually("rows are written again", || {
            WRITTEN.load(Ordering::Relaxed) > before + 200
        });
    };
    tokio::task::block_in_place(|| {
        more_written();
        let killed = instance.kill_server();
        eventually("another server", || {
            server_pid(&instance.data()).is_some_and(|pid| pid != killed)
        });
        more_written();
        instance.stop().expect("an orderly stop");
        instance.restart();
        more_written();
    });
    STOP.store(true, Ordering::Relaxed);
    let results = writers.join_all().await;
    let (acknowledged, failures) = results
        .iter()
        .fold((0, 0), |(n, f), result| (n + result.0, f + result.1));
    assert!(
        failures <= 2 * WRITERS,
        "{failures} failures in two interruptions with {WRITERS} writers"
    );
    let client = pool.get().await.expect("a connection");
    let count = client
        .named("test.count")
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .expect("a row");
    assert_eq!(
        count.get::<_, i64>(0),
        acknowledged,
        "each acknowledged row once"
    );
}

/// Services await these in tasks.
#[test]
fn futures_can_move_between_threads() {
    fn check(_: impl Send) {}
    async fn use_all(pool: Pool) -> Result<(), Error> {
        let mut client = pool.get().await?;
        client.named("a").query("SELECT 1", &[]).await?;
        let tx = client.transaction().await?;
        tx.named("b").execute("SELECT 1", &[&1_i32]).await?;
        tx.named("c").batch("SELECT 1").await?;
        forebay_postgres::feed::append(&tx, &[]).await?;
        tx.commit().await?;
        let reader = forebay_postgres::feed::Reader::new(pool);
        let wanted = String::from("borrowed");
        let ((), _) = reader
            .snapshot(async |tx| {
                tx.named("d")
                    .query_opt("SELECT $1::text", &[&wanted])
                    .await?;
                Ok::<(), Error>(())
            })
            .await?;
        reader.now().await?;
        Ok(())
    }
    let target = Target::Private {
        socket_dir: "/nowhere".into(),
        database: "x".into(),
        role: "x".into(),
    };
    check(use_all(
        Pool::new(forebay_postgres::Config::new(target, "tests")).expect("a good configuration"),
    ));
}
