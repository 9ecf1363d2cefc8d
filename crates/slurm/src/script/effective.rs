//! Which value of an option holds when several places set it.

use std::collections::BTreeMap;

use crate::options::Directive;

/// Where a value came from, the strongest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A `#SBATCH` line.
    Script,
    /// A variable in the environment of `sbatch`.
    Environment,
    /// `sbatch`'s command line.
    CommandLine,
}

/// The value that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The value; `None` for an option without one.
    pub value: Option<String>,
    /// Who set it.
    pub source: Source,
}

/// Merges what the three places say, by `sbatch`'s own precedence: the command line wins over
/// the environment, and the environment over the script. Within one place the last wins.
///
/// Keys are long names. Only variables that set an option are read from the environment.
pub fn effective<'a>(
    command_line: &'a [Directive],
    environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    script: &'a [Directive],
) -> BTreeMap<String, Effective> {
    let mut merged = BTreeMap::new();
    let mut set = |name: &str, value: Option<&str>, source| {
        merged.insert(
            name.to_owned(),
            Effective {
                value: value.map(str::to_owned),
                source,
            },
        );
    };
    for directive in script {
        set(directive.name(), directive.value(), Source::Script);
    }
    for (variable, value) in environment {
        if let Some(name) = option_of_variable(variable) {
            set(name, Some(value), Source::Environment);
        }
    }
    for directive in command_line {
        set(directive.name(), directive.value(), Source::CommandLine);
    }
    merged
}

/// The option that a variable in `sbatch`'s environment sets.
pub(crate) fn option_of_variable(variable: &str) -> Option<&'static str> {
    VARIABLES
        .iter()
        .find(|(name, _)| *name == variable)
        .map(|(_, option)| *option)
}

const VARIABLES: &[(&str, &str)] = &[
    ("SBATCH_ACCOUNT", "account"),
    ("SBATCH_ACCTG_FREQ", "acctg-freq"),
    ("SBATCH_ARRAY_INX", "array"),
    ("SBATCH_BATCH", "batch"),
    ("SBATCH_BURST_BUFFER", "bb"),
    ("SBATCH_CLUSTERS", "clusters"),
    ("SBATCH_CLUSTER_CONSTRAINT", "cluster-constraint"),
    ("SBATCH_CONSOLIDATE_SEGMENTS", "consolidate-segments"),
    ("SBATCH_CONSTRAINT", "constraint"),
    ("SBATCH_CONTAINER", "container"),
    ("SBATCH_CONTAINER_ID", "container-id"),
    ("SBATCH_CORE_SPEC", "core-spec"),
    ("SBATCH_CPUS_PER_GPU", "cpus-per-gpu"),
    ("SBATCH_CPU_FREQ_REQ", "cpu-freq"),
    ("SBATCH_DEBUG", "verbose"),
    ("SBATCH_DELAY_BOOT", "delay-boot"),
    ("SBATCH_DISTRIBUTION", "distribution"),
    ("SBATCH_ERROR", "error"),
    ("SBATCH_EXCLUSIVE", "exclusive"),
    ("SBATCH_EXPORT", "export"),
    ("SBATCH_GET_USER_ENV", "get-user-env"),
    ("SBATCH_GPUS", "gpus"),
    ("SBATCH_GPUS_PER_NODE", "gpus-per-node"),
    ("SBATCH_GPUS_PER_SOCKET", "gpus-per-socket"),
    ("SBATCH_GPUS_PER_TASK", "gpus-per-task"),
    ("SBATCH_GPU_BIND", "gpu-bind"),
    ("SBATCH_GPU_FREQ", "gpu-freq"),
    ("SBATCH_GRES", "gres"),
    ("SBATCH_GRES_FLAGS", "gres-flags"),
    ("SBATCH_HINT", "hint"),
    ("SBATCH_IGNORE_PBS", "ignore-pbs"),
    ("SBATCH_INPUT", "input"),
    ("SBATCH_JOB_NAME", "job-name"),
    ("SBATCH_MEM_BIND", "mem-bind"),
    ("SBATCH_MEM_PER_CPU", "mem-per-cpu"),
    ("SBATCH_MEM_PER_GPU", "mem-per-gpu"),
    ("SBATCH_MEM_PER_NODE", "mem"),
    ("SBATCH_NETWORK", "network"),
    ("SBATCH_NO_KILL", "no-kill"),
    ("SBATCH_NO_REQUEUE", "no-requeue"),
    ("SBATCH_OPEN_MODE", "open-mode"),
    ("SBATCH_OUTPUT", "output"),
    ("SBATCH_OVERCOMMIT", "overcommit"),
    ("SBATCH_PARTITION", "partition"),
    ("SBATCH_POWER", "power"),
    ("SBATCH_PROFILE", "profile"),
    ("SBATCH_QOS", "qos"),
    ("SBATCH_REQUEUE", "requeue"),
    ("SBATCH_REQ_SWITCH", "switches"),
    ("SBATCH_RESERVATION", "reservation"),
    ("SBATCH_SEGMENT_SIZE", "segment"),
    ("SBATCH_SIGNAL", "signal"),
    ("SBATCH_SPREAD_JOB", "spread-job"),
    ("SBATCH_SPREAD_SEGMENTS", "spread-segments"),
    ("SBATCH_THREADS_PER_CORE", "threads-per-core"),
    ("SBATCH_THREAD_SPEC", "thread-spec"),
    ("SBATCH_TIMELIMIT", "time"),
    ("SBATCH_TRES_BIND", "tres-bind"),
    ("SBATCH_TRES_PER_TASK", "tres-per-task"),
    ("SBATCH_USE_MIN_NODES", "use-min-nodes"),
    ("SBATCH_WAIT", "wait"),
    ("SBATCH_WAIT_ALL_NODES", "wait-all-nodes"),
    ("SBATCH_WCKEY", "wckey"),
    ("SLURM_CLUSTERS", "clusters"),
    ("SLURM_HINT", "hint"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Policy, Resolution, parse_words, resolve_long};

    #[test]
    fn the_command_line_wins_over_the_environment_and_that_over_the_script() {
        let words = |words: &[&str]| parse_words(words, Policy::strict()).unwrap();
        let script = words(&["-N1", "-N2", "--time=1", "--mem=1"]);
        let line = words(&["--time=3"]);
        let merged = effective(
            &line,
            [
                ("SBATCH_TIMELIMIT", "2"),
                ("SBATCH_MEM_PER_NODE", "2"),
                ("HOME", "/"),
            ],
            &script,
        );
        let of = |name: &str| {
            merged
                .get(name)
                .map(|e| (e.value.as_deref().unwrap_or(""), e.source))
        };
        assert_eq!(of("nodes"), Some(("2", Source::Script)));
        assert_eq!(of("mem"), Some(("2", Source::Environment)));
        assert_eq!(of("time"), Some(("3", Source::CommandLine)));
        assert_eq!(merged.len(), 3);
    }

    #[test]
    fn every_variable_sets_an_option_that_exists() {
        for (variable, option) in VARIABLES {
            assert!(
                matches!(resolve_long(option, None), Resolution::Option(spec) if spec.long == *option),
                "{variable}"
            );
        }
    }
}
