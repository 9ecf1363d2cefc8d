//! The command line: what can be asked, and the help that teaches it.

mod db;
mod jobs;
mod login;
mod submit;
mod values;

pub use db::{DbArgs, DbCommand, DbPlace, DbPsql, DbRun, DbUpgrade, DbUrl};
pub use jobs::{
    CancelArgs, ClustersArgs, JobsArgs, LogsArgs, ShowArgs, Sort, StateFilter, WhoamiArgs,
};
pub use login::LoginArgs;
pub use submit::SubmitArgs;
pub use values::{JobRef, Variable};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit;

const EXAMPLES: &str = "\
Getting started:
  forebay login --url http://127.0.0.1:3001     asks for your token
  forebay submit --follow -- hostname           runs a program, prints its output
  forebay submit --time 1:00:00 job.sh          hands in a script, prints the job's id
  forebay jobs                                  your jobs
  forebay logs -f last                          the output of your newest job, as it comes

Environment:
  FOREBAY_URL          the server, before the one you signed in to
  FOREBAY_TOKEN_FILE   a file (mode 0600) with the token to use there
  FOREBAY_TOKEN        the token itself; a file is safer
  FOREBAY_CLUSTER      where jobs go that name no cluster
  FOREBAY_INSECURE=1   allow http:// beyond this host
  NO_COLOR             no colours";

/// Hands work to a cluster and shows what becomes of it.
#[derive(Debug, Parser)]
#[command(name = "forebay", version, max_term_width = 100, after_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
#[command(disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the command can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in: check a token and remember it.
    Login(LoginArgs),
    /// Forget the token.
    Logout,
    /// Say who the server takes you for.
    Whoami(WhoamiArgs),
    /// Hand in a job: a script, or a command after `--`.
    Submit(Box<SubmitArgs>),
    /// List your jobs, newest first.
    Jobs(JobsArgs),
    /// Show all that is known about a job.
    Show(ShowArgs),
    /// Print what a job printed.
    Logs(LogsArgs),
    /// Cancel jobs.
    Cancel(CancelArgs),
    /// List the clusters and how they are.
    Clusters(ClustersArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Run and upgrade Forebay's own Postgres, for installations without one.
    Db(DbArgs),
}

/// Options of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  forebay completions bash > ~/.local/share/bash-completion/completions/forebay
  forebay completions fish > ~/.config/fish/completions/forebay.fish
  forebay completions zsh  > ~/.zfunc/_forebay")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}
