//! `forebay login`.

use std::path::PathBuf;

use clap::Args;
use forebay_wire::{ClusterName, Pin};

use crate::server::Server;

/// Options of `login`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay login --url http://127.0.0.1:3001            asks for the token, without showing it
  forebay login --url https://hpc.example.org --pin sha256:…
  forebay login --token-file ~/token                   reads it from a file
  pass show forebay | forebay login                    reads it from a pipe

The token is checked with the server and kept in ~/.config/forebay/cli.toml (mode 0600). It is
never an argument: other accounts on a host can read arguments.")]
pub struct LoginArgs {
    /// The server; by default the one you signed in to before.
    #[arg(long)]
    pub url: Option<Server>,
    /// The key of the server's certificate, where no authority that this host trusts vouches for
    /// it: `sha256:…`, as whoever runs the server tells you.
    #[arg(long)]
    pub pin: Option<Pin>,
    /// Read the token from this file (mode 0600).
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Send jobs that name no cluster here.
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<ClusterName>,
    /// Allow http:// beyond this host, where others on the way can read the token.
    #[arg(long)]
    pub insecure: bool,
}
