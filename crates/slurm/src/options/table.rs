//! Every option of `sbatch`, from release 22.05 to 26.05.
//!
//! Facts, not text, taken from each release's option table. An option whose argument changed
//! between releases has a row for each form.

use std::fmt;

/// A Slurm release, as `22.05`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    /// The year, counted from 2000.
    pub year: u16,
    /// The month.
    pub month: u16,
}

impl Release {
    /// The release of that year (counted from 2000) and month.
    pub const fn new(year: u16, month: u16) -> Self {
        Self { year, month }
    }

    /// Reads `22.05`, `22.05.8`, `slurm 24.11.5` and the like.
    pub fn parse(text: &str) -> Option<Self> {
        let version = text.split_whitespace().next_back()?;
        let mut parts = version.split(['.', '-']);
        let (year, month) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { year, month })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}.{:02}", self.year, self.month)
    }
}

/// Whether an option takes an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Argument {
    /// It takes none; `--hold=1` is an error.
    None,
    /// It needs one: `--nodes=2`, `--nodes 2`, `-N2`, `-N 2`.
    Required,
    /// It may have one, which must be attached: `--exclusive=user`.
    Optional,
}

/// One option of `sbatch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OptionSpec {
    /// The long name, without dashes.
    pub long: &'static str,
    /// The letter, where it has one.
    pub short: Option<char>,
    /// Its argument.
    pub argument: Argument,
    /// The first release (from 22.05) that has it in this form.
    pub since: Release,
    /// The last release that has it in this form; `None`: 26.05 still does.
    pub until: Option<Release>,
}

impl OptionSpec {
    /// Whether that release has the option in this form.
    pub fn is_in(&self, release: Release) -> bool {
        self.since <= release.max(R2205) && self.until.is_none_or(|until| release <= until)
    }
}

const R2205: Release = Release::new(22, 5);

const fn row(
    long: &'static str,
    short: Option<char>,
    argument: Argument,
    since: Release,
    until: Option<Release>,
) -> OptionSpec {
    OptionSpec {
        long,
        short,
        argument,
        since,
        until,
    }
}

/// The table, sorted by long name.
pub static OPTIONS: &[OptionSpec] = &[
    row("account", Some('A'), Argument::Required, R2205, None),
    row("acctg-freq", None, Argument::Required, R2205, None),
    row("array", Some('a'), Argument::Required, R2205, None),
    row(
        "autocomplete",
        None,
        Argument::Required,
        Release::new(23, 2),
        None,
    ),
    row("batch", None, Argument::Required, R2205, None),
    row("bb", None, Argument::Required, R2205, None),
    row("bbf", None, Argument::Required, R2205, None),
    row("begin", Some('b'), Argument::Required, R2205, None),
    row("chdir", Some('D'), Argument::Required, R2205, None),
    row("cluster", None, Argument::Required, R2205, None),
    row("cluster-constraint", None, Argument::Required, R2205, None),
    row("clusters", Some('M'), Argument::Required, R2205, None),
    row("comment", None, Argument::Required, R2205, None),
    row(
        "consolidate-segments",
        None,
        Argument::None,
        Release::new(25, 11),
        None,
    ),
    row("constraint", Some('C'), Argument::Required, R2205, None),
    row("container", None, Argument::Required, R2205, None),
    row(
        "container-id",
        None,
        Argument::Required,
        Release::new(23, 2),
        None,
    ),
    row(
        "container-type",
        None,
        Argument::Required,
        Release::new(26, 5),
        None,
    ),
    row("context", None, Argument::Required, R2205, None),
    row("contiguous", None, Argument::None, R2205, None),
    row("core-spec", Some('S'), Argument::Required, R2205, None),
    row("cores-per-socket", None, Argument::Required, R2205, None),
    row("cpu-freq", None, Argument::Required, R2205, None),
    row("cpus-per-gpu", None, Argument::Required, R2205, None),
    row("cpus-per-task", Some('c'), Argument::Required, R2205, None),
    row("deadline", None, Argument::Required, R2205, None),
    row("delay-boot", None, Argument::Required, R2205, None),
    row("dependency", Some('d'), Argument::Required, R2205, None),
    row("distribution", Some('m'), Argument::Required, R2205, None),
    row("error", Some('e'), Argument::Required, R2205, None),
    row("exclude", Some('x'), Argument::Required, R2205, None),
    row("exclusive", None, Argument::Optional, R2205, None),
    row("export", None, Argument::Required, R2205, None),
    row("export-file", None, Argument::Required, R2205, None),
    row("external", None, Argument::None, Release::new(25, 5), None),
    row("extra", None, Argument::Required, Release::new(23, 2), None),
    row(
        "extra-node-info",
        Some('B'),
        Argument::Required,
        R2205,
        None,
    ),
    row(
        "get-user-env",
        None,
        Argument::Optional,
        R2205,
        Some(Release::new(24, 11)),
    ),
    row(
        "get-user-env",
        None,
        Argument::None,
        Release::new(25, 5),
        None,
    ),
    row("gid", None, Argument::Required, R2205, None),
    row("gpu-bind", None, Argument::Required, R2205, None),
    row("gpu-freq", None, Argument::Required, R2205, None),
    row("gpus", Some('G'), Argument::Required, R2205, None),
    row("gpus-per-node", None, Argument::Required, R2205, None),
    row("gpus-per-socket", None, Argument::Required, R2205, None),
    row("gpus-per-task", None, Argument::Required, R2205, None),
    row("gres", None, Argument::Required, R2205, None),
    row("gres-flags", None, Argument::Required, R2205, None),
    row("help", Some('h'), Argument::None, R2205, None),
    row("hint", None, Argument::Required, R2205, None),
    row("hold", Some('H'), Argument::None, R2205, None),
    row("ignore-pbs", None, Argument::None, R2205, None),
    row("input", Some('i'), Argument::Required, R2205, None),
    row("job-name", Some('J'), Argument::Required, R2205, None),
    row("kill-on-invalid-dep", None, Argument::Required, R2205, None),
    row("licenses", Some('L'), Argument::Required, R2205, None),
    row("mail-type", None, Argument::Required, R2205, None),
    row("mail-user", None, Argument::Required, R2205, None),
    row("mcs-label", None, Argument::Required, R2205, None),
    row("mem", None, Argument::Required, R2205, None),
    row("mem-bind", None, Argument::Required, R2205, None),
    row("mem-per-cpu", None, Argument::Required, R2205, None),
    row("mem-per-gpu", None, Argument::Required, R2205, None),
    row(
        "mem-update",
        None,
        Argument::Required,
        Release::new(26, 5),
        None,
    ),
    row("mincpus", None, Argument::Required, R2205, None),
    row("network", None, Argument::Required, R2205, None),
    row("nice", None, Argument::Optional, R2205, None),
    row("no-kill", Some('k'), Argument::Optional, R2205, None),
    row("no-requeue", None, Argument::None, R2205, None),
    row("nodefile", Some('F'), Argument::Required, R2205, None),
    row("nodelist", Some('w'), Argument::Required, R2205, None),
    row("nodes", Some('N'), Argument::Required, R2205, None),
    row("ntasks", Some('n'), Argument::Required, R2205, None),
    row("ntasks-per-core", None, Argument::Required, R2205, None),
    row("ntasks-per-gpu", None, Argument::Required, R2205, None),
    row("ntasks-per-node", None, Argument::Required, R2205, None),
    row("ntasks-per-socket", None, Argument::Required, R2205, None),
    row("ntasks-per-tres", None, Argument::Required, R2205, None),
    row(
        "oom-kill-step",
        None,
        Argument::Optional,
        Release::new(24, 11),
        None,
    ),
    row("open-mode", None, Argument::Required, R2205, None),
    row("output", Some('o'), Argument::Required, R2205, None),
    row("overcommit", Some('O'), Argument::None, R2205, None),
    row("oversubscribe", Some('s'), Argument::None, R2205, None),
    row("parsable", None, Argument::None, R2205, None),
    row("partition", Some('p'), Argument::Required, R2205, None),
    row(
        "power",
        None,
        Argument::Required,
        R2205,
        Some(Release::new(23, 11)),
    ),
    row("prefer", None, Argument::Required, R2205, None),
    row("priority", None, Argument::Required, R2205, None),
    row("profile", None, Argument::Required, R2205, None),
    row("propagate", None, Argument::Optional, R2205, None),
    row("qos", Some('q'), Argument::Required, R2205, None),
    row("quiet", Some('Q'), Argument::None, R2205, None),
    row("reboot", None, Argument::None, R2205, None),
    row(
        "requeue",
        None,
        Argument::None,
        R2205,
        Some(Release::new(25, 5)),
    ),
    row(
        "requeue",
        None,
        Argument::Optional,
        Release::new(25, 11),
        None,
    ),
    row("reservation", None, Argument::Required, R2205, None),
    row(
        "resources",
        None,
        Argument::Required,
        Release::new(25, 11),
        None,
    ),
    row(
        "resv-ports",
        None,
        Argument::Optional,
        Release::new(24, 5),
        None,
    ),
    row(
        "segment",
        None,
        Argument::Required,
        Release::new(24, 5),
        None,
    ),
    row("signal", None, Argument::Required, R2205, None),
    row("sockets-per-node", None, Argument::Required, R2205, None),
    row("spread-job", None, Argument::None, R2205, None),
    row(
        "spread-segments",
        None,
        Argument::None,
        Release::new(25, 11),
        None,
    ),
    row("stepmgr", None, Argument::None, Release::new(24, 5), None),
    row("switches", None, Argument::Required, R2205, None),
    row("tasks-per-node", None, Argument::Required, R2205, None),
    row("test-only", None, Argument::None, R2205, None),
    row("thread-spec", None, Argument::Required, R2205, None),
    row("threads-per-core", None, Argument::Required, R2205, None),
    row("time", Some('t'), Argument::Required, R2205, None),
    row("time-min", None, Argument::Required, R2205, None),
    row("tmp", None, Argument::Required, R2205, None),
    row(
        "tres-bind",
        None,
        Argument::Required,
        Release::new(23, 11),
        None,
    ),
    row(
        "tres-per-task",
        None,
        Argument::Required,
        Release::new(23, 2),
        None,
    ),
    row("uid", None, Argument::Required, R2205, None),
    row("usage", None, Argument::None, R2205, None),
    row("use-min-nodes", None, Argument::None, R2205, None),
    row("verbose", Some('v'), Argument::None, R2205, None),
    row("version", Some('V'), Argument::None, R2205, None),
    row("wait", Some('W'), Argument::None, R2205, None),
    row("wait-all-nodes", None, Argument::Required, R2205, None),
    row("wckey", None, Argument::Required, R2205, None),
    row("wrap", None, Argument::Required, R2205, None),
];
