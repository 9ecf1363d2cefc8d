//! `forebay-testbed bench`: figures that matter, each beside the same work done
//! another way in the same run, so that a busy machine changes both.

mod cpu;
mod idle;
mod realtime;
mod report;
mod submit;

use std::process::ExitCode;

pub use report::{Report, Row};

/// Why a bench gave no figures.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What there is to measure, in the order in which it is run.
const BENCHES: &[(&str, &str)] = &[
    (
        "submit",
        "500 short jobs by API to a real Slurm, beside `xargs -P8 sbatch`",
    ),
    (
        "realtime",
        "10,000 readers on one realtime: time to all, memory of each; stalled readers; from the database to a reader",
    ),
    (
        "idle",
        "memory of each service at rest, and how long it takes to start",
    ),
];

/// Runs one bench, or all; prints a table, or rows of JSON.
pub async fn run(name: Option<&str>, json: bool) -> ExitCode {
    let chosen: Vec<&str> = match name {
        None => BENCHES.iter().map(|(name, _)| *name).collect(),
        Some(name) => BENCHES
            .iter()
            .map(|(known, _)| *known)
            .filter(|known| *known == name)
            .collect(),
    };
    if chosen.is_empty() {
        report::say("There is no such bench. There are:");
        for (name, what) in BENCHES {
            report::say(&format!("  {name:<8} {what}"));
        }
        return ExitCode::from(2);
    }
    let mut report = Report::new(json);
    for name in chosen {
        let result = match name {
            "submit" => submit::run(&mut report).await,
            "realtime" => realtime::run(&mut report).await,
            _ => idle::run(&mut report).await,
        };
        if let Err(error) = result {
            report::say(&format!("bench {name}: {error}"));
            return ExitCode::FAILURE;
        }
    }
    report.finish()
}
