//! What several tests need: looking at processes from outside, waiting, other test processes.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set for a test process started by a test; the value says where it writes.
pub(crate) const CHILD: &str = "FOREBAY_TESTBED_CHILD";

/// Where this process, started by another test, is to write; `None` in an ordinary run.
pub(crate) fn child_dir() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// This test binary again, to run one test of it.
pub(crate) fn test_process(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Asks until it is true; panics with `what` after the deadline.
pub(crate) fn eventually(what: &str, deadline: Duration, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + deadline;
    while !check() {
        assert!(Instant::now() < end, "{what} took longer than {deadline:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes, zombies left out, whose environment or command line names the directory.
pub(crate) fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let holds = |bytes: Vec<u8>| bytes.windows(needle.len()).any(|window| window == needle);
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let is_ours = ["environ", "cmdline"]
            .iter()
            .any(|file| std::fs::read(path.join(file)).is_ok_and(holds));
        if is_ours && path.join("fd").exists() && is_alive(&path) {
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            found.push(format!("{} {}", path.display(), name.trim()));
        }
    }
    found
}

fn is_alive(path: &Path) -> bool {
    let text = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
    text.rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next())
        .is_some_and(|state| state != 'Z')
}

/// Whether a process of that pid lives.
pub(crate) fn pid_alive(pid: i32) -> bool {
    is_alive(Path::new(&format!("/proc/{pid}")))
}
