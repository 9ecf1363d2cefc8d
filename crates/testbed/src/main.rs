//! `forebay-testbed`: the tasks that `cargo xtask` hands over, because they know about servers.

use std::io::Write;
use std::process::ExitCode;

use forebay_testbed::{bench, setup, up};

const USAGE: &str = "usage: forebay-testbed setup | up | bench [NAME] [--json]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["setup"] => setup::run(&mut print).await,
        ["up", words @ ..] => up::run(words).await,
        ["bench"] => bench::run(None, false).await,
        ["bench", "--json"] => bench::run(None, true).await,
        ["bench", name] => bench::run(Some(name), false).await,
        ["bench", name, "--json"] | ["bench", "--json", name] => bench::run(Some(name), true).await,
        [] | ["help" | "--help" | "-h", ..] => {
            print(USAGE);
            print(up::USAGE);
            ExitCode::SUCCESS
        }
        _ => {
            print(USAGE);
            ExitCode::from(2)
        }
    }
}

/// To standard error: the output of a task belongs to what it shows, not to how it got there.
fn print(line: &str) {
    // With nobody to read it there is nothing to do about it.
    let _ = writeln!(std::io::stderr(), "{line}");
}
