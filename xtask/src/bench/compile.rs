//! CPU seconds to compile the workspace from nothing, in debug.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::wrapper::{Compiled, LOG};
use crate::clock::Clock;
use crate::workspace::{Workspace, cargo};

/// What dependencies, and what our own crates, may cost.
const TARGET: Duration = Duration::from_secs(7 * 60);

/// One line of the table.
#[derive(Debug, PartialEq)]
struct Row {
    metric: &'static str,
    value: f64,
    unit: &'static str,
    target: Option<f64>,
}

impl Row {
    /// Whether the target was reached; true where there is none.
    fn ok(&self) -> bool {
        self.target.is_none_or(|target| self.value < target)
    }
}

/// Compiles into an empty directory and prints the rows. Says whether every target was reached.
pub(super) fn run(json: bool) -> Result<bool> {
    let workspace = Workspace::load()?;
    let dir = Scratch::new(&workspace.target_dir.join("xtask-bench-build"))?;
    let log = dir.0.join("rustc.log");
    std::fs::write(&log, "").context("cannot make the log")?;
    eprintln!("compiling everything from nothing in {}", dir.0.display());
    let clock = Clock::start();
    let status = cargo()
        .args(["build", "--workspace", "--quiet"])
        .env("CARGO_TARGET_DIR", dir.0.join("target"))
        .env("RUSTC_WRAPPER", std::env::current_exe()?)
        .env("FOREBAY_WORKSPACE", &workspace.root)
        .env(LOG, &log)
        .stdout(Stdio::null())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the build failed, so there is nothing to measure");
    }
    let text = std::fs::read_to_string(&log).context("cannot read the log")?;
    let compiled: Vec<_> = text.lines().filter_map(Compiled::parse).collect();
    let rows = rows(&compiled, clock.cpu(), clock.wall());
    if json {
        print_json(&rows);
    } else {
        print_table(&rows, &compiled);
    }
    Ok(rows.iter().all(Row::ok))
}

/// `total` is what cargo and all it ran took. What is neither our crates nor
/// theirs (build scripts, cargo itself) counts as theirs.
fn rows(compiled: &[Compiled], total: Duration, wall: Duration) -> Vec<Row> {
    let ours: Duration = compiled.iter().filter(|c| c.ours).map(|c| c.cpu).sum();
    let theirs = total.saturating_sub(ours);
    let crates = |ours| compiled.iter().filter(|c| c.ours == ours).count();
    let cpu = |metric, cpu: Duration| {
        let target = Some(TARGET.as_secs_f64());
        Row {
            metric,
            value: cpu.as_secs_f64(),
            unit: "cpu_s",
            target,
        }
    };
    #[allow(clippy::cast_precision_loss)] // a few hundred
    let count = |metric, n: usize| Row {
        metric,
        value: n as f64,
        unit: "crates",
        target: None,
    };
    vec![
        cpu("dependencies", theirs),
        cpu("own", ours),
        Row {
            metric: "wall",
            value: wall.as_secs_f64(),
            unit: "s",
            target: None,
        },
        count("dependencies_compiled", crates(false)),
        count("own_compiled", crates(true)),
    ]
}

fn print_json(rows: &[Row]) {
    for row in rows {
        let Row {
            metric,
            value,
            unit,
            target,
        } = row;
        let row = serde_json::json!({"bench": "build", "metric": metric, "value": value,
            "unit": unit, "target": target, "ok": row.ok()});
        println!("{row}");
    }
}

fn print_table(rows: &[Row], compiled: &[Compiled]) {
    println!(
        "{:8} {:24} {:>9} {:7} {:>9}  ok",
        "bench", "metric", "value", "unit", "target"
    );
    for row in rows {
        let target = row
            .target
            .map_or("-".to_owned(), |target| format!("< {target:.0}"));
        let ok = if row.ok() { "yes" } else { "NO" };
        let Row {
            metric,
            value,
            unit,
            ..
        } = row;
        println!(
            "{:8} {metric:24} {value:9.1} {unit:7} {target:>9}  {ok}",
            "build"
        );
    }
    for (whose, ours) in [("own", true), ("others'", false)] {
        let mut dearest: Vec<_> = compiled.iter().filter(|c| c.ours == ours).collect();
        dearest.sort_by_key(|c| std::cmp::Reverse(c.cpu));
        let list: Vec<_> = (dearest.iter().take(6))
            .map(|c| format!("{} {:.1}", c.crate_name, c.cpu.as_secs_f64()))
            .collect();
        println!("dearest of {whose}, in CPU seconds: {}", list.join(", "));
    }
}

/// A directory named by our process id, gone when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(base: &Path) -> Result<Self> {
        // Those of earlier runs that were interrupted.
        for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                std::fs::remove_dir_all(entry.path())?;
            }
        }
        let dir = base.join(std::process::id().to_string());
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("xtask: cannot remove {}: {error}", self.0.display());
        }
        // Empty, unless another bench runs beside us.
        let _ = self.0.parent().map(std::fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(ours: bool, seconds: u64) -> Compiled {
        Compiled {
            crate_name: "c".into(),
            ours,
            cpu: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn what_is_neither_counts_as_dependencies() {
        let seconds = Duration::from_secs;
        let rows = rows(
            &[compiled(true, 30), compiled(false, 100)],
            seconds(140),
            seconds(80),
        );
        assert_eq!((rows[0].metric, rows[0].value), ("dependencies", 110.0));
        assert_eq!((rows[1].metric, rows[1].value), ("own", 30.0));
        assert!(rows.iter().all(Row::ok));
    }

    #[test]
    fn a_missed_target_is_not_ok() {
        let seconds = Duration::from_secs;
        let rows = rows(&[compiled(true, 421)], seconds(430), seconds(300));
        assert!(rows[0].ok() && !rows[1].ok());
    }
}
