//! The `forebay` command: hands work to a cluster and shows what becomes of it.
//!
//! This library is the command without its `main`, so that its parts can be
//! tested; it promises nothing to other crates. What people use is the program:
//! `forebay --help`.
//!
//! | module | what |
//! |---|---|
//! | [`args`] | the command line and its help |
//! | [`spec`], [`units`] | from the command line to a job's spec |
//! | [`access`], [`settings`], [`server`] | whom to ask, and as whom |
//! | [`api`] | the calls of the view-server's API |
//! | [`follow`] | a followed log, byte for byte |
//! | [`commands`] | what each command does |
//! | [`console`], [`table`], [`text`], [`clock`], [`view`] | showing it |
//! | [`exit`], [`failure`] | how it ends |
#![forbid(unsafe_code)]

pub mod access;
pub mod api;
pub mod args;
pub mod clock;
pub mod commands;
pub mod console;
pub mod environment;
pub mod exit;
pub mod failure;
pub mod follow;
pub mod server;
pub mod settings;
pub mod spec;
pub mod table;
pub mod text;
pub mod units;
pub mod view;

use std::process::ExitCode;

use clap::Parser as _;

use commands::Context;
use console::Console;
use environment::Environment;

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and is no error; clap knows. Nobody has to read it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let environment = Environment::of_process();
    let context = Context {
        console: Console::of_process(&environment),
        environment,
    };
    match commands::run(cli.command, &context) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            context.console.failure(&failure);
            ExitCode::from(failure.exit())
        }
    }
}
