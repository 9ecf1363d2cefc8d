//! The command line of `up`.

use super::scheduler::Wanted;

/// What `up --help` prints.
pub const USAGE: &str = "\
usage: forebay-testbed up [--once] [--scheduler slurm|local] [--log FILTER]

  --once                end after the sample job, with its exit code
  --scheduler slurm     a real Slurm or nothing
  --scheduler local     plain processes instead of Slurm
  --log FILTER          what the services log: debug, or forebay_agent=trace,info

Without --scheduler it is Slurm, and plain processes where Slurm cannot be had: it
needs root, because it runs jobs as their owners. FOREBAY_KEEP=1 leaves the files
behind.";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Args {
    pub(super) once: bool,
    pub(super) help: bool,
    /// `None`: Slurm if it can be had.
    pub(super) scheduler: Option<Wanted>,
    pub(super) log: String,
}

impl Args {
    /// Refuses what it does not know, with the words for it.
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut args = Self {
            once: false,
            help: false,
            scheduler: None,
            log: "info".to_owned(),
        };
        let mut words = words.iter().flat_map(|word| match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name, value],
            _ => vec![*word],
        });
        while let Some(word) = words.next() {
            match word {
                "--once" => args.once = true,
                "--help" | "-h" => args.help = true,
                "--scheduler" => {
                    args.scheduler = Some(match words.next() {
                        Some("slurm") => Wanted::Slurm,
                        Some("local") => Wanted::Local,
                        other => {
                            let got = other.unwrap_or("nothing");
                            return Err(format!("--scheduler is slurm or local, not {got}"));
                        }
                    });
                }
                "--log" => {
                    let filter = words.next().ok_or("--log needs a filter, such as debug")?;
                    filter.clone_into(&mut args.log);
                }
                other => return Err(format!("`{other}` is not known here\n{USAGE}")),
            }
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_both_forms() {
        let args = Args::parse(&["--scheduler", "local", "--once", "--log=debug"]).unwrap();
        let expected = Args {
            once: true,
            help: false,
            scheduler: Some(Wanted::Local),
            log: "debug".to_owned(),
        };
        assert_eq!(args, expected);
        let args = Args::parse(&["--scheduler=slurm"]).unwrap();
        assert_eq!((args.scheduler, args.once), (Some(Wanted::Slurm), false));
        assert_eq!(Args::parse(&[]).unwrap().scheduler, None);
        assert!(Args::parse(&["-h"]).unwrap().help);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for words in [
            vec!["--onec"],
            vec!["once"],
            vec!["--scheduler"],
            vec!["--scheduler", "pbs"],
            vec!["--log"],
        ] {
            assert!(Args::parse(&words).is_err(), "{words:?}");
        }
    }
}
