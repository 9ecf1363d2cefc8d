//! What each service takes at rest, and how long it takes to start while the
//! database is up.

use std::time::{Duration, Instant};

use super::{Failure, Report, report::say};
use crate::{
    accounts,
    site::{Options, Scheduler, Site},
};

const MIB: f64 = 1024.0 * 1024.0;
const MEMORY_MIB_MAX: f64 = 40.0;
const START_S_MAX: f64 = 0.3;

pub(super) async fn run(report: &mut Report) -> Result<(), Failure> {
    let user = accounts::test_account(1)?;
    say("starting an installation…");
    let site = Site::start(Options {
        scheduler: Scheduler::Local { slots: 1 },
        users: vec![user.name.clone()],
        poll_ms: None,
        ..Options::default()
    })
    .await?;
    // One job, so that all code of a working day is in memory and the user-agent runs.
    let done = site
        .run_cli(&user.name, ["submit", "--wait", "--", "true"])
        .await?;
    if !done.exit.success() {
        return Err(format!("the job failed: {}", done.stderr()).into());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for service in ["view-server", "realtime", "agent"] {
        let memory = site.named(service)?.memory().ok_or("the service is gone")?;
        report.at_most(
            "idle",
            &format!("{service}, resident"),
            mib(memory.rss),
            "MiB",
            MEMORY_MIB_MAX,
        );
    }
    for (pid, _) in site.user_agents() {
        let rss = resident(pid)?;
        report.at_most(
            "idle",
            "user-agent, resident",
            mib(rss),
            "MiB",
            MEMORY_MIB_MAX,
        );
    }
    for service in ["view-server", "realtime", "agent"] {
        site.stop_service(service).await?;
        let began = Instant::now();
        match service {
            "agent" => site.start_agent().await?,
            "realtime" => site.start_realtime(0).await?,
            _ => site.start_view_server().await?,
        }
        let took = began.elapsed().as_secs_f64();
        report.at_most(
            "idle",
            &format!("{service}, from exec to ready"),
            took,
            "s",
            START_S_MAX,
        );
    }
    site.stop().await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// Of a process that is not a service's own: from `/proc`.
fn resident(pid: i32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?
        .parse()?;
    Ok(kib * 1024)
}
