//! Rows of figures, for people or for programs.

use std::{io::Write, process::ExitCode};

use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which bench.
    pub bench: &'static str,
    /// What was measured.
    pub metric: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it must reach, if anything: at least, or at most where smaller is better.
    pub target: Option<f64>,
    /// Whether it does; true without a target.
    pub ok: bool,
}

/// What was measured so far.
#[derive(Debug)]
pub struct Report {
    json: bool,
    all_ok: bool,
}

impl Report {
    /// Rows go to standard output as they come, as JSON lines or as a table.
    pub fn new(json: bool) -> Self {
        Self { json, all_ok: true }
    }

    /// A figure to be seen beside others.
    pub fn plain(&mut self, bench: &'static str, metric: &str, value: f64, unit: &'static str) {
        self.row(Row {
            bench,
            metric: metric.to_owned(),
            value,
            unit,
            target: None,
            ok: true,
        });
    }

    /// A figure that must be at least so large.
    pub fn at_least(
        &mut self,
        bench: &'static str,
        metric: &str,
        value: f64,
        unit: &'static str,
        target: f64,
    ) {
        let ok = value >= target;
        self.row(Row {
            bench,
            metric: metric.to_owned(),
            value,
            unit,
            target: Some(target),
            ok,
        });
    }

    /// A figure that must be at most so large.
    pub fn at_most(
        &mut self,
        bench: &'static str,
        metric: &str,
        value: f64,
        unit: &'static str,
        target: f64,
    ) {
        let ok = value <= target;
        self.row(Row {
            bench,
            metric: metric.to_owned(),
            value,
            unit,
            target: Some(target),
            ok,
        });
    }

    fn row(&mut self, row: Row) {
        self.all_ok &= row.ok;
        let text = if self.json {
            serde_json::to_string(&row).unwrap_or_default()
        } else {
            let verdict = match (row.target, row.ok) {
                (None, _) => String::new(),
                (Some(target), true) => format!("target {target}  ok"),
                (Some(target), false) => format!("target {target}  MISSED"),
            };
            let Row {
                bench,
                metric,
                value,
                unit,
                ..
            } = &row;
            format!("{bench:<8} {metric:<52} {value:>10.2} {unit:<8} {verdict}")
        };
        // With nobody to read it there is nothing to do about it.
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    }

    /// Success if every target was reached.
    pub fn finish(self) -> ExitCode {
        if self.all_ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Progress, beside the figures.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
