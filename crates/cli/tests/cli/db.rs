//! The private Postgres, for real.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::net::UnixDatagram,
    process::Stdio,
};

use forebay_testbed::{dirs::Dir, need};

use crate::run::{User, eventually, finish};

/// As root, Postgres needs another account, and a place that it can enter.
fn run_as() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() {
        &["--run-as", "postgres"]
    } else {
        &[]
    }
}

#[test]
fn it_runs_until_it_is_told_to_stop() {
    need!(Postgres);
    let place = Dir::new("cli-db").expect("a directory");
    let state = place.path().join("db");
    let state = state.to_str().expect("text");
    let notify = place.path().join("notify");
    let manager = UnixDatagram::bind(&notify).expect("bound");
    let user = User::new()
        .with("NOTIFY_SOCKET", notify.to_str().expect("text"))
        .with("PATH", "/usr/bin:/bin");
    let line = [&["db", "run", "--state-dir", state], run_as()].concat();

    // Twice: once from nothing, once with the data there.
    for round in 0..2 {
        let mut child = user
            .command(&line)
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut said).expect("read");
        let url = user.run(&["db", "url", "--state-dir", state]).ok().out();
        assert_eq!(said, format!("ready: {url}"), "round {round}");
        let mut notified = [0; 64];
        let length = manager.recv(&mut notified).expect("notified");
        assert_eq!(&notified[..length], b"READY=1");

        let ask = |site: &[&str]| {
            let line = [
                &["db", "psql", "--state-dir", state],
                site,
                &[
                    "--",
                    "-Atc",
                    "select current_database() || ' ' || current_user",
                ],
            ]
            .concat();
            user.run(&line).ok().out()
        };
        assert_eq!(ask(&[]), "forebay forebay\n");
        assert_eq!(ask(&["--site"]), "forebay_site forebay_site\n");

        // A second one is refused, and does no harm.
        let second = user.run(&line);
        assert_eq!(second.code, Some(1));
        assert!(
            second.stderr.contains("already being run"),
            "{}",
            second.all()
        );
        assert_eq!(ask(&[]), "forebay forebay\n");

        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        assert_eq!(finish(child).code, Some(0));
        let length = manager.recv(&mut notified).expect("notified");
        assert_eq!(&notified[..length], b"STOPPING=1");
        // The second one said so too before it ended, if it came to that.
        manager.set_nonblocking(true).expect("set");
        while manager.recv(&mut notified).is_ok() {}
        manager.set_nonblocking(false).expect("set");
        eventually("its socket to go", || {
            !std::path::Path::new(state)
                .join("socket/.s.PGSQL.5432")
                .exists()
        });
    }
}

#[test]
fn an_upgrade_keeps_what_was_there() {
    need!(Postgres, OtherPostgres);
    let place = Dir::new("cli-upgrade").expect("a directory");
    let state = place.path().join("db");
    let state = state.to_str().expect("text");
    let newer = forebay_testbed::packages::other_postgres::bin().expect("needed");
    let newer = newer.to_str().expect("text");
    let user = User::new().with("PATH", "/usr/bin:/bin");
    let started = |more: &[&str]| {
        let line = [&["db", "run", "--state-dir", state], run_as(), more].concat();
        let mut child = user
            .command(&line)
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout.read_line(&mut said).expect("read");
        assert!(said.starts_with("ready: "), "{said}");
        child
    };
    let stopped = |child: std::process::Child| {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        assert_eq!(finish(child).code, Some(0));
    };
    let ask = |sql: &str| {
        let line = ["db", "psql", "--state-dir", state, "--", "-Atc", sql];
        user.run(&line).ok().out()
    };
    let upgrade = [
        &[
            "db",
            "upgrade",
            "--state-dir",
            state,
            "--new-bin-dir",
            newer,
        ],
        run_as(),
    ]
    .concat();

    let child = started(&[]);
    ask("create table jobs as select 7 as id");
    let refused = user.run(&upgrade);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("Stop `forebay db run`"),
        "{}",
        refused.all()
    );
    stopped(child);

    let done = user.run(&upgrade).ok();
    let old = format!("{state}/cluster/data.old-");
    assert!(done.all().contains(&old), "{}", done.all());
    assert!(done.stderr.contains("pg_upgrade --check"), "{}", done.all());
    // Without a place for the newer programs, only older ones are found for the data.
    let line = [&["db", "upgrade", "--state-dir", state, "--json"], run_as()].concat();
    let again = user.run(&line);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("--old-bin-dir"), "{}", again.all());

    let child = started(&["--bin-dir", newer]);
    assert_eq!(ask("select id from jobs"), "7\n");
    assert!(ask("show server_version").starts_with("18."));
    stopped(child);

    let idle = user.run(&["db", "psql", "--state-dir", state]);
    assert_eq!(idle.code, Some(1));
    assert!(idle.stderr.contains("forebay db run"), "{}", idle.all());
    let nowhere = user.run(&["db", "upgrade", "--state-dir", "/no/such/place"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(
        nowhere.stderr.contains("no database in"),
        "{}",
        nowhere.all()
    );
}

#[test]
fn what_cannot_work_is_said_before_anything_is_made() {
    let place = tempfile::tempdir().expect("a directory");
    let state = place.path().join("db");
    let long = place.path().join("d".repeat(120));
    let user = User::new();
    let done = user.run(&[
        "db",
        "run",
        "--state-dir",
        state.to_str().expect("text"),
        "--socket-dir",
        long.to_str().expect("text"),
    ]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("107"), "{}", done.all());
    assert!(!state.exists());
}
