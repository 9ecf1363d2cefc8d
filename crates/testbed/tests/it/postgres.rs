//! A private instance: databases for tests, and what happens when it is killed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use forebay_postgres::Pool;
use forebay_testbed::need;
use forebay_testbed::postgres::{Database, Error, Postgres};

use crate::support::{child_dir, eventually, pid_alive, processes_of, test_process};

static MIGRATIONS: AtomicU32 = AtomicU32::new(0);

async fn migrate(database: Database) -> Result<(), forebay_postgres::Error> {
    MIGRATIONS.fetch_add(1, Ordering::Relaxed);
    let client = Pool::new(database.pool_config("migrate"))?.get().await?;
    client
        .named("t")
        .batch("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
        .await
}

async fn batch(database: &Database, sql: &str) -> Result<(), forebay_postgres::Error> {
    let client = Pool::new(database.pool_config("test"))?.get().await?;
    client.named("t").batch(sql).await
}

async fn count(database: &Database) -> i64 {
    let client = Pool::new(database.pool_config("test"))
        .unwrap()
        .get()
        .await
        .unwrap();
    client
        .named("t")
        .query_one("SELECT count(*) FROM t", &[])
        .await
        .unwrap()
        .get(0)
}

/// Twice, each in a runtime of its own, as tests are.
async fn a_copy_is_ones_own() {
    need!(Postgres);
    let postgres = Postgres::shared().await.unwrap();
    let copy = async || postgres.database_from_template("t", migrate).await.unwrap();
    let (one, two) = tokio::join!(copy(), copy());
    assert_ne!(one.name(), two.name());
    batch(&one, "INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!((count(&one).await, count(&two).await), (2, 1));
    let start = Instant::now();
    let three = copy().await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "a copy took {took:?}");
    assert_eq!(count(&three).await, 1);
    assert_eq!(
        MIGRATIONS.load(Ordering::Relaxed),
        1,
        "migrated once per process"
    );
}

#[tokio::test]
async fn a_copy_is_ones_own_1() {
    a_copy_is_ones_own().await;
}

#[tokio::test]
async fn a_copy_is_ones_own_2() {
    a_copy_is_ones_own().await;
}

#[tokio::test]
async fn a_template_that_fails_is_an_error_and_can_be_tried_again() {
    need!(Postgres);
    let postgres = Postgres::shared().await.unwrap();
    let broken = async |database: Database| batch(&database, "CREATE TABLE t (n nothing)").await;
    let error = postgres
        .database_from_template("broken", broken)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Migrate { .. }), "{error:?}");
    let mended = async |database: Database| batch(&database, "CREATE TABLE t (n int)").await;
    let database = postgres
        .database_from_template("broken", mended)
        .await
        .unwrap();
    assert_eq!(count(&database).await, 0);
    let error = postgres
        .database_from_template("no; DROP", mended)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::BadName(_)), "{error:?}");
}

#[tokio::test]
async fn one_of_ones_own_survives_kills_and_leaves_nothing() {
    need!(Postgres);
    let postgres = Postgres::start().await.unwrap();
    let database = postgres.database().await.unwrap();
    batch(
        &database,
        "CREATE TABLE t (n int); INSERT INTO t VALUES (1)",
    )
    .await
    .unwrap();
    let pid = postgres.server_pid().unwrap();
    postgres.kill9_server().unwrap();
    eventually("another server", Duration::from_secs(20), || {
        postgres.server_pid().is_ok_and(|new| new != pid)
    });
    assert_eq!(count(&database).await, 1);
    postgres.kill9().await.unwrap();
    postgres.start_again().await.unwrap();
    assert_eq!(count(&database).await, 1);
    postgres.stop().await.unwrap();
    assert!(
        Pool::new(database.pool_config("test"))
            .unwrap()
            .get()
            .await
            .is_err()
    );
    postgres.start_again().await.unwrap();
    assert_eq!(count(&database).await, 1);
    let (dir, pid) = (
        postgres.dir().to_owned(),
        postgres.server_pid().unwrap().as_raw_nonzero().get(),
    );
    let key = fs::metadata(dir.join("state/cluster/data")).unwrap().ino();
    assert!(has_shared_memory(key));
    drop(postgres);
    assert!(!has_shared_memory(key));
    assert!(!pid_alive(pid) && processes_of(&dir).is_empty());
    assert!(forebay_testbed::dirs::keep() || !dir.exists());
}

/// Whether the segment of System V shared memory is there that a server makes and, when killed,
/// leaves: its key is the inode of the data directory.
fn has_shared_memory(key: u64) -> bool {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let mut keys = table
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    keys.any(|found| found == key)
}

#[test]
fn psql_finds_it() {
    need!(Postgres);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let database =
        runtime.block_on(async { Postgres::shared().await.unwrap().database().await.unwrap() });
    drop(runtime);
    let mut psql = std::process::Command::new("psql");
    let output = psql
        .args(["-XAtc", "SELECT current_database()", &database.url()])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        database.name(),
        "{output:?}"
    );
}

#[test]
fn a_killed_test_process_leaves_no_postgres() {
    need!(Postgres);
    if let Some(dir) = child_dir() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let postgres = Postgres::shared().await.unwrap();
            let pid = postgres.server_pid().unwrap().as_raw_nonzero();
            fs::write(
                dir.join("tmp"),
                format!("{}\n{pid}", postgres.dir().display()),
            )
            .unwrap();
            fs::rename(dir.join("tmp"), dir.join("up")).unwrap();
            std::future::pending::<()>().await;
        });
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = test_process(
        "postgres::a_killed_test_process_leaves_no_postgres",
        dir.path(),
    );
    eventually("an instance", Duration::from_secs(60), || {
        dir.path().join("up").exists()
    });
    let text = fs::read_to_string(dir.path().join("up")).unwrap();
    let (place, pid) = text.trim().split_once('\n').unwrap();
    let (place, pid): (PathBuf, i32) = (place.into(), pid.parse().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    let two_seconds = Duration::from_secs(2);
    eventually("Postgres' end", two_seconds, || {
        !pid_alive(pid) && processes_of(&place).is_empty()
    });
    eventually("the directory's removal", two_seconds, || !place.exists());
}
