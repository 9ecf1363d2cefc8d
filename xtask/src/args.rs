//! The words after `cargo xtask`, taken one by one.

use anyhow::{Result, bail};

/// Words not yet taken. A sub-command takes what it knows and then calls
/// [`Args::finish`], so that a mistyped option is an error and not ignored.
pub(crate) struct Args {
    words: Vec<String>,
    /// What stood after `--`; `None` when there was no `--`.
    rest: Option<Vec<String>>,
}

impl Args {
    pub(crate) fn new(mut words: Vec<String>) -> Self {
        let rest = words.iter().position(|word| word == "--").map(|at| {
            let rest = words.split_off(at + 1);
            words.pop();
            rest
        });
        Self { words, rest }
    }

    /// Takes the first word that is left, whatever it is.
    pub(crate) fn word(&mut self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.remove(0))
    }

    /// Whether `--help` or `-h` is among the words before `--`.
    pub(crate) fn asks_help(&self) -> bool {
        self.words
            .iter()
            .any(|word| word == "--help" || word == "-h")
    }

    /// Takes `--name`; says whether it was there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// Takes `--name VALUE` or `--name=VALUE`.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.words.iter().position(|word| {
            word.strip_prefix(name)
                .is_some_and(|tail| tail.is_empty() || tail.starts_with('='))
        }) else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        if let Some((_, value)) = word.split_once('=') {
            return Ok(Some(value.to_owned()));
        }
        match self.words.get(at) {
            Some(next) if !next.starts_with("--") => Ok(Some(self.words.remove(at))),
            _ => bail!("`{name}` needs a value"),
        }
    }

    /// Takes all words that are left and are no options.
    pub(crate) fn positional(&mut self) -> Vec<String> {
        let (options, words) = std::mem::take(&mut self.words)
            .into_iter()
            .partition(|word| word.starts_with('-'));
        self.words = options;
        words
    }

    /// Takes everything but a `--`, to hand it to another program.
    pub(crate) fn all(self) -> Vec<String> {
        [self.words, self.rest.unwrap_or_default()].concat()
    }

    /// Takes what stood after `--`.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        self.rest.take().unwrap_or_default()
    }

    /// Refuses whatever nobody took.
    pub(crate) fn finish(mut self) -> Result<()> {
        let left = self.words.first().cloned().or_else(|| {
            let rest = self.rest.take()?;
            Some(format!("-- {}", rest.join(" ")))
        });
        match left {
            Some(word) => bail!(
                "`{}` is not known here; `--help` says what is",
                word.trim_end()
            ),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::new(line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn takes_flags_values_and_words_in_any_order() {
        let mut args = args("wire --long --slurm 24.11 http --jobs=3 -- --exact name");
        assert!(args.flag("--long"));
        assert_eq!(args.value("--slurm").unwrap().as_deref(), Some("24.11"));
        assert_eq!(args.value("--jobs").unwrap().as_deref(), Some("3"));
        assert_eq!(args.positional(), ["wire", "http"]);
        assert_eq!(args.rest(), ["--exact", "name"]);
        args.finish().unwrap();
    }

    #[test]
    fn refuses_what_nobody_took_and_missing_values() {
        let refused = |line| args(line).finish().map_err(|e| e.to_string());
        assert!(refused("--lnog").unwrap_err().contains("`--lnog`"));
        assert!(refused("--").is_err(), "a bare `--` is not ignored either");
        assert!(args("--slurm --long").value("--slurm").is_err());
        assert_eq!(args("--slurmy x").value("--slurm").unwrap(), None);
    }

    #[test]
    fn help_after_the_dashes_is_not_ours() {
        assert!(args("up --help").asks_help());
        assert!(!args("up -- --help").asks_help());
        assert_eq!(
            args("up --once -- --help").all(),
            ["up", "--once", "--help"]
        );
    }
}
