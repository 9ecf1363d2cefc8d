//! Batch scripts: checking a user's, reading its `#SBATCH` lines as `sbatch` does, and writing
//! one for a command.

mod effective;
mod lines;
mod quote;

use std::fmt;

pub(crate) use effective::option_of_variable;
pub use effective::{Effective, Source, effective};
pub use lines::{LineProblem, split_line};
pub use quote::{quote, quote_command};

use crate::options::{Directive, DirectiveError, DirectiveProblem, Policy, parse_located};

/// What `slurmctld` takes at most unless configured otherwise (`max_script_size`): 4 MiB.
pub const SCRIPT_BYTES_MAX: usize = 4 << 20;

/// A batch script that `sbatch` will take, with the options its `#SBATCH` lines set.
///
/// ```
/// use forebay_slurm::options::Policy;
/// use forebay_slurm::script::BatchScript;
///
/// let script = BatchScript::parse(b"#!/bin/sh\n#SBATCH -N 2\nhostname\n".to_vec(), Policy::script())?;
/// assert_eq!(script.directives()[0].to_argument(), "--nodes=2");
///
/// let script = BatchScript::for_command(&["printf", "%s\n", "it's"])?;
/// assert_eq!(script.as_bytes(), b"#!/bin/sh\n'printf' '%s\n' 'it'\\''s'\n");
/// # Ok::<(), forebay_slurm::script::ScriptError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchScript {
    text: Vec<u8>,
    directives: Vec<Directive>,
    foreign: Vec<u32>,
}

/// Why a script is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptError {
    /// It has no text, or only whitespace.
    Empty,
    /// It does not begin with `#!`.
    NoInterpreter,
    /// It holds a NUL byte, at this offset.
    Nul(usize),
    /// It has DOS line breaks; this is the first line with one, counted from 1.
    DosLineBreaks(u32),
    /// It is larger than allowed.
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The command to be written into a script is empty or holds a NUL.
    BadCommand,
    /// Its `#SBATCH` lines; at least one.
    Directives(Vec<DirectiveError>),
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the script is empty; write `#!/bin/sh` and the commands to run"),
            Self::NoInterpreter => f.write_str(
                "the script's first line names no interpreter; begin it with `#!` and a path, such as `#!/bin/bash`",
            ),
            Self::Nul(offset) => write!(f, "the script holds a NUL byte at offset {offset}; send text"),
            Self::DosLineBreaks(line) => {
                write!(f, "line {line} ends with a DOS line break; convert the script with `dos2unix`")
            }
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "the script has {bytes} bytes, {bytes_max} are allowed; keep data in files")
            }
            Self::BadCommand => f.write_str("the command is empty or holds a NUL byte"),
            Self::Directives(errors) => {
                for (position, error) in errors.iter().enumerate() {
                    if position > 0 {
                        f.write_str("; ")?;
                    }
                    write!(f, "{error}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ScriptError {}

impl BatchScript {
    /// Checks a script as `sbatch` and `slurmctld` do, with the default size limit, and reads
    /// its `#SBATCH` lines under that policy.
    pub fn parse(text: Vec<u8>, policy: Policy) -> Result<Self, ScriptError> {
        Self::parse_within(text, policy, SCRIPT_BYTES_MAX)
    }

    /// The same with a size limit of the caller's, in bytes.
    pub fn parse_within(
        text: Vec<u8>,
        policy: Policy,
        bytes_max: usize,
    ) -> Result<Self, ScriptError> {
        if text.len() > bytes_max {
            return Err(ScriptError::TooLarge {
                bytes: text.len(),
                bytes_max,
            });
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(ScriptError::Empty);
        }
        if !text.starts_with(b"#!") {
            return Err(ScriptError::NoInterpreter);
        }
        if let Some(offset) = text.iter().position(|byte| *byte == 0) {
            return Err(ScriptError::Nul(offset));
        }
        if let Some(offset) = text.windows(2).position(|pair| pair == b"\r\n") {
            let before = text[..offset].split(|byte| *byte == b'\n').count();
            return Err(ScriptError::DosLineBreaks(
                u32::try_from(before).unwrap_or(u32::MAX),
            ));
        }
        let scan = lines::scan(&text);
        let mut errors: Vec<DirectiveError> = scan
            .broken
            .into_iter()
            .map(|(line, written, problem)| DirectiveError {
                line: Some(line),
                written,
                problem: DirectiveProblem::Line(problem),
            })
            .collect();
        let mut directives = Vec::new();
        // Each component of a heterogeneous job is read by itself, as sbatch does.
        for component in scan.components {
            let words = component
                .into_iter()
                .map(|(line, word)| (Some(line), word))
                .collect();
            let (found, more) = parse_located(words, policy);
            directives.extend(found);
            errors.extend(more);
        }
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.line);
            return Err(ScriptError::Directives(errors));
        }
        Ok(Self {
            text,
            directives,
            foreign: scan.foreign,
        })
    }

    /// A script of `/bin/sh` that runs this command and ends with its exit code. Every argument
    /// arrives unchanged, whatever it holds, but for NUL, which no argument can hold.
    pub fn for_command<S: AsRef<str>>(command: &[S]) -> Result<Self, ScriptError> {
        Self::for_command_with(command, &[])
    }

    /// The same with `#SBATCH` lines for these directives. A value with a newline cannot be
    /// written there; give it on the command line.
    pub fn for_command_with<S: AsRef<str>>(
        command: &[S],
        directives: &[Directive],
    ) -> Result<Self, ScriptError> {
        if command.is_empty() || command.iter().any(|word| word.as_ref().contains('\0')) {
            return Err(ScriptError::BadCommand);
        }
        let mut text = String::from("#!/bin/sh\n");
        for directive in directives {
            text.push_str("#SBATCH ");
            text.push_str(&quote::quote_directive(&directive.to_argument()));
            text.push('\n');
        }
        text.push_str(&quote_command(command));
        text.push('\n');
        // Read back like any other script, so that its directives know their lines.
        Self::parse(text.into_bytes(), Policy::script())
    }

    /// The text, as `sbatch` will read it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The text, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text
    }

    /// What its `#SBATCH` lines set, in order, names in full.
    pub fn directives(&self) -> &[Directive] {
        &self.directives
    }

    /// The last value that its `#SBATCH` lines give this option (its full long name): the one
    /// that holds, unless the environment or the command line says otherwise.
    pub fn directive(&self, name: &str) -> Option<&Directive> {
        self.directives
            .iter()
            .rev()
            .find(|directive| directive.name() == name)
    }

    /// Lines with `#PBS` or `#BSUB`, counted from 1. `sbatch` translates them after the
    /// `#SBATCH` lines, unless `--ignore-pbs` is given; none of them can set a refused option.
    pub fn foreign_lines(&self) -> &[u32] {
        &self.foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<BatchScript, ScriptError> {
        BatchScript::parse(text.as_bytes().to_vec(), Policy::script())
    }

    fn arguments(text: &str) -> Vec<String> {
        parse(text)
            .unwrap()
            .directives()
            .iter()
            .map(Directive::to_argument)
            .collect()
    }

    #[test]
    fn sbatch_lines_are_read_until_the_first_command() {
        let text = "#!/bin/bash\n\n# a comment\n#SBATCH -N 2 --time=5 # why\n##SBATCH --hold\n #SBATCH --hold\n\
                    #SBATCH--mem=1G\n#SLURM -J old\n#PBS -N pbs\n  \necho\n#SBATCH --uid=0\n#PBS -x\n";
        assert_eq!(
            arguments(text),
            ["--nodes=2", "--time=5", "--mem=1G", "--job-name=old"]
        );
        assert_eq!(parse(text).unwrap().foreign_lines(), [9, 13]);
    }

    #[test]
    fn quotes_follow_sbatch() {
        assert_eq!(
            arguments(
                "#!/bin/sh\n#SBATCH --comment=\"a b # c\" -J 'x y'\n#SBATCH --comment=a\\\"b\n#SBATCH -J a\"b c\"d\n"
            ),
            [
                "--comment=a b # c",
                "--job-name=x y",
                "--comment=a\"b",
                "--job-name=ab cd"
            ]
        );
        // An option and its value may stand on two lines: sbatch reads one stream of words.
        assert_eq!(
            arguments("#!/bin/sh\n#SBATCH -N\n#SBATCH 3\n"),
            ["--nodes=3"]
        );
        // A `#` in a word begins a comment, a word that is nothing but quotes ends the line.
        assert_eq!(
            arguments("#!/bin/sh\n#SBATCH -J foo#bar --hold\n"),
            ["--job-name=foo"]
        );
        assert_eq!(
            arguments("#!/bin/sh\n#SBATCH --hold \"\" --zork\n"),
            ["--hold"]
        );
    }

    #[test]
    fn components_of_a_heterogeneous_job_are_all_checked() {
        let text =
            "#!/bin/sh\n#SBATCH -N1\n#SBATCH hetjob\n#SBATCH -N2\n#SBATCH packjob\n#SBATCH -N3\n";
        assert_eq!(arguments(text), ["--nodes=1", "--nodes=2", "--nodes=3"]);
        let error = parse("#!/bin/sh\n#SBATCH hetjob\n#SBATCH --uid=0\n").unwrap_err();
        assert!(
            error.to_string().starts_with("line 3: `--uid=0`"),
            "{error}"
        );
    }

    #[test]
    fn refusals_say_where_and_what() {
        let errors: Vec<String> = [
            "",
            " \n",
            "echo\n",
            "#!/bin/sh\n\0",
            "#!/bin/sh\necho\r\n",
            "#!/bin/sh\n#SBATCH --wait\n#SBATCH -N1\n#SBATCH --gi=0\n",
            "#!/bin/sh\n#SBATCH -J \"open\n",
            "#!/bin/sh\n#SBATCH : -n1\n",
            "#!/bin/sh\n#SBATCH foo\n",
            "#!/bin/sh\n#SBATCH -J a\\ b\n",
        ]
        .iter()
        .map(|text| parse(text).unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!("refusals", errors.join("\n"));
        assert!(matches!(
            BatchScript::parse_within(b"#!/bin/sh\n".to_vec(), Policy::script(), 5),
            Err(ScriptError::TooLarge {
                bytes: 10,
                bytes_max: 5
            })
        ));
    }

    #[test]
    fn a_command_gets_a_script() {
        let directives = [
            Directive::new("nodes", Some("2")).unwrap(),
            Directive::new("comment", Some("it's # \"quoted\" \\ and 'more'")).unwrap(),
        ];
        let script = BatchScript::for_command_with(&["echo", "$HOME"], &directives).unwrap();
        let read: Vec<String> = script
            .directives()
            .iter()
            .map(Directive::to_argument)
            .collect();
        assert_eq!(
            read,
            directives
                .iter()
                .map(Directive::to_argument)
                .collect::<Vec<_>>()
        );
        assert!(BatchScript::for_command::<&str>(&[]).is_err());
        assert!(BatchScript::for_command(&["a\0"]).is_err());
    }

    #[test]
    fn an_argument_cannot_become_a_directive() {
        let script =
            BatchScript::for_command(&["echo", "a\n#SBATCH --hold\n#PBS -N x\r\n#BSUB -J y"])
                .unwrap();
        assert!(script.directives().is_empty());
        assert!(script.foreign_lines().is_empty());
    }

    proptest! {
        #[test]
        fn any_directive_survives_its_line(value in "[^\n\r\0]{1,40}") {
            let directive = Directive::new("comment", Some(&value)).unwrap();
            let script = BatchScript::for_command_with(&["true"], std::slice::from_ref(&directive)).unwrap();
            prop_assert_eq!(script.directives()[0].value(), Some(value.as_str()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = b"#!/bin/sh\n#SBATCH ".to_vec();
            text.extend(bytes);
            let _ = BatchScript::parse(text, Policy::script());
        }
    }
}
