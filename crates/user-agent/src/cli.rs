//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::shim::{ExecArgs, ShimArgs};

/// The part of Forebay that runs as the user: it submits with the user's own identity, reads the
/// user's logs, and runs the user's processes, for the agent alone.
#[derive(Debug, Parser)]
#[command(name = "forebay-user-agent", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the agent on a unix socket until nobody has called for a while
    #[command(long_about = SERVE, after_help = EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Hold and run one job of the `local` integration (`serve` starts these)
    #[command(long_about = SHIM)]
    Shim(ShimArgs),
    /// Become a job's script (shims start these)
    #[command(hide = true)]
    ShimExec(ExecArgs),
}

const SERVE: &str = "\
Serve the agent on a unix socket until nobody has called for a while.

It runs as an ordinary user, never as root, and holds no keys. Only the uid given by --agent-uid \
and the user's own may call; the kernel says who calls. It keeps the user's jobs in \
~/.local/state/forebay/<environment>/jobs/<job>/ and runs sbatch, squeue, sacct, scancel, scontrol \
and sinfo, and no other program, but for scripts of the `local` integration.

Nothing of the environment that it is started with reaches what it runs.

The agent starts it and calls it; by hand it is useful only to look at it.";

const SHIM: &str = "\
Hold and run one job of the `local` integration.

`forebay-user-agent serve` starts one such process a job, with the record's lock as standard \
input. It outlives the user-agent: it waits until the job is released, runs the script, ends it at \
its time limit (SIGTERM, 5 s later SIGKILL) or when asked, and writes how it ended to \
status.json in the record. SIGTERM to it ends the job; SIGKILL leaves no record of the end.";

const EXAMPLES: &str = "\
Examples:
  Try it by hand, as yourself:
    forebay-user-agent serve --socket /tmp/me.sock --environment try --idle-exit 5m
    curl --unix-socket /tmp/me.sock http://localhost/v1/hello

  As the agent's starter does, with a socket it has bound as descriptor 3:
    forebay-user-agent serve --listen-fd 3 --agent-uid 997 --environment prod";

/// The command line of `serve`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["socket", "listen_fd"]))]
pub struct ServeArgs {
    /// Make a socket here and remove it at the end; one that nobody serves is replaced
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub socket: Option<PathBuf>,
    /// Serve a socket that the starter has bound, open as this descriptor
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(0..))]
    pub listen_fd: Option<i32>,
    /// The uid of the agent, which may call besides the user's own
    #[arg(long, value_name = "UID", value_parser = uid)]
    pub agent_uid: Option<u32>,
    /// The environment whose jobs these are, such as prod
    #[arg(long, value_name = "NAME", default_value = "dev", value_parser = environment)]
    pub environment: String,
    /// Keep the jobs below this directory instead of ~/.local/state/forebay
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub state_dir: Option<PathBuf>,
    /// Where sbatch and the others are; the search path if absent
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub bin_dir: Option<PathBuf>,
    /// `SLURM_CONF` of what is run; Slurm's own default if absent
    #[arg(long, value_name = "PATH", value_parser = absolute)]
    pub slurm_conf: Option<PathBuf>,
    /// End after so long without a call: 90s, 15m, 2h; 0 for never
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = duration)]
    pub idle_exit: Duration,
    /// What to log, to standard error: a level, or target=level,…
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Log JSON lines
    #[arg(long)]
    pub log_json: bool,
}

fn uid(text: &str) -> Result<u32, String> {
    match text.parse() {
        // What the kernel says of a uid it cannot name in this user namespace, and "none".
        Ok(65_534 | u32::MAX) => {
            Err("this uid stands for accounts that the kernel cannot name".to_owned())
        }
        Ok(uid) => Ok(uid),
        Err(_) => Err("a uid is a number".to_owned()),
    }
}

fn environment(text: &str) -> Result<String, String> {
    // The same form as other names that operators choose; it becomes the name of a directory.
    let name = text
        .parse::<forebay_wire::SiteName>()
        .map_err(|error| error.to_string())?;
    Ok(name.to_string())
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err("this must be an absolute path".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[number.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("a duration is a number with s, m or h".to_owned()),
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "a duration is a number with s, m or h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in [
            "",
            "m",
            "-1",
            "1d",
            "1.5h",
            "99999999999999999999",
            "1 m",
            "18446744073709551615h",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parse = |args: &[&str]| {
            Cli::try_parse_from(["forebay-user-agent", "serve"].iter().chain(args)).map(drop)
        };
        assert!(parse(&["--socket", "/x"]).is_ok());
        assert!(parse(&["--listen-fd", "3", "--agent-uid", "997"]).is_ok());
        for bad in [
            &[][..],
            &["--socket", "relative"],
            &["--socket", "/x", "--listen-fd", "3"],
            &["--listen-fd", "-1"],
            &["--socket", "/x", "--agent-uid", "65534"],
            &["--socket", "/x", "--environment", "../up"],
            &["--socket", "/x", "--environment", ""],
            &["--socket", "/x", "--state-dir", "relative"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
