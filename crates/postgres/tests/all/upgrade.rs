//! Upgrades to another major version, with the programs of both.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use forebay_postgres::feed::{self, Reader, Row, Topics};
use forebay_postgres::private::{Config, Error, Private, Step, Upgrade, Upgraded};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Instance, Life, config, data, directory, eventually, kill, need, other_postgres, processes,
    runtime,
};

fn to_the_other(link: bool) -> Upgrade {
    Upgrade {
        new_bin_dir: other_postgres(),
        link,
        ..Upgrade::default()
    }
}

fn version(data: &Path) -> u32 {
    let text = std::fs::read_to_string(data.join("PG_VERSION")).expect("a version");
    text.trim().parse().expect("a number")
}

/// An instance with rows, one in the feed, and a setting of its operator's.
fn filled() -> Instance {
    let mut instance = Instance::start();
    runtime().block_on(async {
        let pool = instance.feed_pool().await;
        let mut client = pool.get().await.expect("a connection");
        let make = "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS value; CREATE INDEX ON kept (value)";
        client.named("test.make").batch(make).await.expect("rows");
        let tx = client.transaction().await.expect("a transaction");
        let row = Row {
            topic: "job:1".to_owned(),
            kind: "state".to_owned(),
            key: "1".to_owned(),
            rev: 1,
            body: serde_json::value::to_raw_value("x").expect("JSON"),
        };
        feed::append(&tx, &[row]).await.expect("appended");
        tx.commit().await.expect("committed");
    });
    instance.stop().expect("stopped");
    let settings = instance.data().join("postgresql.conf");
    let text = std::fs::read_to_string(&settings).expect("settings");
    std::fs::write(settings, format!("{text}\nwork_mem = '7MB'\n")).expect("written");
    instance
}

/// The same instance, run with the newer programs.
fn newer(instance: &Instance) -> Private {
    Private::new(Config {
        bin_dir: other_postgres(),
        ..config(instance.dir.path())
    })
    .expect("a good configuration")
}

async fn one<T: for<'a> forebay_postgres::tokio_postgres::types::FromSql<'a>>(
    pool: &forebay_postgres::Pool,
    sql: &str,
) -> T {
    let client = pool.get().await.expect("a connection");
    let row = client.named("test.one").query_one(sql, &[]).await;
    row.expect("a row").get(0)
}

fn everything_is_there(instance: &Instance) {
    let life = Life::start(&newer(instance)).expect("it starts with the newer programs");
    runtime().block_on(async {
        let pool = instance.pool();
        let rows: i64 = one(&pool, "SELECT count(*) FROM kept").await;
        assert_eq!(rows, 1000);
        let version: String = one(&pool, "SHOW server_version").await;
        assert!(version.starts_with("18."), "{version}");
        let memory: String = one(&pool, "SHOW work_mem").await;
        assert_eq!(memory, "7MB", "the operator's own setting");
        let counted: f32 = one(
            &pool,
            "SELECT reltuples FROM pg_class WHERE relname = 'kept'",
        )
        .await;
        assert!(counted > 999.0, "analysed: {counted}");
        let databases: i64 = one(
            &pool,
            "SELECT count(*) FROM pg_database WHERE datname = 'other'",
        )
        .await;
        assert_eq!(databases, 1);
    });
    life.end().expect("stopped");
}

#[test]
fn data_settings_and_the_feed_survive() {
    need!(postgres);
    need!(other_postgres);
    for link in [false, true] {
        let mut instance = filled();
        // As after a kill: the log must be replayed by the old server first.
        instance.restart();
        let before = runtime()
            .block_on(async { Reader::new(instance.pool()).now().await.expect("a cursor") });
        let running = runtime().block_on(instance.private.upgrade(
            &to_the_other(link),
            &CancellationToken::new(),
            |_| (),
        ));
        assert!(
            matches!(running, Err(Error::AlreadyRunning { .. })),
            "not while it runs: {running:?}"
        );
        instance.kill_server();
        instance.stop().expect("stopped");

        let from = version(&instance.data());
        let mut steps = Vec::new();
        let upgraded = runtime()
            .block_on(instance.private.upgrade(
                &to_the_other(link),
                &CancellationToken::new(),
                |step| steps.push(step),
            ))
            .expect("upgraded");
        let aside = instance.data().with_file_name(format!("data.old-{from}"));
        let expected = Upgraded {
            from,
            to: 18,
            old: Some(aside.clone()),
        };
        assert_eq!(upgraded, expected);
        let all = [
            Step::Settle,
            Step::Make,
            Step::Check,
            Step::Upgrade,
            Step::Switch,
            Step::Analyse,
        ];
        assert_eq!(steps, all);
        assert_eq!((version(&instance.data()), version(&aside)), (18, from));
        for gone in ["data.upgrade", "up", "upgrade.whole", "upgrade.analyse"] {
            assert!(!instance.data().with_file_name(gone).exists(), "{gone}");
        }
        everything_is_there(&instance);

        // Cursors of before do not silently point somewhere else.
        let life = Life::start(&newer(&instance)).expect("it starts");
        runtime().block_on(async {
            let reader = Reader::new(instance.pool());
            let old = reader.read_after(&before, &Topics::All, 10).await;
            assert!(
                matches!(old, Err(feed::ReadError::OtherEpoch)),
                "another epoch: {old:?}"
            );
            let now = reader.now().await.expect("a cursor");
            assert_ne!(now.epoch, before.epoch);
        });
        life.end().expect("stopped");

        // Again: nothing to do; and the old programs are told what to do.
        let again = newer(&instance);
        let again = runtime().block_on(again.upgrade(
            &Upgrade {
                old_bin_dir: other_postgres(),
                ..Upgrade::default()
            },
            &CancellationToken::new(),
            |_| (),
        ));
        assert_eq!(again.expect("nothing").old, None);
        let error = Life::start(&instance.private)
            .err()
            .expect("another version");
        assert!(error.to_string().contains("forebay db upgrade"), "{error}");
    }
}

#[test]
fn the_old_data_stays_until_the_end_whenever_it_is_stopped() {
    need!(postgres);
    need!(other_postgres);
    let instance = filled();
    let from = version(&instance.data());
    for (last, link) in [
        (Step::Settle, false),
        (Step::Make, false),
        (Step::Check, true),
        (Step::Upgrade, true),
    ] {
        let stop = CancellationToken::new();
        let cut = |step| {
            if step == last {
                stop.cancel();
            }
        };
        let stopped = runtime().block_on(instance.private.upgrade(&to_the_other(link), &stop, cut));
        assert!(
            matches!(stopped, Err(Error::Stopped)),
            "{last:?}: {stopped:?}"
        );
        assert_eq!(version(&instance.data()), from, "{last:?}");
        let life = Life::start(&instance.private).expect("the old server starts");
        life.end().expect("stopped");
    }
    let bad = instance.data().join("postgresql.conf");
    let text = std::fs::read_to_string(&bad).expect("settings");
    std::fs::write(&bad, format!("{text}\nold_snapshot_threshold = 1\n")).expect("written");
    let error = runtime()
        .block_on(
            instance
                .private
                .upgrade(&to_the_other(false), &CancellationToken::new(), |_| ()),
        )
        .expect_err("a setting that the newer does not know");
    let said = error.to_string();
    assert!(
        said.contains("postgresql.conf") && said.contains("old_snapshot_threshold"),
        "{said}"
    );
    assert_eq!(version(&instance.data()), from);
    std::fs::write(&bad, text).expect("written");
    let missing = Upgrade {
        old_bin_dir: other_postgres(),
        ..to_the_other(false)
    };
    let error = runtime()
        .block_on(
            instance
                .private
                .upgrade(&missing, &CancellationToken::new(), |_| ()),
        )
        .expect_err("no programs of the data's version");
    assert!(error.to_string().contains("--old-bin-dir"), "{error}");
    runtime()
        .block_on(
            instance
                .private
                .upgrade(&to_the_other(false), &CancellationToken::new(), |_| ()),
        )
        .expect("upgraded in the end");
    everything_is_there(&instance);
}

/// What a child of the next test does; nothing for the others.
#[test]
fn upgrades_in_a_child() {
    let Some(dir) = std::env::var_os("FOREBAY_TEST_UPGRADE") else {
        return;
    };
    let link = std::env::var_os("FOREBAY_TEST_LINK").is_some();
    let private = Private::new(config(Path::new(&dir))).expect("a good configuration");
    let step = |step| {
        let name = format!("{step:?}");
        std::fs::write(Path::new(&dir).join("step"), name).expect("told");
    };
    runtime()
        .block_on(private.upgrade(&to_the_other(link), &CancellationToken::new(), step))
        .expect("upgraded");
}

#[test]
fn killed_at_any_point_it_can_go_on_or_be_done_again() {
    need!(postgres);
    need!(other_postgres);
    // Linked, where old and new share files, is the hard case; the kills are spread over the steps.
    let kills = [
        ("Upgrade", true, 300),
        ("Switch", true, 0),
        ("Make", false, 100),
        // Only the long form goes on.
        ("Settle", false, 50),
        ("Check", true, 150),
        ("Upgrade", false, 600),
        ("Upgrade", true, 900),
        ("Upgrade", true, 1500),
        ("Analyse", true, 20),
    ];
    let long = std::env::var_os("FOREBAY_LONG").is_some();
    let kills = if long { &kills[..] } else { &kills[..3] };
    for &(step, link, after_ms) in kills {
        let instance = filled();
        let dir = instance.dir.path();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "upgrade::upgrades_in_a_child"])
            .env("FOREBAY_TEST_UPGRADE", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if link {
            command.env("FOREBAY_TEST_LINK", "1");
        }
        let mut child = command.spawn().expect("started");
        let told = || std::fs::read_to_string(dir.join("step")).unwrap_or_default();
        eventually(step, || {
            told() == step || matches!(child.try_wait(), Ok(Some(_)))
        });
        std::thread::sleep(Duration::from_millis(after_ms));
        if child.try_wait().expect("looked").is_none() {
            kill(
                i32::try_from(child.id()).expect("a process id"),
                Signal::KILL,
            );
        }
        child.wait().expect("ended");

        // The service starts with whichever programs the data is of, and finds all of it.
        let private = if version(&data(dir)) == 18 {
            newer(&instance)
        } else {
            instance.private.clone()
        };
        // A program of Postgres' own that the killed one had started goes on to its end.
        let busy = |error: &Error| error.to_string().ends_with("let it finish first");
        let mut started = Life::start(&private);
        for _ in 0..300 {
            if !started.as_ref().is_err_and(busy) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            started = Life::start(&private);
        }
        match started {
            Ok(life) => life.end().expect("stopped"),
            // It was whole but not switched to: the start did that.
            Err(Error::OtherMajor { .. }) => assert_eq!(version(&data(dir)), 18),
            Err(error) => panic!("{step} {after_ms} ms: {error}"),
        }
        let how = Upgrade {
            old_bin_dir: (version(&data(dir)) == 18).then(other_postgres).flatten(),
            ..to_the_other(link)
        };
        let how = Upgrade {
            new_bin_dir: how.new_bin_dir.filter(|_| how.old_bin_dir.is_none()),
            ..how
        };
        runtime()
            .block_on(
                instance
                    .private
                    .upgrade(&how, &CancellationToken::new(), |_| ()),
            )
            .unwrap_or_else(|error| panic!("{step} {after_ms} ms: {error}"));
        everything_is_there(&instance);
        assert!(processes(&data(dir)).is_empty());
        let names = std::fs::read_dir(data(dir).parent().expect("a parent")).expect("listed");
        let mut names: Vec<String> = names
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.sort();
        assert!(
            names.len() == 2 && names[0] == "data" && names[1].starts_with("data.old-"),
            "{names:?}"
        );
    }
}

#[test]
fn without_data_there_is_nothing_to_upgrade() {
    need!(postgres);
    let dir = directory();
    let private = Private::new(config(dir.path())).expect("a good configuration");
    let error = runtime()
        .block_on(private.upgrade(&Upgrade::default(), &CancellationToken::new(), |_| ()))
        .expect_err("nothing there");
    assert!(error.to_string().contains("no data in"), "{error}");
    let made = std::fs::read_dir(dir.path()).expect("listed").count();
    assert_eq!(made, 0, "nothing was made for it");
}
