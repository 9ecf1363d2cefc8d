//! Finding and signalling everything that a job started.
//!
//! A process that calls `setsid`, or whose parent dies, leaves its process group; but the shim is
//! the kernel's *child subreaper*, so such orphans become its children and all of a job stays
//! below it in the tree of processes.

use std::collections::HashMap;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

/// One process as `/proc/<pid>/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    zombie: bool,
}

/// Everything below this process that still runs. Empty if `/proc` cannot be read.
pub(super) fn descendants() -> Vec<Pid> {
    below(own(), &all())
}

/// Sends a signal to everything below this process.
pub(super) fn signal(signal: Signal) {
    for pid in descendants() {
        // It may have ended since.
        let _ = kill_process(pid, signal);
    }
}

/// Collects the children that have ended; their exits, so far as `main` is among them.
/// The second value is false when there are no children at all.
pub(super) fn reap(main: Pid) -> (Option<WaitStatus>, bool) {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == main => found = Some(status),
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn all() -> Vec<Entry> {
    let Ok(list) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    list.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            parse(
                pid,
                &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?,
            )
        })
        .collect()
}

/// `pid (name) state parent …`, where the name may hold spaces and brackets.
fn parse(pid: i32, line: &str) -> Option<Entry> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Entry {
        pid,
        parent,
        zombie: matches!(state, "Z" | "X"),
    })
}

fn below(root: i32, all: &[Entry]) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<&Entry>> = HashMap::new();
    for entry in all {
        children.entry(entry.parent).or_default().push(entry);
    }
    let mut found = Vec::new();
    let mut look = vec![root];
    // Taking each parent's list out keeps this finite, whatever the entries say.
    while let Some(parent) = look.pop() {
        for entry in children.remove(&parent).unwrap_or_default() {
            look.push(entry.pid);
            if !entry.zombie && entry.pid != root {
                found.extend(Pid::from_raw(entry.pid));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let entry = parse(7, "7 (a) Z 1 (b) S 42 7 7 0 -1").unwrap();
        assert_eq!(
            entry,
            Entry {
                pid: 7,
                parent: 42,
                zombie: false
            }
        );
        assert!(parse(7, "7 (x) Z 1").unwrap().zombie);
        assert_eq!(parse(7, "nonsense"), None);
        assert_eq!(parse(7, "7 (x) S"), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(line in "\\PC{0,60}") {
            let _ = parse(1, &line);
        }

        /// Whatever the table says, the search ends and finds each process once.
        #[test]
        fn any_table_is_searched_once(parents in proptest::collection::vec(0..20_i32, 1..20)) {
            let all: Vec<_> = parents.iter().zip(1..)
                .map(|(parent, pid)| Entry { pid, parent: *parent, zombie: false })
                .collect();
            let found = below(1, &all);
            let once: std::collections::HashSet<_> = found.iter().collect();
            prop_assert_eq!(once.len(), found.len());
            prop_assert!(!found.contains(&Pid::from_raw(1).unwrap()));
            for pid in found {
                let parent = all[usize::try_from(pid.as_raw_nonzero().get()).unwrap() - 1].parent;
                prop_assert!(parent == 1 || below(1, &all).contains(&Pid::from_raw(parent).unwrap()));
            }
        }
    }
}
