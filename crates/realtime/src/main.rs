//! realtime's program: read the configuration, then serve.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program speaks to people"
)]

use std::{error::Error, path::Path, process::ExitCode};

use clap::Parser as _;
use forebay_realtime::{
    command::{Action, Command},
    config::{Config, DEFAULT_PATH},
    server,
};
use forebay_service::{Strictness, logs};

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", logs::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    let strictness = Strictness { dev: command.dev };
    let config = match &command.config {
        Some(path) => Config::load(path, strictness)?,
        None if Path::new(DEFAULT_PATH).exists() => {
            Config::load(Path::new(DEFAULT_PATH), strictness)?
        }
        None => Config::defaults(strictness)?,
    };
    match command.action.unwrap_or(Action::Serve) {
        Action::Serve => {
            logs::init(config.log.format, &config.log.filter)?;
            Ok(forebay_service::main(
                "forebay-realtime",
                server::DRAIN_DEADLINE,
                |service| async move { server::start(&config, &service).await.map(drop) },
            ))
        }
        Action::Check => {
            println!(
                "The configuration is good. It listens on {}.",
                config.address()
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}
