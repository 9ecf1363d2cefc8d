//! `sinfo` and `scontrol`, as real ones printed.

use super::*;
use crate::cli::testing::{Answers, cli};
use crate::runner::Exit;

#[test]
fn recorded_partitions_are_read() {
    for (release, text) in [
        (
            "22.05.8",
            include_str!("../../tests/fixtures/22.05.8/sinfo.txt"),
        ),
        (
            "24.11.5",
            include_str!("../../tests/fixtures/24.11.5/sinfo.txt"),
        ),
    ] {
        let listing = Separators::of(0).rows(text, read_partition);
        assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
        insta::assert_debug_snapshot!(format!("partitions-{release}"), listing.items);
    }
    assert_eq!(four("1K/2/0/1026"), Ok([1024, 2, 0, 1026]));
    assert!(four("1/2/3").is_err() && four("a/b/c/d").is_err());
}

#[test]
fn recorded_configurations_are_read() {
    for (release, text, script_bytes_max) in [
        (
            "22.05",
            include_str!("../../tests/fixtures/22.05.8/scontrol_config.txt"),
            100_000,
        ),
        (
            "24.11",
            include_str!("../../tests/fixtures/24.11.5/scontrol_config.txt"),
            4 << 20,
        ),
    ] {
        let config = read_config(text).unwrap();
        assert_eq!(config.release().unwrap().to_string(), release);
        assert_eq!(
            (
                config.cluster.as_str(),
                config.accounting,
                config.stores_comments
            ),
            ("gwtest", true, true)
        );
        assert_eq!(
            (config.min_job_age, config.max_array_size),
            (Duration::from_secs(300), 10_001)
        );
        assert_eq!(
            (config.max_job_count, config.script_bytes_max),
            (50_000, script_bytes_max)
        );
        assert!(config.private_data.is_empty());
    }
    assert_eq!(read_config("").map(|config| config.cluster), None);
}

#[tokio::test]
async fn a_controller_that_is_down_is_an_answer() {
    let stdout = "Slurmctld(primary) at head1 is DOWN\nSlurmctld(backup) at head2 is UP\n";
    let slurm = cli(Answers::new().answer(Exit::Code(1), stdout, ""));
    let controllers = slurm.ping().await.unwrap();
    let up: Vec<(&str, &str, bool)> = controllers
        .iter()
        .map(|one| (one.role.as_str(), one.host.as_str(), one.up))
        .collect();
    assert_eq!(up, [("primary", "head1", false), ("backup", "head2", true)]);
    let slurm = cli(Answers::new().answer(Exit::Code(1), "", "scontrol: fatal: zork"));
    assert!(slurm.ping().await.is_err());
}

#[tokio::test]
async fn silence_is_an_error() {
    let stderr =
        "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)\n";
    let slurm =
        cli(Answers::new()
            .answer(Exit::Code(1), "", stderr)
            .answer(Exit::Code(1), "", stderr));
    assert!(slurm.config().await.unwrap_err().is_unavailable());
    assert!(slurm.partitions().await.unwrap_err().is_unavailable());
}
