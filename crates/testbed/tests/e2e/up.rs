//! `up`, as `cargo xtask up` starts it: as a program of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use forebay_testbed::{need, programs};

fn start(args: &[&str]) -> Child {
    let program = programs::dir().join("forebay-testbed");
    Command::new(program)
        .arg("up")
        .args(args)
        .env("FOREBAY_BIN_DIR", programs::dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The lines of the job's output with the moments they came.
fn lines(stdout: ChildStdout) -> Vec<(String, Instant)> {
    let lines = BufReader::new(stdout).lines();
    lines.map(|line| (line.unwrap(), Instant::now())).collect()
}

/// What it said, on standard error.
fn said(child: &mut Child) -> String {
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    said
}

/// All that it named is gone. The last guard may outlive its program for a moment.
fn check_gone(said: &str) {
    let words = said.split(|c: char| c.is_whitespace() || c == '=');
    let paths: Vec<&str> = words
        .filter(|word| word.contains("/forebay-test."))
        .collect();
    assert!(!paths.is_empty(), "{said}");
    let left = || {
        paths
            .iter()
            .find(|path| std::path::Path::new(path).exists())
    };
    let until = Instant::now() + Duration::from_secs(5);
    while let Some(path) = left() {
        assert!(Instant::now() < until, "{path} is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn check_sample(stdout: ChildStdout, is_slurm: bool) {
    let lines = lines(stdout);
    let text: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
    assert!(
        text[0].starts_with("hello from ") && !text[0].contains("uid 0"),
        "{text:?}"
    );
    let has_id = text.iter().any(|line| line.starts_with("SLURM_JOB_ID="));
    assert_eq!(has_id, is_slurm, "{text:?}");
    assert!(text.last().unwrap().starts_with("step 6 of 6"), "{text:?}");
    let span = lines.last().unwrap().1 - lines[0].1;
    assert!(
        span > Duration::from_secs(1),
        "as it appeared, not in one piece: {span:?}"
    );
}

#[test]
fn once_shows_a_job_on_slurm_and_leaves_nothing() {
    need!(Slurm, SlurmAccounting, Postgres);
    let mut child = start(&["--once"]);
    check_sample(child.stdout.take().unwrap(), true);
    let said = said(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(
        said.contains("starting Slurm on loopback, with accounting"),
        "{said}"
    );
    assert!(said.contains("all ended"), "{said}");
    check_gone(&said);
}

#[test]
fn without_slurm_it_stays_until_interrupted() {
    need!(Postgres);
    let mut child = start(&["--scheduler", "local"]);
    let stdout = child.stdout.take().unwrap();
    let output = std::thread::spawn(move || check_sample(stdout, false));
    let (mut said, mut stderr) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
    while !said.contains("Ctrl-C ends all of this.") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    for part in [
        "export FOREBAY_TOKEN_FILE=",
        "psql -h ",
        "view-server",
        "realtime",
        "/rt/v1/events?topic=jobs",
        "user-agent of ",
        "gdb -p",
        "The page",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    // What it tells people to type works.
    let curl = said
        .lines()
        .find(|line| line.contains("/api/v1/jobs"))
        .unwrap();
    let jobs = Command::new("sh")
        .args(["-c", &format!("{} -s", curl.trim())])
        .output();
    if let Ok(jobs) = jobs.map(|jobs| String::from_utf8_lossy(&jobs.stdout).into_owned()) {
        assert!(jobs.is_empty() || jobs.contains("\"succeeded\""), "{jobs}");
    }
    let exports: Vec<&str> = said
        .lines()
        .skip_while(|line| !line.starts_with("As "))
        .skip(1)
        .take(3)
        .collect();
    let shown = Command::new("sh")
        .args(["-ec", &exports.join("\n")])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&shown.stderr);
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("uid="),
        "{error}"
    );
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    output.join().unwrap();
    check_gone(&said);
}

#[test]
fn interrupted_while_it_starts_it_leaves_nothing() {
    need!(Postgres);
    let mut child = start(&["--scheduler", "local", "--once"]);
    let (mut said, mut stderr) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
    while !said.contains("starting Postgres") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    std::thread::sleep(Duration::from_millis(700));
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(
        said.contains("everything that had started has ended"),
        "{said}"
    );
}

#[test]
fn what_it_does_not_know_is_refused() {
    let mut child = start(&["--onec"]);
    let said = said(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(2), "{said}");
    assert!(
        said.contains("`--onec`") && said.contains("--scheduler"),
        "{said}"
    );
}
