//! The view-server's program: read the configuration, then serve or do what the
//! command line says.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program speaks to people"
)]

use std::{error::Error, path::Path, process::ExitCode};

use clap::Parser as _;
use forebay_service::{Strictness, logs};
use forebay_view_server::{
    admin, api, certificate,
    command::{Action, Command},
    config::{Config, DEFAULT_PATH},
    server,
};

fn main() -> ExitCode {
    let command = Command::parse();
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", logs::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    let action = command.action.unwrap_or(Action::Serve);
    if matches!(action, Action::Openapi) {
        print!("{}", api::document()?);
        return Ok(ExitCode::SUCCESS);
    }
    if let Action::Tls(command) = action {
        certificate::tls(command)?;
        return Ok(ExitCode::SUCCESS);
    }
    let strictness = Strictness { dev: command.dev };
    let mut config = match &command.config {
        Some(path) => Config::load(path, strictness)?,
        None if Path::new(DEFAULT_PATH).exists() => {
            Config::load(Path::new(DEFAULT_PATH), strictness)?
        }
        None => Config::defaults(strictness)?,
    };
    if let Some(dir) = command.ui_dir {
        config.ui_dir = Some(dir);
    }
    match action {
        Action::Serve => {
            logs::init(config.log.format, &config.log.filter)?;
            Ok(forebay_service::main(
                "forebay-view-server",
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
        action => {
            logs::init(logs::Format::Pretty, "warn")?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(administer(action, &config))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn administer(action: Action, config: &Config) -> Result<(), Box<dyn Error>> {
    // Brings the database up to date: the first user comes before the first start.
    let store = server::store(&config.database).await?;
    match action {
        Action::User(user) => admin::user(&store, user).await?,
        Action::Token(token) => admin::token(&store, token).await?,
        Action::Site(site) => admin::site(&store, config, site).await?,
        Action::Announce(announce) => admin::announce(&store, announce).await?,
        Action::Migrate => println!("The database is up to date."),
        Action::Serve | Action::Openapi | Action::Check | Action::Tls(_) => {}
    }
    Ok(())
}
