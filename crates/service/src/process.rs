//! What the kernel knows about this process, read from `/proc` at each scrape.

use crate::metrics::encode_one;
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use std::{fmt, fs};

#[derive(Debug)]
pub(crate) struct ProcessCollector {
    /// Seconds since the Unix epoch; does not change, so it is read once.
    start_seconds: Option<f64>,
}

impl ProcessCollector {
    pub(crate) fn new() -> Self {
        Self {
            start_seconds: start_seconds(),
        }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // What cannot be read is left out rather than reported as zero.
        if let Some(bytes) = resident_bytes() {
            let value = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            encode_one(
                &mut encoder,
                "process_resident_memory_bytes",
                "Resident memory",
                &value,
            )?;
        }
        if let Some(count) = open_descriptors() {
            let value = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            encode_one(
                &mut encoder,
                "process_open_fds",
                "Open file descriptors",
                &value,
            )?;
        }
        if let Some(seconds) = processor_seconds() {
            let help = "User and system processor time";
            let value = ConstCounter::new(seconds);
            encode_one(&mut encoder, "process_cpu_seconds", help, &value)?;
        }
        if let Some(seconds) = self.start_seconds {
            let help = "When the process started, since the Unix epoch";
            let value = ConstGauge::new(seconds);
            encode_one(&mut encoder, "process_start_time_seconds", help, &value)?;
        }
        Ok(())
    }
}

/// Field `number` of `/proc/self/stat`, counted from 1 as in proc(5). The second field is the
/// program's name in parentheses and may hold anything, so counting starts behind it.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn resident_bytes() -> Option<u64> {
    let pages = stat_field(&fs::read_to_string("/proc/self/stat").ok()?, 24)?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "seconds of one process are far below 2^52"
)]
fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks = stat_field(&stat, 14)?.checked_add(stat_field(&stat, 15)?)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn open_descriptors() -> Option<usize> {
    // The directory being read is itself one of them.
    Some(
        fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1),
    )
}

#[allow(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 are far below 2^52"
)]
fn start_seconds() -> Option<f64> {
    let after_boot = stat_field(&fs::read_to_string("/proc/self/stat").ok()?, 22)?;
    let boot: u64 = fs::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(boot as f64 + after_boot as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fields_behind_a_hostile_name() {
        let stat = "7 (a ) b) c) S 1 2 3";
        assert_eq!(stat_field(stat, 4), Some(1));
        assert_eq!(stat_field(stat, 6), Some(3));
        assert_eq!(stat_field(stat, 7), None);
        assert_eq!(stat_field(stat, 1), None);
    }

    #[test]
    fn reads_this_process() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(open_descriptors().unwrap() >= 3);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = now.as_secs_f64() - start_seconds().unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
