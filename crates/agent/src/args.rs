//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// The server of a Forebay site: claims jobs, runs them as their owners, reports what happens.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  forebay-agent --config /etc/forebay/agent.toml check
  forebay-agent --config /etc/forebay/agent.toml enrol --token-file here.token
  forebay-agent --config /etc/forebay/agent.toml

As root the agent runs each job as its owner's account. As an ordinary user it
runs that user's own jobs only."
)]
pub(crate) struct Args {
    /// The configuration file; `NAME.d/*.toml` beside it is read too.
    #[arg(long, default_value = "/etc/forebay/agent.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Allow settings that are insecure outside development.
    #[arg(long)]
    pub(crate) dev: bool,
    /// What to do; serves if absent.
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Action {
    /// Run the site until told to stop.
    Serve,
    /// Check the configuration and say what is wrong with it.
    Check,
    /// Register this site with the view-server: makes a key, which never leaves this host.
    Enrol {
        /// The file, of mode 0600, that holds what `forebay-view-server site enrol` printed; standard
        /// input if left out. It is never an argument: other accounts on a host can read arguments.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
}
