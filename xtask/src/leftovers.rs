//! Processes that outlive the tests that started them.

use std::path::Path;

/// Every process of a test run has this in its environment.
pub(crate) const RUN: &str = "FOREBAY_TEST_RUN";

/// A process of the run that is still there.
#[derive(Debug, PartialEq)]
pub(crate) struct Leftover {
    pub(crate) pid: u32,
    pub(crate) command: String,
}

/// Who still runs with this run's id. Other accounts' processes can be read by
/// root alone; what cannot be read is passed over.
pub(crate) fn find(run: &str) -> Vec<Leftover> {
    let marker = format!("{RUN}={run}");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            has(&environment, marker.as_bytes()).then(|| Leftover {
                pid,
                command: command(&entry.path()),
            })
        })
        .collect();
    found.sort_by_key(|leftover| leftover.pid);
    found
}

fn has(environment: &[u8], marker: &[u8]) -> bool {
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == marker)
}

fn command(dir: &Path) -> String {
    let words = std::fs::read(dir.join("cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&words).replace('\0', " ");
    line.trim_end().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_the_whole_variable_counts() {
        assert!(has(b"A=1\0FOREBAY_TEST_RUN=r1\0", b"FOREBAY_TEST_RUN=r1"));
        assert!(!has(b"FOREBAY_TEST_RUN=r12\0", b"FOREBAY_TEST_RUN=r1"));
        assert!(!has(b"X_FOREBAY_TEST_RUN=r1\0", b"FOREBAY_TEST_RUN=r1"));
    }

    #[test]
    fn a_process_is_found_while_it_runs_and_not_after() {
        let run = format!("xtask-{}", std::process::id());
        let mut child = Command::new("sleep")
            .arg("60")
            .env(RUN, &run)
            .spawn()
            .unwrap();
        // For a moment after exec, the kernel shows no environment.
        let mut found = find(&run);
        for _ in 0..500 {
            if !found.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            found = find(&run);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(
            found,
            [Leftover {
                pid: child.id(),
                command: "sleep 60".into()
            }]
        );
        assert_eq!(find(&run), []);
    }
}
