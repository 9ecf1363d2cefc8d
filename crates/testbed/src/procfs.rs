//! What `/proc` says of processes: who their parent is, when they started, what they hold.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The few fields of `/proc/<pid>/stat` that tell processes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: i32,
    pub(crate) state: char,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    /// Start in clock ticks since boot: with the pid, names one process for good.
    pub(crate) started: u64,
}

fn parse(pid: i32, text: &str) -> Option<Stat> {
    // The command's name stands in parentheses and may hold spaces and parentheses itself.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Stat {
        pid,
        state,
        parent,
        session,
        started,
    })
}

/// One process, unless it is gone.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Every process that can be seen.
pub(crate) fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

/// All children of `root`, their children, and so on; not `root` itself.
pub(crate) fn descendants(root: i32) -> Vec<Stat> {
    let all = all();
    let mut inside = HashSet::from([root]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for stat in &all {
            if inside.contains(&stat.parent) && inside.insert(stat.pid) {
                found.push(*stat);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// CPU time that a process and its children that have ended took, user's and system's.
pub(crate) fn cpu(pid: i32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = text
        .get(text.rfind(')')? + 1..)?
        .split_ascii_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    Some(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).ok()?)
}

/// Whether this very process lives: same pid, same start, not a zombie.
pub(crate) fn is_alive(pid: i32, started: u64) -> bool {
    stat(pid).is_some_and(|stat| stat.started == started && stat.state != 'Z')
}

/// Whether the environment the process was started with holds `assignment` (`NAME=value`).
pub(crate) fn has_environment(pid: i32, assignment: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|bytes| {
        bytes
            .split(|byte| *byte == 0)
            .any(|item| item == assignment.as_bytes())
    })
}

/// The short name of a process, at most 15 bytes.
pub(crate) fn name(pid: i32) -> Option<String> {
    Some(
        fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()?
            .trim_end()
            .to_owned(),
    )
}

/// `(rss, pss)` in bytes: memory resident, and the same with shared pages divided by their users.
pub(crate) fn memory(pid: i32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(
        Path::new("/proc")
            .join(pid.to_string())
            .join("smaps_rollup"),
    )
    .ok()?;
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    Some((field("Rss:")?, field("Pss:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) R (b) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22222 23 24";
        let stat = parse(7, text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.session), ('S', 3, 5));
        assert_eq!(stat.started, 21);
    }

    #[test]
    fn sees_itself() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = stat(pid).unwrap();
        assert!(is_alive(pid, me.started) && !is_alive(pid, me.started + 1));
        assert!(memory(pid).unwrap().0 > 100_000);
        assert!(descendants(me.parent).iter().any(|stat| stat.pid == pid));
    }
}
