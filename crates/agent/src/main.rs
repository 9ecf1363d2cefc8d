//! `forebay-agent`: the server of a Forebay site.

use std::process::ExitCode;

fn main() -> ExitCode {
    forebay_agent::main()
}
