//! `forebay db`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Options of `db`.
#[derive(Debug, Args)]
pub struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DbCommand,
}

/// What `db` can do.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Run the private Postgres in the foreground, with the databases of all services.
    Run(DbRun),
    /// Bring the private Postgres' data to a newer major version of Postgres.
    Upgrade(DbUpgrade),
    /// Print the URL under which a service reaches its database.
    Url(DbUrl),
    /// Open psql on a database.
    Psql(DbPsql),
}

/// Where the instance is.
#[derive(Clone, Debug, Args)]
pub struct DbPlace {
    /// Where its data is kept.
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where its socket is, if not in the state directory.
    #[arg(long, value_name = "DIR")]
    pub socket_dir: Option<PathBuf>,
}

/// Options of `db run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  forebay db run --state-dir ~/.local/state/forebay/db
  forebay db run --state-dir /var/lib/forebay/prod/db --run-as forebay

It listens on a unix socket only. It says on standard output when it is ready, tells systemd
where there is one, logs to standard error (FOREBAY_LOG sets how much: info), and ends in order
on SIGTERM or Ctrl-C. Accounts that may connect are the one it runs as, the one that started it
and those of --allow; the kernel says who they are, there are no passwords.")]
pub struct DbRun {
    /// Where it is.
    #[command(flatten)]
    pub place: DbPlace,
    /// Where Postgres' programs are, if not in one of the usual places.
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// When started by root: the account to run as. Postgres refuses to run as root.
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Another account whose services may connect; repeat it for several.
    #[arg(long, value_name = "USER")]
    pub allow: Vec<String>,
}

/// Options of `db upgrade`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  forebay db upgrade --state-dir /var/lib/forebay/prod/db --run-as forebay
  forebay db upgrade --state-dir DIR --old-bin-dir /usr/lib/postgresql/15/bin

Stop `forebay db run` first, and have the programs of both versions installed. The data is copied
by pg_upgrade into a new directory beside, which takes the old one's place at the very end: until
then, stopped or killed, the old one is as it was. It is kept as DIR/cluster/data.old-VERSION for
you to remove. Settings come along. Clients that follow feeds begin anew by themselves.")]
pub struct DbUpgrade {
    /// Where it is.
    #[command(flatten)]
    pub place: DbPlace,
    /// Where the programs of the data's version are, if not in one of the usual places.
    #[arg(long, value_name = "DIR")]
    pub old_bin_dir: Option<PathBuf>,
    /// Where the newer programs are; by default the newest found.
    #[arg(long, value_name = "DIR")]
    pub new_bin_dir: Option<PathBuf>,
    /// When started by root: the account that the database runs as.
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Share files with the old data instead of copying them: quick whatever the size, but the old
    /// data is of no use any more once the new server has run.
    #[arg(long)]
    pub link: bool,
    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `db url`.
#[derive(Clone, Debug, Args)]
pub struct DbUrl {
    /// Where it is.
    #[command(flatten)]
    pub place: DbPlace,
    /// The site's database instead of the central one.
    #[arg(long)]
    pub site: bool,
}

/// Options of `db psql`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  forebay db psql --state-dir DIR
  forebay db psql --state-dir DIR --site -- -c 'select count(*) from attempts'")]
pub struct DbPsql {
    /// Which database.
    #[command(flatten)]
    pub database: DbUrl,
    /// Where psql is, if not on the PATH.
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// For psql itself.
    #[arg(value_name = "ARG", last = true)]
    pub arguments: Vec<String>,
}
