//! The common options, typed, and how they become arguments of `sbatch`.

use serde::{Deserialize, Serialize};

use crate::duration::TimeLimit;
use crate::options::{Directive, DirectiveError, parse_words};

/// What a job asks for. What is `None` is left to the script and to the cluster.
///
/// Texts are passed to `sbatch` as they are, one argument each, and must be neither empty nor
/// hold a newline or NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--job-name`, at most 1,024 bytes.
    pub job_name: Option<String>,
    /// `--partition`, one or several with commas.
    pub partition: Option<String>,
    /// `--account`.
    pub account: Option<String>,
    /// `--qos`.
    pub qos: Option<String>,
    /// `--nodes`.
    pub nodes: Option<NodeCount>,
    /// `--ntasks`.
    pub ntasks: Option<u32>,
    /// `--ntasks-per-node`.
    pub ntasks_per_node: Option<u32>,
    /// `--cpus-per-task`.
    pub cpus_per_task: Option<u32>,
    /// `--mem`, in MiB a node; 0 is all of it.
    pub mem_mib: Option<u64>,
    /// `--mem-per-cpu`, in MiB.
    pub mem_per_cpu_mib: Option<u64>,
    /// `--gpus`, such as `2` or `a100:2`.
    pub gpus: Option<String>,
    /// `--gres`, such as `gpu:2`.
    pub gres: Option<String>,
    /// `--time`.
    pub time_limit: Option<TimeLimit>,
    /// `--array`, such as `0-15%4`.
    pub array: Option<String>,
    /// `--dependency`, such as `afterok:123`.
    pub dependency: Option<String>,
    /// `--begin`, such as `2030-12-31T08:00:00` (the controller's time zone) or `now+2hours`.
    pub begin: Option<String>,
    /// `--constraint`.
    pub constraint: Option<String>,
    /// `--licenses`.
    pub licenses: Option<String>,
    /// `--reservation`.
    pub reservation: Option<String>,
    /// `--nodelist`.
    pub nodelist: Option<String>,
    /// `--exclude`.
    pub exclude: Option<String>,
    /// `--exclusive`, with an empty text for the plain form.
    pub exclusive: Option<String>,
    /// `--chdir`.
    pub chdir: Option<String>,
    /// `--input`.
    pub input: Option<String>,
    /// `--output`, a pattern (`%j`, `%A_%a`, …).
    pub output: Option<String>,
    /// `--error`, a pattern.
    pub error: Option<String>,
    /// `--open-mode`.
    pub open_mode: Option<OpenMode>,
    /// `--comment`, at most 1,024 bytes.
    pub comment: Option<String>,
    /// `--hold`: the job waits until it is released.
    pub hold: bool,
    /// `--export`, such as `ALL` or `NONE`.
    pub export: Option<String>,
    /// `--mail-type`.
    pub mail_type: Option<String>,
    /// `--mail-user`.
    pub mail_user: Option<String>,
    /// `--nice`.
    pub nice: Option<i32>,
    /// `--signal`, such as `B:USR1@60`.
    pub signal: Option<String>,
    /// `--requeue` or `--no-requeue`.
    pub requeue: Option<bool>,
    /// `--wckey`.
    pub wckey: Option<String>,
    /// Any other options, read by [`parse_directives`](crate::options::parse_directives). They
    /// stand before the fields above on the command line, which therefore win.
    pub extra: Vec<Directive>,
}

/// `--nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeCount {
    /// At least so many.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

impl From<u32> for NodeCount {
    fn from(count: u32) -> Self {
        Self {
            min: count,
            max: count,
        }
    }
}

/// `--open-mode`: what happens to an output file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenMode {
    /// Output is added to it.
    Append,
    /// It is emptied first.
    Truncate,
}

/// An option that is not sent, because it cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    /// A text is empty.
    #[error("--{option} is empty; give it a value or leave it out")]
    Empty {
        /// The option's long name.
        option: &'static str,
    },
    /// A text is longer than Slurm takes.
    #[error("--{option} has {bytes} bytes, {bytes_max} are allowed; shorten it")]
    TooLong {
        /// The option's long name.
        option: String,
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// A text holds a newline or NUL, or the option is refused.
    #[error("an option is not accepted")]
    Directive(#[source] DirectiveError),
}

impl Options {
    /// The options as arguments, each `--name` or `--name=value`.
    pub fn to_arguments(&self) -> Result<Vec<String>, InvalidOption> {
        let mut directives = Vec::new();
        // A quiet sbatch prints no id; what else it would print is kept out of sight anyway.
        directives.extend(
            self.extra
                .iter()
                .filter(|directive| directive.name() != "quiet")
                .cloned(),
        );
        for (name, value) in self.typed() {
            let optional = name == "exclusive";
            let word = match value {
                Some(value) if value.is_empty() && optional => format!("--{name}"),
                Some(value) if value.is_empty() => {
                    return Err(InvalidOption::Empty { option: name });
                }
                Some(value) => format!("--{name}={value}"),
                None => format!("--{name}"),
            };
            let found = parse_words(&[word], crate::options::Policy::strict())
                .map_err(|mut errors| InvalidOption::Directive(errors.swap_remove(0)))?;
            directives.extend(found);
        }
        for directive in &directives {
            let bytes_max = bytes_max(directive.name());
            let bytes = directive.value().map_or(0, str::len);
            if bytes > bytes_max {
                return Err(InvalidOption::TooLong {
                    option: directive.name().to_owned(),
                    bytes,
                    bytes_max,
                });
            }
        }
        Ok(directives.iter().map(Directive::to_argument).collect())
    }

    /// The typed options that are set, by long name.
    fn typed(&self) -> Vec<(&'static str, Option<String>)> {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let texts = [
            ("job-name", self.job_name.clone()),
            ("partition", self.partition.clone()),
            ("account", self.account.clone()),
            ("qos", self.qos.clone()),
            (
                "nodes",
                self.nodes.map(|NodeCount { min, max }| {
                    if min == max {
                        min.to_string()
                    } else {
                        format!("{min}-{max}")
                    }
                }),
            ),
            ("ntasks", number(self.ntasks)),
            ("ntasks-per-node", number(self.ntasks_per_node)),
            ("cpus-per-task", number(self.cpus_per_task)),
            ("mem", self.mem_mib.map(|mib| format!("{mib}M"))),
            (
                "mem-per-cpu",
                self.mem_per_cpu_mib.map(|mib| format!("{mib}M")),
            ),
            ("gpus", self.gpus.clone()),
            ("gres", self.gres.clone()),
            (
                "time",
                self.time_limit.and_then(|limit| match limit {
                    TimeLimit::Of(_) | TimeLimit::Unlimited => Some(limit.to_string()),
                    // The partition's own limit is what a job gets that names none.
                    TimeLimit::Partition | TimeLimit::Unknown => None,
                }),
            ),
            ("array", self.array.clone()),
            ("dependency", self.dependency.clone()),
            ("begin", self.begin.clone()),
            ("constraint", self.constraint.clone()),
            ("licenses", self.licenses.clone()),
            ("reservation", self.reservation.clone()),
            ("nodelist", self.nodelist.clone()),
            ("exclude", self.exclude.clone()),
            ("exclusive", self.exclusive.clone()),
            ("chdir", self.chdir.clone()),
            ("input", self.input.clone()),
            ("output", self.output.clone()),
            ("error", self.error.clone()),
            (
                "open-mode",
                self.open_mode.map(|mode| match mode {
                    OpenMode::Append => "append".to_owned(),
                    OpenMode::Truncate => "truncate".to_owned(),
                }),
            ),
            ("comment", self.comment.clone()),
            ("export", self.export.clone()),
            ("mail-type", self.mail_type.clone()),
            ("mail-user", self.mail_user.clone()),
            ("nice", self.nice.map(|nice| nice.to_string())),
            ("signal", self.signal.clone()),
            ("wckey", self.wckey.clone()),
        ];
        let mut set: Vec<_> = texts
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .collect();
        if self.hold {
            set.push(("hold", None));
        }
        match self.requeue {
            Some(true) => set.push(("requeue", None)),
            Some(false) => set.push(("no-requeue", None)),
            None => {}
        }
        set
    }
}

/// What `slurmctld` takes at most, in bytes.
fn bytes_max(option: &str) -> usize {
    match option {
        "chdir" | "input" | "output" | "error" | "array" => 4096,
        "bb" => 8 * 1024,
        "dependency" | "mem-bind" | "nodelist" | "exclude" | "export" => 128 * 1024,
        _ => 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_typed_option_is_one_argument() {
        let text = || Some("x".to_owned());
        let options = Options {
            job_name: Some("a|b \"c\" é".into()),
            partition: text(),
            account: text(),
            qos: text(),
            nodes: Some(NodeCount { min: 1, max: 3 }),
            ntasks: Some(4),
            ntasks_per_node: Some(2),
            cpus_per_task: Some(2),
            mem_mib: Some(512),
            mem_per_cpu_mib: Some(256),
            gpus: text(),
            gres: text(),
            time_limit: Some(TimeLimit::from_minutes(90)),
            array: Some("0-3%2".into()),
            dependency: text(),
            begin: text(),
            constraint: text(),
            licenses: text(),
            reservation: text(),
            nodelist: text(),
            exclude: text(),
            exclusive: Some(String::new()),
            chdir: text(),
            input: text(),
            output: text(),
            error: text(),
            open_mode: Some(OpenMode::Append),
            comment: Some("forebay:i:j user's own".into()),
            hold: true,
            export: text(),
            mail_type: text(),
            mail_user: text(),
            nice: Some(-5),
            signal: text(),
            requeue: Some(false),
            wckey: text(),
            extra: parse_words(
                &["-Q", "--nodes=9", "--stepmgr"],
                crate::options::Policy::strict(),
            )
            .unwrap(),
        };
        insta::assert_snapshot!("arguments", options.to_arguments().unwrap().join("\n"));
        assert!(Options::default().to_arguments().unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_right_is_not_sent() {
        let name = |job_name: &str| {
            Options {
                job_name: Some(job_name.into()),
                ..Options::default()
            }
            .to_arguments()
        };
        assert_eq!(name(""), Err(InvalidOption::Empty { option: "job-name" }));
        assert!(matches!(name("a\nb"), Err(InvalidOption::Directive(_))));
        assert!(matches!(name("a\0b"), Err(InvalidOption::Directive(_))));
        assert!(matches!(
            name(&"n".repeat(10_000)),
            Err(InvalidOption::TooLong {
                bytes: 10_000,
                bytes_max: 1024,
                ..
            })
        ));
        assert!(name(&"n".repeat(1024)).is_ok());
        // A value that looks like an option stays a value.
        assert_eq!(name("--uid=0").unwrap(), ["--job-name=--uid=0"]);
    }
}
