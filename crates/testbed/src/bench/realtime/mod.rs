//! Feeds to very many: 10,000 readers on one realtime, its readers in this process, no gateway between.
//!
//! - one change, told to all: when each has it; what each costs realtime in memory;
//! - the same beside readers that take nothing, each of which has fallen behind;
//! - from the commit in the database to one reader, with the doorbell and without it.

mod changes;
mod readers;

use std::time::{Duration, Instant};

use forebay_http::Client;
use forebay_wire::{JobId, feed::Topic};
use serde_json::{Value, json};

use super::{Failure, Report, report::say};
use crate::{
    accounts,
    site::{CLUSTER, Options, Scheduler, Site},
};
use changes::Changes;
use readers::{Kind, Readers};

const CLIENTS: usize = 10_000;
const STALLED: usize = 50;
const ROUNDS: usize = 10;
const SAMPLES: usize = 100;

/// What the issue asks for.
const ALL_P99_MS: f64 = 500.0;
const CLIENT_KB: f64 = 40.0;
const POLL_MEDIAN_MS: f64 = 1_100.0;
const POLL_P99_MS: f64 = 2_200.0;
const BELL_MEDIAN_MS: f64 = 200.0;
/// A stalled reader delays nobody; the rest is what a busy machine does to a median.
const STALLED_RATIO: f64 = 1.5;

/// For all readers to hear of a change.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(report: &mut Report) -> Result<(), Failure> {
    let user = accounts::test_account(1)?;
    raise_descriptors()?;
    say("starting an installation…");
    let site = Site::start(Options {
        scheduler: Scheduler::Local { slots: 1 },
        users: vec![user.name.clone()],
        poll_ms: None,
        log_filter: "warn".to_owned(),
        realtime_lines: "limits.clients = 12000\nlimits.clients_per_user = 12000".to_owned(),
        ..Options::default()
    })
    .await?;
    let token = site.token(&user.name)?;
    let api = Client::tcp(&site.api_url())?.with_bearer(&token.clone().into())?;
    // From here on nothing changes but by us.
    site.stop_service("agent").await?;
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let body = json!({"spec": {"cluster": CLUSTER, "command": ["true"]}});
        let job: Value = api.post("/api/v1/jobs", &body).await?;
        jobs.push(
            job["id"]
                .as_str()
                .ok_or("a job without an id")?
                .parse::<JobId>()?,
        );
    }
    let (watched, other) = (jobs[0], jobs[1]);
    let changes = Changes::new(&site, watched).await?;

    let address = site.realtime_address(0);
    latencies(report, &address, &token, &changes, watched).await?;
    fan_out(report, &site, &token, &changes, (watched, other)).await?;
    site.stop().await?;
    Ok(())
}

/// From the commit to one reader, a change at a time.
async fn latencies(
    report: &mut Report,
    address: &str,
    token: &str,
    changes: &Changes,
    watched: JobId,
) -> Result<(), Failure> {
    for with_bell in [true, false] {
        say(if with_bell {
            "from the database to a reader, with the doorbell…"
        } else {
            "the same without the doorbell, by looking each second…"
        });
        let mut readers = Readers::new(address, token);
        readers.open(1, &[Topic::Job(watched)], Kind::Reads).await?;
        let mut took = Vec::with_capacity(SAMPLES);
        for sample in 0..SAMPLES {
            let mark = changes.mark();
            let began = Instant::now();
            changes.change(watched, &mark, with_bell).await?;
            let heard = readers.heard(&mark, 1, PATIENCE).await?;
            took.extend(heard.iter().map(|at| at.duration_since(began)));
            // At another moment of the second each time.
            tokio::time::sleep(Duration::from_millis(37 * (sample as u64 % 23))).await;
        }
        let (median, p99) = (quantile(&mut took, 0.5), quantile(&mut took, 0.99));
        let (how, most) = if with_bell {
            ("doorbell", BELL_MEDIAN_MS)
        } else {
            ("poll each second", POLL_MEDIAN_MS)
        };
        let what = format!("database to reader, {how}, median of {SAMPLES}");
        report.at_most("realtime", &what, median, "ms", most);
        let what = format!("database to reader, {how}, p99");
        if with_bell {
            report.plain("realtime", &what, p99, "ms");
        } else {
            report.at_most("realtime", &what, p99, "ms", POLL_P99_MS);
        }
    }
    Ok(())
}

/// One change to ten thousand.
async fn fan_out(
    report: &mut Report,
    site: &Site,
    token: &str,
    changes: &Changes,
    (watched, other): (JobId, JobId),
) -> Result<(), Failure> {
    let topic = Topic::Job(watched);
    let realtime = site.named("realtime")?;
    let resident = || {
        let memory = realtime.memory().ok_or("realtime is gone")?;
        Ok::<_, Failure>(kilobytes(memory.rss))
    };
    let before = resident()?;
    say(&format!("opening {CLIENTS} WebSockets…"));
    let began = Instant::now();
    let mut readers = Readers::new(&site.realtime_address(0), token);
    readers
        .open(CLIENTS, std::slice::from_ref(&topic), Kind::Reads)
        .await?;
    let opened = began.elapsed().as_secs_f64();
    report.plain(
        "realtime",
        &format!("opening {CLIENTS}, each with its snapshot"),
        opened,
        "s",
    );

    let mut took = rounds(&readers, changes, watched).await?;
    let what = format!("one change to all of {CLIENTS}, p99 of {ROUNDS} changes");
    report.at_most(
        "realtime",
        &what,
        quantile(&mut took, 0.99),
        "ms",
        ALL_P99_MS,
    );
    report.plain(
        "realtime",
        "the same, median",
        quantile(&mut took, 0.5),
        "ms",
    );
    report.plain(
        "realtime",
        "the same, slowest",
        quantile(&mut took, 1.0),
        "ms",
    );
    let each = (resident()? - before) / count(CLIENTS);
    report.at_most(
        "realtime",
        "resident memory for each",
        each,
        "kB",
        CLIENT_KB,
    );

    say(&format!(
        "{STALLED} more that take nothing, while much happens…"
    ));
    let (before, lagged, stalled) = (resident()?, lagged(site).await?, count(STALLED));
    let mut stalling = Readers::new(&site.realtime_address(0), token);
    stalling
        .open(STALLED, &[topic, Topic::Jobs], Kind::Stalls)
        .await?;
    // Told to the stalled ones alone, until none of them takes even that it was left behind.
    changes.many_jobs(other).await?;
    let (began, mut behind, mut quiet) = (Instant::now(), lagged, 0);
    while quiet < 3 {
        changes.tell_of_many().await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
        let now = self::lagged(site).await?;
        quiet = if now > behind { 0 } else { quiet + 1 };
        behind = now;
        if began.elapsed() > PATIENCE {
            return Err("the stalled readers still take something".into());
        }
    }
    if behind - lagged < stalled {
        return Err("the stalled readers were not left behind".into());
    }
    let mut beside = rounds(&readers, changes, watched).await?;
    let each = (resident()? - before) / stalled;
    drop(stalling);
    let mut after = rounds(&readers, changes, watched).await?;
    let what = format!("one change to all of {CLIENTS} beside {STALLED} stalled, p99");
    report.plain("realtime", &what, quantile(&mut beside, 0.99), "ms");
    // What else the machine does falls on all three.
    let without = f64::midpoint(quantile(&mut took, 0.5), quantile(&mut after, 0.5));
    let ratio = quantile(&mut beside, 0.5) / without;
    let what = "median beside stalled / without, before and after";
    report.at_most("realtime", what, ratio, "ratio", STALLED_RATIO);
    let what = "resident memory more, for each stalled one";
    report.plain("realtime", what, each, "kB");
    Ok(())
}

async fn rounds(
    readers: &Readers,
    changes: &Changes,
    job: JobId,
) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::with_capacity(ROUNDS * CLIENTS);
    for _ in 0..ROUNDS {
        let mark = changes.mark();
        let began = Instant::now();
        changes.change(job, &mark, true).await?;
        let heard = readers.heard(&mark, CLIENTS, PATIENCE).await?;
        took.extend(heard.iter().map(|at| at.duration_since(began)));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok(took)
}

/// How many readers realtime has left behind since its start.
async fn lagged(site: &Site) -> Result<f64, Failure> {
    let realtime = Client::tcp(&format!("http://{}", site.realtime_address(0)))?;
    let answer = realtime.call(http::Method::GET, "/metrics").send().await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("forebay_feed_lagged_total "));
    Ok(line.ok_or("realtime does not count who lags")?.parse()?)
}

/// A descriptor for each reader.
fn raise_descriptors() -> Result<(), Failure> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let wanted = (CLIENTS + STALLED + 200) as u64;
    match limit.maximum {
        Some(most) if most < wanted => {
            Err(format!("only {most} files may be open here, and {wanted} are needed: raise the hard limit (ulimit -Hn)").into())
        }
        _ => Ok(()),
    }
}

/// Milliseconds.
fn quantile(took: &mut [Duration], share: f64) -> f64 {
    took.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = ((took.len() as f64 * share).ceil() as usize).clamp(1, took.len()) - 1;
    took[index].as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "thousands")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "kilobytes")]
fn kilobytes(bytes: u64) -> f64 {
    bytes as f64 / 1000.0
}
