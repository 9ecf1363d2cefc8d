//! The feed: that no row is missed, and that a cursor which is no longer good is refused.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_postgres::feed::{
    self, BODY_BYTES_MAX, Cursor, PAGE_ROWS_MAX, ReadError, Reader, Row, Topics,
};
use forebay_postgres::{Error, Pool};
use serde_json::value::to_raw_value;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::support::{Instance, eventually, need, server_pid};

fn row(topic: &str, rev: i64) -> Row {
    let body = to_raw_value(&serde_json::json!({ "n": rev })).expect("JSON");
    Row {
        topic: topic.to_owned(),
        kind: "test".to_owned(),
        key: "k".to_owned(),
        rev,
        body,
    }
}

async fn append(pool: &Pool, rows: &[Row]) {
    let mut client = pool.get().await.expect("a connection");
    let tx = client.transaction().await.expect("a transaction");
    feed::append(&tx, rows).await.expect("rows");
    tx.commit().await.expect("committed");
}

/// All rows from the cursor on, and where it then stands.
async fn drain(reader: &Reader, mut cursor: Cursor, topics: &Topics) -> (Vec<feed::Delta>, Cursor) {
    let mut rows = Vec::new();
    loop {
        let page = reader
            .read_after(&cursor, topics, PAGE_ROWS_MAX)
            .await
            .expect("a page");
        rows.extend(page.rows);
        cursor = page.next;
        if !page.more {
            return (rows, cursor);
        }
    }
}

/// Writers commit in another order than they got their numbers. A reader that remembers the highest number misses
/// rows; this one misses none, and reads none twice.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_commit_late_are_not_missed() {
    const WRITERS: i64 = 12;
    static STOP: AtomicBool = AtomicBool::new(false);
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let reader = Reader::new(pool.clone());
    let start = reader.now().await.expect("a cursor");

    let mut writers = JoinSet::new();
    let writers_pool = instance.pool_with(|config| config.connections_max = 12);
    for writer in 0..WRITERS {
        let pool = writers_pool.clone();
        writers.spawn(async move {
            let mut client = pool.get().await.expect("a connection");
            let mut rev = 0;
            while !STOP.load(Ordering::Relaxed) {
                let tx = client.transaction().await.expect("a transaction");
                feed::append(&tx, &[row(&format!("writer:{writer}"), rev)])
                    .await
                    .expect("a row");
                let pause = (writer * 31 + rev * 17) % 9;
                tokio::time::sleep(Duration::from_millis(pause.unsigned_abs())).await;
                tx.commit().await.expect("committed");
                rev += 1;
            }
            rev
        });
    }
    let naive = {
        let pool = pool.clone();
        async move {
            let client = pool.get().await.expect("a connection");
            let (mut seen, mut last) = (BTreeSet::new(), 0_i64);
            loop {
                let last_round = STOP.load(Ordering::Relaxed);
                let sql = "SELECT id FROM feed WHERE id > $1 ORDER BY id";
                for row in client
                    .named("test.naive")
                    .query(sql, &[&last])
                    .await
                    .expect("rows")
                {
                    last = row.get(0);
                    seen.insert(last);
                }
                if last_round {
                    return seen.len();
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    };
    let snapshot = async {
        let (mut seen, mut cursor) = (Vec::new(), start);
        while !STOP.load(Ordering::Relaxed) {
            // A small page, so that cursors in the middle of a transaction's rows are used as well.
            let page = reader
                .read_after(&cursor, &Topics::All, 7)
                .await
                .expect("a page");
            cursor = page.next;
            seen.extend(page.rows);
            if !page.more {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
        (seen, cursor)
    };
    let timer = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        STOP.store(true, Ordering::Relaxed);
        writers.join_all().await
    };
    let (naive, (mut seen, cursor), written) = tokio::join!(naive, snapshot, timer);
    seen.extend(drain(&reader, cursor, &Topics::All).await.0);

    let total: i64 = written.iter().sum();
    let total = usize::try_from(total).expect("a count");
    assert!(total > 500, "{total} rows are no load");
    assert!(
        naive < total,
        "the load does not show the fault that this reader is for"
    );
    let distinct: BTreeSet<_> = seen.iter().map(|delta| delta.cursor).collect();
    assert_eq!(
        (seen.len(), distinct.len()),
        (total, total),
        "naive reader: {naive}"
    );
    assert!(
        seen.is_sorted_by_key(|delta| delta.cursor),
        "in order of position"
    );
    for writer in 0..WRITERS {
        let topic = format!("writer:{writer}");
        let revs = seen
            .iter()
            .filter(|delta| delta.topic == topic)
            .map(|delta| delta.rev);
        assert!(revs.is_sorted(), "each writer's rows in its own order");
    }
}

/// After a crash Postgres gives out transaction ids again that it had shown to readers before. A cursor made of such
/// an id, `(xmin, 0)`, would pass over rows written after the crash.
#[tokio::test(flavor = "multi_thread")]
async fn transaction_ids_given_out_twice_lose_no_row() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let reader = Reader::new(pool.clone());
    append(&pool, &[row("t", 0)]).await;
    let mut reused = false;
    for attempt in 1..=10 {
        let xmin: u64 = {
            let mut client = pool.get().await.expect("a connection");
            for _ in 0..3 {
                let tx = client.transaction().await.expect("a transaction");
                tx.named("test.xid")
                    .query("SELECT pg_current_xact_id()::text", &[])
                    .await
                    .expect("an id");
                tx.rollback().await.expect("rolled back");
            }
            let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
            let row = client
                .named("test.xmin")
                .query_one(sql, &[])
                .await
                .expect("a row");
            row.get::<_, &str>(0).parse().expect("a number")
        };
        let from_snapshot = reader.now().await.expect("a cursor");
        let (_, from_page) = drain(&reader, from_snapshot, &Topics::All).await;
        let killed = instance.kill_server();
        tokio::task::block_in_place(|| {
            eventually("another server", || {
                server_pid(&instance.data()).is_some_and(|pid| pid != killed)
            });
        });
        append(&pool, &[row("t", attempt)]).await;
        for cursor in [from_snapshot, from_page] {
            let (rows, _) = drain(&reader, cursor, &Topics::All).await;
            assert_eq!(
                rows.iter().map(|delta| delta.rev).collect::<Vec<_>>(),
                [attempt],
                "attempt {attempt}"
            );
            reused |= rows[0].cursor.xid < xmin;
        }
        if reused {
            break;
        }
    }
    assert!(
        reused,
        "no transaction id was given out twice: the test shows nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_topics_and_cursors() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let reader = Reader::new(pool.clone());
    let start = reader.now().await.expect("a cursor");
    assert!(
        reader
            .read_after(&start, &Topics::All, 10)
            .await
            .expect("a page")
            .rows
            .is_empty()
    );

    let rows: Vec<Row> = (0..2500)
        .map(|n| {
            row(
                ["job:a", "job:b", "user:c"][usize::try_from(n % 3).expect("small")],
                n,
            )
        })
        .collect();
    append(&pool, &rows).await;
    let page = reader
        .read_after(&start, &Topics::All, usize::MAX)
        .await
        .expect("a page");
    assert_eq!(
        (page.rows.len(), page.more, page.held_back),
        (PAGE_ROWS_MAX, true, false)
    );
    assert_eq!(page.next, page.rows.last().expect("a row").cursor);
    let (all, end) = drain(&reader, start, &Topics::All).await;
    assert_eq!(
        all.iter().map(|delta| delta.rev).collect::<Vec<_>>(),
        (0..2500).collect::<Vec<_>>(),
        "in the order given"
    );
    assert_eq!(all[7].body.get(), r#"{"n": 7}"#);
    assert!((OffsetDateTime::now_utc() - all[7].at).abs() < time::Duration::minutes(5));

    let wanted: Topics = ["job:b", "user:c", "user:c", "nobody"]
        .into_iter()
        .collect();
    let (some, some_end) = drain(&reader, start, &wanted).await;
    assert_eq!(
        some.iter().map(|delta| delta.rev).collect::<Vec<_>>(),
        (0..2500).filter(|n| n % 3 != 0).collect::<Vec<_>>()
    );
    assert_eq!(
        some_end, end,
        "a reader of some topics moves on as far as one of all"
    );
    let nobody: Topics = ["nobody"].into_iter().collect();
    assert_eq!(
        reader
            .read_after(&start, &nobody, 10)
            .await
            .expect("a page")
            .next,
        end
    );
    let nothing = Topics::Only(BTreeSet::new());
    assert!(
        reader
            .read_after(&start, &nothing, 10)
            .await
            .expect("a page")
            .rows
            .is_empty()
    );

    // Resuming at any row gives exactly the rows after it.
    let middle = all[1234].cursor.to_string().parse().expect("its own text");
    assert_eq!(drain(&reader, middle, &Topics::All).await.0[0].rev, 1235);

    // A snapshot shows a single moment, and reading on from its cursor gives what came later.
    let (count, cursor) = reader
        .snapshot(async |tx| {
            let count = "SELECT count(*) FROM feed";
            let before: i64 = tx.named("test.count").query_one(count, &[]).await?.get(0);
            append(&pool, &[row("late", 1)]).await;
            let after: i64 = tx.named("test.count").query_one(count, &[]).await?.get(0);
            assert_eq!(before, after);
            Ok::<_, Error>(after)
        })
        .await
        .expect("a snapshot");
    assert_eq!(count, 2500);
    let (late, _) = drain(&reader, cursor, &Topics::All).await;
    assert_eq!(
        late.iter()
            .map(|delta| delta.topic.as_str())
            .collect::<Vec<_>>(),
        ["late"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_holds_later_rows_back() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let reader = Reader::new(pool.clone());
    let start = reader.now().await.expect("a cursor");
    assert_eq!(reader.lag_ms().await.expect("a lag"), 0);
    let mut slow = pool.get().await.expect("a connection");
    let tx = slow.transaction().await.expect("a transaction");
    feed::append(&tx, &[row("t", 1)]).await.expect("a row");
    append(&pool, &[row("t", 2)]).await;
    tokio::time::sleep(Duration::from_millis(150)).await;

    let page = reader
        .read_after(&start, &Topics::All, 10)
        .await
        .expect("a page");
    assert!(page.rows.is_empty() && page.held_back, "{page:?}");
    let lag = reader.lag_ms().await.expect("a lag");
    assert!((150..5000).contains(&lag), "{lag} ms");
    // A snapshot taken now does not step over either of them.
    let during = reader.now().await.expect("a cursor");
    tx.commit().await.expect("committed");
    for cursor in [page.next, during] {
        let (rows, _) = drain(&reader, cursor, &Topics::All).await;
        assert_eq!(
            rows.iter().map(|delta| delta.rev).collect::<Vec<_>>(),
            [1, 2]
        );
    }
    assert_eq!(reader.lag_ms().await.expect("a lag"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_before_pruned_rows_have_expired() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let reader = Reader::new(pool.clone());
    let start = reader.now().await.expect("a cursor");
    append(&pool, &(0..12_000).map(|n| row("t", n)).collect::<Vec<_>>()).await;
    let client = pool.get().await.expect("a connection");
    client
        .named("test.age")
        .batch("UPDATE feed SET at = at - interval '1 day'")
        .await
        .expect("aged");
    append(&pool, &[row("t", 12_000), row("t", 12_001)]).await;
    let (all, end) = drain(&reader, start, &Topics::All).await;
    assert_eq!(all.len(), 12_002);

    // A row that nobody can have read yet stays, however old.
    let mut slow = pool.get().await.expect("a connection");
    let tx = slow.transaction().await.expect("a transaction");
    tx.named("test.xid")
        .query("SELECT pg_current_xact_id()::text", &[])
        .await
        .expect("an id");
    let an_hour_ago = OffsetDateTime::now_utc() - time::Duration::hours(1);
    assert_eq!(
        reader
            .prune(an_hour_ago - time::Duration::days(2))
            .await
            .expect("pruned"),
        0
    );
    assert_eq!(reader.prune(an_hour_ago).await.expect("pruned"), 12_000);
    assert_eq!(reader.prune(an_hour_ago).await.expect("pruned"), 0);
    append(&pool, &[row("t", 12_002)]).await;
    assert_eq!(
        reader
            .prune(OffsetDateTime::now_utc())
            .await
            .expect("pruned"),
        2,
        "not the one held back"
    );
    tx.rollback().await.expect("rolled back");

    for expired in [start, all[500].cursor, all[12_000].cursor] {
        let error = reader
            .read_after(&expired, &Topics::All, 10)
            .await
            .expect_err("gone");
        assert!(
            matches!(error, ReadError::Expired) && error.needs_snapshot(),
            "{error:?}"
        );
    }
    let last_pruned = all[12_001].cursor;
    assert_eq!(last_pruned, end);
    let (rest, end) = drain(&reader, last_pruned, &Topics::All).await;
    assert_eq!(
        rest.iter().map(|delta| delta.rev).collect::<Vec<_>>(),
        [12_002]
    );

    // An empty feed still has a position.
    assert_eq!(
        reader
            .prune(OffsetDateTime::now_utc())
            .await
            .expect("pruned"),
        1
    );
    assert_eq!(reader.now().await.expect("a cursor"), end);
    append(&pool, &[row("t", 12_003)]).await;
    assert_eq!(drain(&reader, end, &Topics::All).await.0.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_begins_a_new_epoch() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let reader = Reader::new(pool.clone());
    append(&pool, &[row("t", 1)]).await;
    let before = reader.now().await.expect("a cursor");
    let other = Cursor {
        epoch: before.epoch ^ 1,
        ..before
    };
    assert!(matches!(
        reader.read_after(&other, &Topics::All, 10).await,
        Err(ReadError::OtherEpoch)
    ));

    // What a dump restored elsewhere looks like: rows and their ids from another instance.
    let client = pool.get().await.expect("a connection");
    client
        .named("test.move")
        .batch("UPDATE feed_meta SET instance = 'another'")
        .await
        .expect("moved");
    client
        .named("test.ahead")
        .batch("UPDATE feed SET xid = '999999999'")
        .await
        .expect("moved");
    assert!(matches!(
        reader.read_after(&before, &Topics::All, 10).await,
        Err(ReadError::OtherEpoch)
    ));
    let after = reader.now().await.expect("a cursor");
    assert_ne!(after.epoch, before.epoch);
    append(&pool, &[row("t", 2)]).await;
    let (rows, _) = drain(&reader, after, &Topics::All).await;
    assert_eq!(rows.iter().map(|delta| delta.rev).collect::<Vec<_>>(), [2]);

    // The same when a snapshot is the first to notice; and several may notice at once.
    client
        .named("test.move")
        .batch("UPDATE feed_meta SET instance = 'another'")
        .await
        .expect("moved");
    let snapshots = (0..4).map(|_| reader.now());
    let cursors = futures_util::future::join_all(snapshots).await;
    let epochs: BTreeSet<u64> = cursors
        .into_iter()
        .map(|cursor| cursor.expect("a cursor").epoch)
        .collect();
    assert_eq!(epochs.len(), 1);
    assert!(!epochs.contains(&after.epoch));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_refused_before_anything_is_sent() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let mut client = pool.get().await.expect("a connection");
    let tx = client.transaction().await.expect("a transaction");
    let long = to_raw_value(&"x".repeat(BODY_BYTES_MAX)).expect("JSON");
    for bad in [
        row("a\0b", 1),
        row(&"x".repeat(600), 1),
        Row {
            body: long,
            ..row("t", 1)
        },
    ] {
        let error = feed::append(&tx, &[row("t", 1), bad])
            .await
            .expect_err("refused");
        assert!(
            matches!(error, Error::Invalid { .. }) && !error.is_retryable(),
            "{error:?}"
        );
    }
    feed::append(&tx, &[row("'; DROP TABLE feed; --", 1)])
        .await
        .expect("only text");
    tx.commit()
        .await
        .expect("nothing had been sent that failed");
}

/// With many rows, reading costs index look-ups and never a pass over the table.
#[tokio::test(flavor = "multi_thread")]
async fn reading_uses_the_indexes() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.feed_pool().await;
    let reader = Reader::new(pool.clone());
    let start = reader.now().await.expect("a cursor");
    let client = pool.get().await.expect("a connection");
    client
        .named("test.fill")
        .batch(
            "INSERT INTO feed (topic, kind, key, rev, body)
             SELECT 'job:' || n % 500, 'test', 'k', n, '{}' FROM generate_series(1, 40000) n;
             ANALYZE feed",
        )
        .await
        .expect("filled");
    let scans = async || {
        let sql = "SELECT coalesce(seq_scan, 0), coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'feed'";
        let row = client
            .named("test.scans")
            .query_one(sql, &[])
            .await
            .expect("a row");
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    tokio::time::sleep(Duration::from_millis(1500)).await; // Statistics arrive about once a second.
    let before = scans().await;
    let topics: Topics = ["job:3", "job:4"].into_iter().collect();
    let readers = instance.pool_with(|config| config.connections_max = 1); // It goes on to a generic plan.
    let reader_alone = Reader::new(readers);
    for _ in 0..10 {
        let page = reader_alone
            .read_after(&start, &topics, PAGE_ROWS_MAX)
            .await
            .expect("a page");
        assert_eq!(page.rows.len(), 160);
        let page = reader_alone
            .read_after(&start, &Topics::All, 100)
            .await
            .expect("a page");
        assert_eq!(page.rows.len(), 100);
        reader_alone.now().await.expect("a cursor");
        reader_alone.lag_ms().await.expect("a lag");
        reader_alone
            .prune(OffsetDateTime::UNIX_EPOCH)
            .await
            .expect("pruned");
    }
    let mut after = before;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        reader_alone.lag_ms().await.expect("a lag"); // Its own connection sends what it has counted.
        after = scans().await;
        if after.1 >= before.1 + 60 {
            break;
        }
    }
    assert!(
        after.1 >= before.1 + 60,
        "index scans: {before:?}, {after:?}"
    );
    assert_eq!(after.0, before.0, "sequential scans");
}
