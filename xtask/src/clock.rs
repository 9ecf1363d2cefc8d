//! Wall time and CPU time of what we run.

use std::time::{Duration, Instant};

/// Started at the beginning of a phase.
pub(crate) struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            wall: Instant::now(),
            cpu: children_cpu(),
        }
    }

    pub(crate) fn wall(&self) -> Duration {
        self.wall.elapsed()
    }

    /// CPU time of all ended children, and of theirs, since the start.
    pub(crate) fn cpu(&self) -> Duration {
        children_cpu().saturating_sub(self.cpu)
    }
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (wall, cpu) = (self.wall().as_secs_f64(), self.cpu().as_secs_f64());
        write!(f, "{wall:.1} s, {cpu:.1} s of CPU")
    }
}

/// CPU time of the children we waited for, and of the children they waited for.
/// Read from `/proc`, in hundredths of a second; zero where there is none.
pub(crate) fn children_cpu() -> Duration {
    std::fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|stat| parse_children_cpu(&stat))
        .unwrap_or_default()
}

fn parse_children_cpu(stat: &str) -> Option<Duration> {
    // The program's name stands in parentheses and may itself hold some.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // cutime and cstime are fields 16 and 17; the first of ours is field 3.
    let ticks = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    // Linux counts these in USER_HZ, 100 on every architecture we build for.
    Some(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_two_fields_whatever_the_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 150 25 20 0 1";
        assert_eq!(parse_children_cpu(stat), Some(Duration::from_millis(1750)));
        assert_eq!(parse_children_cpu("42 (a S 1"), None);
    }
}
