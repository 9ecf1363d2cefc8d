//! `forebay-user-agent`: see `forebay_user_agent`.

use std::process::ExitCode;

use clap::Parser as _;
use forebay_user_agent::cli::{Cli, Command};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => forebay_user_agent::serve::main(&args),
        Command::Shim(args) => forebay_user_agent::shim::main(&args),
        Command::ShimExec(args) => forebay_user_agent::shim::exec(&args),
    }
}
