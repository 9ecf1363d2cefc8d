//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Feeds of Forebay to browsers and programs, over WebSocket and server-sent events.
#[derive(Debug, Parser)]
#[command(name = "forebay-realtime", version)]
pub struct Command {
    /// The configuration; without this /etc/forebay/realtime.toml if there is one.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Allow insecure settings, with a warning.
    #[arg(long, global = true)]
    pub dev: bool,
    /// What to do; `serve` if nothing is said.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve until told to stop. The view-server migrates the database.
    Serve,
    /// Check the configuration and end.
    Check,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
    }
}
