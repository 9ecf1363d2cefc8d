//! The private instance: made, guarded, and brought back after every kind of death.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use forebay_postgres::private::{Config, Error, Private, socket_path};
use forebay_postgres::{Pool, Target};
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Instance, Life, Supervisor, config, data, directory, eventually, kill, lives, need, processes,
    runtime, server_pid,
};

/// `nobody`.
const PLAIN: (u32, u32) = (65534, 65534);

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs SQL as the program `psql` would, as an account of this system.
fn psql(url: &str, sql: &str, account: Option<(u32, u32)>) -> Result<String, String> {
    let mut command = Command::new("psql");
    command
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql])
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    command.current_dir("/").stdin(Stdio::null());
    if let Some((uid, gid)) = account {
        command.uid(uid).gid(gid);
    }
    let output = command.output().expect("psql is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

async fn write(pool: &Pool, value: i32) {
    let client = pool.get().await.expect("a connection");
    client
        .named("test.make")
        .batch("CREATE TABLE IF NOT EXISTS kept (value int)")
        .await
        .expect("a table");
    client
        .named("test.insert")
        .execute("INSERT INTO kept VALUES ($1)", &[&value])
        .await
        .expect("a row");
}

async fn kept(pool: &Pool) -> Vec<i32> {
    let client = pool.get().await.expect("a connection");
    let rows = client
        .named("test.kept")
        .query("SELECT value FROM kept ORDER BY value", &[])
        .await
        .expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn it_is_closed_to_everybody_else_and_keeps_its_data() {
    need!(postgres);
    let mut instance = Instance::start();
    let url = instance.private.url("test").expect("configured");
    assert!(Target::url(&url).is_ok(), "{url}");
    assert_eq!(
        psql(&url, "SELECT current_user || current_database()", None).as_deref(),
        Ok("testtest")
    );
    assert_eq!(instance.private.url("unknown"), None);

    // Another role's database, and roles that nobody was given.
    let other = url.replace("/test?", "/other?");
    assert!(
        psql(&other, "SELECT 1", None)
            .expect_err("not its own")
            .contains("no pg_hba.conf entry")
    );
    let listens = "SELECT current_setting('listen_addresses') || '|' || current_setting('fsync')";
    assert_eq!(psql(&url, listens, None).as_deref(), Ok("|off"));
    let methods =
        "SELECT string_agg(DISTINCT type || ' ' || auth_method, ',') FROM pg_hba_file_rules";
    let admin = url.replace("test@/test?", "postgres@/postgres?");
    assert_eq!(psql(&admin, methods, None).as_deref(), Ok("local peer"));

    let mode = |path: &Path| {
        std::fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        (
            mode(&instance.data()),
            mode(&instance.dir.path().join("run"))
        ),
        (0o700, 0o755)
    );
    let pid = server_pid(&instance.data()).expect("it runs");
    let owner = std::fs::metadata(format!("/proc/{pid}"))
        .expect("it lives")
        .uid();
    if root() {
        assert_ne!(owner, 0, "the server does not run as root");
        for who in [&url, &admin] {
            let refused =
                psql(who, "SELECT 1", Some(PLAIN)).expect_err("an account that was not allowed");
            assert!(refused.contains("eer authentication failed"), "{refused}");
        }
    } else {
        assert_eq!(owner, rustix::process::geteuid().as_raw());
    }

    runtime().block_on(write(&instance.pool(), 1));
    instance.stop().expect("an orderly stop");
    assert!(
        !lives(pid) && processes(&instance.data()).is_empty(),
        "nothing is left"
    );
    assert!(!socket_path(&instance.dir.path().join("run")).exists());
    instance.restart();
    assert_eq!(runtime().block_on(kept(&instance.pool())), [1]);
}

#[test]
fn root_can_let_a_plain_user_run_it() {
    need!(postgres);
    need!(root);
    let dir = directory();
    std::os::unix::fs::chown(dir.path(), Some(PLAIN.0), Some(PLAIN.1)).expect("given away");
    let supervisor = Supervisor::start(dir.path(), Some(PLAIN));
    let pid = server_pid(&data(dir.path())).expect("it runs");
    assert_eq!(
        std::fs::metadata(format!("/proc/{pid}"))
            .expect("it lives")
            .uid(),
        PLAIN.0
    );
    let url = format!(
        "postgresql://test@/test?host={}",
        dir.path().join("run").display()
    );
    assert_eq!(
        psql(&url, "SELECT current_user", Some(PLAIN)).as_deref(),
        Ok("test"),
        "its own account"
    );
    assert_eq!(
        psql(&url, "SELECT current_user", None).as_deref(),
        Ok("test"),
        "and one that was allowed"
    );
    let mode = std::fs::metadata(dir.path().join("state"))
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o700);
    supervisor.stop();
    assert!(processes(&data(dir.path())).is_empty());

    // As a plain user it cannot be another account; that is root's to say.
    let private = Private::new(Config {
        run_as: Some("root".to_owned()),
        ..config(dir.path())
    });
    assert!(
        private
            .expect_err("PostgreSQL refuses")
            .to_string()
            .contains("refuses to run as root")
    );
    let private = Private::new(Config {
        run_as: Some("no-such-account".to_owned()),
        ..config(dir.path())
    });
    assert!(
        private
            .expect_err("unknown")
            .to_string()
            .contains("no-such-account does not exist")
    );
}

#[test]
fn a_killed_server_is_started_again() {
    need!(postgres);
    let mut instance = Instance::start();
    let pool = instance.pool_with(|config| config.wait_max = Duration::from_secs(20));
    let runtime = runtime();
    runtime.block_on(write(&pool, 1));
    for value in 2..4 {
        let killed = instance.kill_server();
        eventually("another server", || {
            server_pid(&instance.data()).is_some_and(|pid| pid != killed)
        });
        runtime.block_on(async {
            assert_eq!(
                kept(&pool).await,
                (1..value).collect::<Vec<_>>(),
                "what was committed"
            );
            write(&pool, value).await;
        });
    }
    instance.stop().expect("an orderly stop");
    assert!(processes(&instance.data()).is_empty());
}

#[test]
fn a_killed_supervisor_leaves_nothing_that_the_next_cannot_take_over() {
    need!(postgres);
    let dir = directory();
    let supervisor = Supervisor::start(dir.path(), None);
    let private = Private::new(config(dir.path())).expect("a good configuration");
    let pool =
        || Pool::new(private.pool_config("test", "tests").expect("configured")).expect("good");
    runtime().block_on(write(&pool(), 1));

    let running = server_pid(&data(dir.path())).expect("it runs");
    let id = supervisor.id();
    let error = Life::start(&private).err().expect("it is being run");
    assert!(
        matches!(error, Error::AlreadyRunning { pid: Some(pid), .. } if i64::from(pid) == i64::from(id)),
        "{error}"
    );
    assert!(lives(running), "the refused start has not touched it");

    supervisor.kill();
    let next = Supervisor::start(dir.path(), None);
    assert!(
        !lives(running),
        "the server of the killed supervisor has ended"
    );
    runtime().block_on(async {
        let pool = pool();
        assert_eq!(kept(&pool).await, [1]);
        write(&pool, 2).await;
    });

    // Without a next start the server ends by itself, in order.
    let running = server_pid(&data(dir.path())).expect("it runs");
    next.kill();
    eventually("the server ends by itself", || !lives(running));
    eventually("and removes its lock file", || {
        server_pid(&data(dir.path())).is_none()
    });
    let life = Life::start(&private).expect("it starts");
    assert_eq!(runtime().block_on(kept(&pool())), [1, 2]);
    life.end().expect("an orderly stop");
}

/// Supervisor and server both die at once while a backend is deep in a computation, which it goes on with. And by the
/// next start the server's process id belongs to somebody else.
#[test]
fn orphans_are_ended_and_strangers_left_alone() {
    need!(postgres);
    let dir = directory();
    let supervisor = Supervisor::start(dir.path(), None);
    let private = Private::new(config(dir.path())).expect("a good configuration");
    let pool =
        || Pool::new(private.pool_config("test", "tests").expect("configured")).expect("good");
    let data = data(dir.path());
    let runtime = runtime();
    runtime.block_on(write(&pool(), 1));
    let busy_pool = pool();
    let backend: i32 = runtime.block_on(async {
        let client = busy_pool.get().await.expect("a connection");
        let row = client
            .named("test.pid")
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .expect("a row");
        let compute = "DO $$ BEGIN LOOP END LOOP; END $$"; // Looks at nothing, least of all at its parent.
        let _ =
            tokio::time::timeout(Duration::from_millis(200), client.batch_execute(compute)).await;
        row.get(0)
    });
    let server = server_pid(&data).expect("it runs");
    // The supervisor first, stopped so that it cannot start another server.
    kill(supervisor.id(), Signal::STOP);
    kill(server, Signal::KILL);
    supervisor.kill();
    eventually("the server is gone", || !lives(server));
    assert!(lives(backend), "the backend computes on");

    // A stranger of the same account has the number now, which PostgreSQL itself would not start beside.
    let owner = std::fs::metadata(&data).expect("it is there");
    let mut stranger = Command::new("sleep");
    stranger.arg("600").current_dir("/");
    if root() {
        stranger.uid(owner.uid()).gid(owner.gid());
    }
    let mut stranger = KillOnDrop(stranger.spawn().expect("it starts"));
    let lock =
        std::fs::read_to_string(data.join("postmaster.pid")).expect("it is stale, but there");
    let (_, rest) = lock.split_once('\n').expect("lines");
    std::fs::write(
        data.join("postmaster.pid"),
        format!("{}\n{rest}", stranger.0.id()),
    )
    .expect("written");

    let life = Life::start(&private).expect("it starts");
    assert!(!lives(backend), "the orphan was ended");
    assert!(
        stranger.0.try_wait().expect("a child").is_none(),
        "the stranger lives"
    );
    assert_eq!(runtime.block_on(kept(&pool())), [1]);
    life.end().expect("an orderly stop");
}

#[test]
fn another_major_version_is_refused() {
    need!(postgres);
    let mut instance = Instance::start();
    instance.stop().expect("an orderly stop");
    let version = instance.data().join("PG_VERSION");
    let own = std::fs::read_to_string(&version).expect("a version");
    std::fs::write(&version, "8\n").expect("written");
    let error = Life::start(&instance.private).err().expect("refused");
    assert!(
        matches!(&error, Error::OtherMajor { data, .. } if data == "8"),
        "{error}"
    );
    assert!(
        error.to_string().contains(": run `forebay db upgrade`"),
        "{error}"
    );
    std::fs::write(&version, own).expect("written");
    instance.restart();
}

#[test]
fn half_made_data_is_made_anew() {
    need!(postgres);
    let mut instance = Instance::start();
    instance.stop().expect("an orderly stop");
    // As after a kill in the middle of initdb.
    let half = instance.data().with_file_name("data.new");
    std::fs::rename(instance.data(), &half).expect("renamed");
    std::fs::remove_file(half.join("PG_VERSION")).expect("removed");
    instance.restart();
    assert!(!half.exists());
    instance.stop().expect("an orderly stop");

    // A directory that merely has the name is not taken for a database, and not touched.
    std::fs::remove_file(instance.data().join("PG_VERSION")).expect("removed");
    let error = Life::start(&instance.private).err().expect("refused");
    assert!(
        matches!(
            &error,
            Error::Config {
                setting: "state_dir",
                ..
            }
        ),
        "{error}"
    );
    assert!(instance.data().join("global").exists());
}

#[test]
fn what_cannot_work_says_why() {
    need!(postgres);
    let dir = directory();
    let start = |config: Config| {
        Life::start(&Private::new(config).expect("good by itself"))
            .err()
            .expect("refused")
    };
    let error = start(Config {
        bin_dir: Some("/nonexistent".into()),
        ..config(dir.path())
    });
    assert!(matches!(&error, Error::NoBinaries { .. }), "{error}");

    // A socket directory that somebody else owns or may write to.
    let dir = directory();
    std::fs::create_dir_all(dir.path().join("run")).expect("a directory");
    std::fs::set_permissions(dir.path().join("run"), PermissionsExt::from_mode(0o777))
        .expect("a mode");
    let error = start(config(dir.path()));
    if root() {
        assert!(matches!(&error, Error::Owner { owner: 0, .. }), "{error}");
    } else {
        assert!(
            matches!(
                &error,
                Error::Config {
                    setting: "socket_dir",
                    ..
                }
            ),
            "{error}"
        );
    }

    // A socket that another server answers on.
    let instance = Instance::start();
    let other = directory();
    let error = start(Config {
        socket_dir: instance.dir.path().join("run"),
        ..config(other.path())
    });
    assert!(matches!(&error, Error::SocketInUse { .. }), "{error}");
    runtime().block_on(write(&instance.pool(), 1));

    // A place that the account cannot reach.
    if root() {
        let closed = directory();
        std::fs::set_permissions(closed.path(), PermissionsExt::from_mode(0o700)).expect("a mode");
        let error = start(config(closed.path()));
        assert!(
            matches!(&error, Error::Unreachable { at, .. } if at == closed.path()),
            "{error}"
        );
    }
}

#[test]
fn a_dropped_supervisor_stops_the_server() {
    need!(postgres);
    let dir = directory();
    let private = Private::new(config(dir.path())).expect("a good configuration");
    let ready = CancellationToken::new();
    let seen = runtime().block_on(async {
        let run = private.run(CancellationToken::new(), || ready.cancel());
        tokio::select! {
            result = run => panic!("it ended: {result:?}"),
            () = ready.cancelled() => server_pid(&data(dir.path())).expect("it runs"),
        }
    });
    // The lock is held until the server has ended: a next start is refused or finds nothing running.
    eventually("a next start", || match Life::start(&private) {
        Ok(life) => life.end().is_ok(),
        Err(error) => {
            assert!(matches!(error, Error::AlreadyRunning { .. }), "{error}");
            false
        }
    });
    assert!(!lives(seen));
}

#[test]
fn a_stop_during_the_start_is_heard() {
    need!(postgres);
    let dir = directory();
    let private = Private::new(config(dir.path())).expect("a good configuration");
    for pause in [0, 50, 400] {
        let stop = CancellationToken::new();
        runtime().block_on(async {
            let cancel = async {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                stop.cancel();
            };
            let (result, ()) = tokio::join!(private.run(stop.clone(), || ()), cancel);
            result.expect("an orderly end");
        });
    }
    eventually("nothing is left", || {
        processes(&data(dir.path())).is_empty()
            && processes(&dir.path().join("state/cluster/data.new")).is_empty()
    });
    Life::start(&private)
        .expect("it starts")
        .end()
        .expect("an orderly stop");
}
