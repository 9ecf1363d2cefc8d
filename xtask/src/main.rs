//! Development tasks of Forebay: `cargo xtask --help`.
//!
//! This program stays light, because everybody waits for it first: it compiles
//! in seconds and knows no crate of ours. What needs real servers is in
//! `forebay-testbed`, which it builds and then becomes.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for people

mod args;
mod bench;
mod build;
mod ci;
mod clock;
mod handover;
mod help;
mod leftovers;
mod test;
mod tidy;
mod ui;
mod workspace;

use std::process::ExitCode;

use crate::args::Args;

fn main() -> ExitCode {
    // As the `RUSTC_WRAPPER` of `bench build`, we are called once for each crate.
    if let Some(code) = bench::wrapper::run_if_wrapping() {
        return code;
    }
    match dispatch(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: Vec<String>) -> anyhow::Result<ExitCode> {
    let mut args = Args::new(words);
    let Some(command) = args.word() else {
        print!("{}", help::TOP);
        return Ok(ExitCode::from(2));
    };
    if matches!(command.as_str(), "help" | "--help" | "-h") {
        print!(
            "{}",
            args.word().and_then(|c| help::of(&c)).unwrap_or(help::TOP)
        );
        return Ok(ExitCode::SUCCESS);
    }
    let Some(text) = help::of(&command) else {
        anyhow::bail!("no task is called `{command}`; `cargo xtask --help` lists them");
    };
    if args.asks_help() {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    match command.as_str() {
        "setup" => handover::setup(args),
        "up" => handover::up(args),
        "bench" => bench::command(args),
        "test" => test::command(args),
        "ci" => ci::command(args),
        "ui" => ui::command(args),
        _ => tidy::command(args),
    }
}
