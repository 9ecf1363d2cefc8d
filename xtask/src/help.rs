//! What `--help` says.

pub(crate) const TOP: &str = "\
Development tasks of Forebay.

  cargo xtask up      run everything here: a real Slurm, Postgres, the services,
                      and one sample job whose output you see; Ctrl-C ends it all
  cargo xtask test    install what is missing, then run every test
  cargo xtask setup   only install what is missing (says what, and why, first)
  cargo xtask bench   measure; a table, or rows of JSON
  cargo xtask ui      build the page, into target/ui
  cargo xtask tidy    check the rules of docs/ARCHITECTURE.md; takes a second
  cargo xtask ci      what CI runs: format, tidy, lints, all tests, documents

New here? Start with `cargo xtask up --once`. Each task has its own `--help`.
";

const UP: &str = "\
Runs Forebay on this machine, for real, and shows one job.

  cargo xtask up [--once] [--scheduler slurm|local] …

It checks what is missing, says what it will install and why, and installs it
when you are root; else it prints the line to run and stops. Then it starts
Postgres, Slurm and the services on loopback, submits a sample job as an
unprivileged account and prints its output as it comes. It stays until Ctrl-C,
which ends everything it started and nothing else.

  --once              end after the sample job, with its exit code
  --scheduler local   plain processes instead of Slurm

Other options go to `forebay-testbed up` as they are; `cargo xtask up -- --help`
builds it and shows all of them.
";

const SETUP: &str = "\
Installs what the tests and `up` need and this machine lacks.

  cargo xtask setup

Says first what is missing, what needs it, and what it will install. Installs
with apt or dnf when you are root; else prints the line to run and fails.
Services that a package would start are kept from starting.
";

const TEST: &str = "\
Runs every test, or those of some crates.

  cargo xtask test [CRATE…] [--long] [--slurm VERSION,…] [-- ARGS]

  CRATE       `wire` or `forebay-wire`; without any, all
  --long      also the long forms of tests (sets FOREBAY_LONG=1)
  --slurm     the Slurm versions to use (sets FOREBAY_SLURM)
  --jobs N    test programs run at the same time (default 2)
  --no-setup  do not install what is missing
  -- ARGS     for the test programs: a name to filter by, `--nocapture`, …

What this machine cannot give is skipped, counted and listed with its reason;
FOREBAY_REQUIRE=all makes each skip a failure. Plain `cargo test` works too,
but then neither installs anything nor lists the skips.
The last line is `N passed, N failed`; skipped tests count as neither.
";

const BENCH: &str = "\
Measures, and compares with what must be reached.

  cargo xtask bench [NAME] [--json]

  build     CPU seconds to compile everything from nothing, in debug
            (takes minutes; an empty directory each time)
  NAME      another bench of the testbed; without a name, all of them

Prints a table; with --json one row a line:
  {bench, metric, value, unit, target, ok}
";

const TIDY: &str = "\
Checks the rules of docs/ARCHITECTURE.md over `cargo metadata` and the sources.

  cargo xtask tidy

Every line it prints names the file, the rule and what to do. File sizes and
crates that are there in two versions are reported, and fail nothing.
";

const CI: &str = "\
What CI runs: format, tidy, lints and tests in one build, documentation.

  cargo xtask ci

Warnings are errors and a skipped test is a failure. The build goes to
FOREBAY_TARGET_DIR, else CARGO_TARGET_DIR, else ~/.cache/forebay/target, so that
a fresh clone reuses what an earlier one compiled. Prints the time of each phase.
";

const UI: &str = "\
Builds the page (crates/view-server/ui) with Node, if something of it changed.

  cargo xtask ui [--test]

It needs Node 18 or newer and npm, and fetches the packages of package-lock.json
from npm's registry. Prints the directory of the built page; serve it with
`forebay-view-server --ui-dir DIR`. `up` and `test` do this by themselves.

  --test      run the page's own tests, too

To work on it: `npm ci` and `npm run dev` in its directory, with `cargo xtask up`
running and FOREBAY_URL set to the address of its API.
";

/// The help of one task; `None` if there is no such task.
pub(crate) fn of(command: &str) -> Option<&'static str> {
    Some(match command {
        "up" => UP,
        "setup" => SETUP,
        "test" => TEST,
        "bench" => BENCH,
        "tidy" => TIDY,
        "ci" => CI,
        "ui" => UI,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_in_the_list_has_help() {
        let listed: Vec<_> = TOP
            .lines()
            .filter_map(|line| line.strip_prefix("  cargo xtask "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(listed.len(), 7);
        for task in listed {
            assert!(of(task).is_some(), "{task}");
        }
    }
}
