//! 500 short jobs by API to a real Slurm, first POST to last release, beside
//! `xargs -P8 sbatch` by the same user on the same cluster.
//!
//! The plain way is measured before and after, and its mean taken: what else
//! the machine does at the moment then falls on both.

use std::time::{Duration, Instant};

use forebay_http::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Failure, Report, cpu::Used, report::say};
use crate::{
    accounts::{self, Account},
    site::{CLUSTER, Options, Scheduler, Site},
    slurm::{self, Slurm},
};

const JOBS: usize = 500;
const IN_FLIGHT: usize = 8;
/// What the issue asks for: held submission alone costs a quarter.
const RATIO_MIN: f64 = 0.6;
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn run(report: &mut Report) -> Result<(), Failure> {
    let user = accounts::test_account(1)?;
    say("starting a Slurm and an installation…");
    let slurm = Slurm::start(slurm::Options {
        // Room for all of them, so that starting jobs does not wait for ends.
        cpus: 256,
        memory_mib: 64_000,
        ..slurm::Options::default()
    })
    .await?;
    let site = Site::start(Options {
        scheduler: Scheduler::slurm(&slurm),
        users: vec![user.name.clone()],
        poll_ms: None,
        log_filter: "warn".to_owned(),
        ..Options::default()
    })
    .await?;

    say("warming up…");
    by_sbatch(&slurm, &user, 50).await?;
    by_api(&site, &user, 50).await?;
    say("measuring…");
    let before = by_sbatch(&slurm, &user, JOBS).await?;
    let calls = || async {
        let count = site.agent_counter("forebay_link_calls_total").await;
        count.ok_or("the agent does not show its calls")
    };
    let (cpu, calls_before) = (Used::now(&site, &slurm), calls().await?);
    let ours = by_api(&site, &user, JOBS).await?;
    let cpu = Used::now(&site, &slurm).since(&cpu, JOBS);
    let calls_made = calls().await? - calls_before;
    let after = by_sbatch(&slurm, &user, JOBS).await?;
    let plain = f64::midpoint(before, after);

    report.plain("submit", "xargs -P8 sbatch, before", before, "jobs/s");
    report.plain("submit", "xargs -P8 sbatch, after", after, "jobs/s");
    report.plain(
        "submit",
        "by API, 8 in flight, first POST to last release",
        ours,
        "jobs/s",
    );
    for (part, ms) in cpu {
        report.plain("submit", &format!("CPU of a job: {part}"), ms, "ms");
    }
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let calls_per_job = calls_made / JOBS as f64;
    report.plain("submit", "link calls per job", calls_per_job, "calls");
    report.at_least("submit", "by API / xargs", ours / plain, "ratio", RATIO_MIN);
    site.stop().await?;
    slurm.stop().await?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "some hundreds")]
fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

async fn by_sbatch(slurm: &Slurm, user: &Account, jobs: usize) -> Result<f64, Failure> {
    let script = "seq \"$1\" | xargs -P8 -I{} sbatch --output=/dev/null --wrap=true >/dev/null";
    let command = slurm
        .command("sh", Some(user))?
        .args(["-c", script, "sh", &jobs.to_string()]);
    let began = Instant::now();
    let done = slurm.run(command, b"", PATIENCE).await?;
    let took = began.elapsed();
    if !done.exit.success() {
        return Err(format!("sbatch failed: {}", done.stderr()).into());
    }
    Ok(rate(jobs, took))
}

async fn by_api(site: &Site, user: &Account, jobs: usize) -> Result<f64, Failure> {
    let client = Client::tcp(&site.api_url())?.with_bearer(&site.token(&user.name)?.into())?;
    let began = Instant::now();
    let mut posts = JoinSet::new();
    for worker in 0..IN_FLIGHT {
        let client = client.clone();
        posts.spawn(async move {
            let body = json!({"spec": {"cluster": CLUSTER, "command": ["true"]}});
            for _ in (worker..jobs).step_by(IN_FLIGHT) {
                let _: Value = client.post("/api/v1/jobs", &body).await?;
            }
            Ok::<_, forebay_http::ClientError>(())
        });
    }
    while let Some(posted) = posts.join_next().await {
        posted??;
    }
    // Until no job is on its way to Slurm any more. The API says so at most one
    // report later than it is true.
    loop {
        let waiting: Value = client
            .get("/api/v1/jobs?state=queued,submitting&limit=1")
            .await?;
        if waiting["items"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err("jobs are still queued".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = began.elapsed();
    let refused: Value = client.get("/api/v1/jobs?state=rejected&limit=1").await?;
    if refused["items"]
        .as_array()
        .is_none_or(|items| !items.is_empty())
    {
        return Err(format!("a job was refused: {refused}").into());
    }
    Ok(rate(jobs, took))
}
