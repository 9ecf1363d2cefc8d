//! `sbatch`'s refusals: what it prints, turned into a reason and a sentence that says what to
//! change.

use serde::Serialize;

use super::options::Options;

/// Why Slurm refused a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalReason {
    /// No such partition.
    InvalidPartition,
    /// The partition admits other users, groups or accounts, or the caller lacks a right.
    AccessDenied,
    /// The partition takes no jobs at the moment.
    PartitionUnavailable,
    /// No such account, or not one of this user's, or not in this partition.
    InvalidAccount,
    /// No such quality of service, or not one of this user's.
    InvalidQos,
    /// No node, or no set of nodes, has what is asked for.
    NodesUnavailable,
    /// The number of nodes is malformed or outside the partition's limits.
    InvalidNodeCount,
    /// More processors than the partition has or permits.
    TooManyCpus,
    /// More memory than a node has or the partition permits.
    TooMuchMemory,
    /// The time limit is malformed or above a limit.
    TimeLimit,
    /// No node has such a feature.
    InvalidFeature,
    /// No such generic resource, or not in that form.
    InvalidGres,
    /// No such licence, or never that many.
    InvalidLicense,
    /// The dependency is malformed or circular.
    InvalidDependency,
    /// The array is malformed or larger than allowed.
    InvalidArray,
    /// No such node, or not in the partition.
    InvalidNode,
    /// No such reservation, or not one for this user.
    InvalidReservation,
    /// No such workload characterisation key.
    InvalidWckey,
    /// The user has as many jobs as allowed.
    SubmitLimit,
    /// Another limit of the account or quality of service.
    AccountingPolicy,
    /// The script is no script, or has DOS line breaks or NUL bytes.
    InvalidScript,
    /// The script, or a text given with the job, is too long.
    TooLong,
    /// The working directory cannot be used.
    InvalidDirectory,
    /// The time to begin, or a deadline, is malformed or past.
    InvalidTime,
    /// No cluster of that name.
    InvalidCluster,
    /// `sbatch` does not know the option, or its value is malformed.
    InvalidOption,
    /// The account does not exist for Slurm, or is not known to it.
    InvalidUser,
    /// The cluster does not have or allow what was asked for.
    NotSupported,
    /// Anything else; the text is Slurm's own.
    Other,
}

impl RefusalReason {
    /// Whether the same submission may be accepted later without a change to it: a limit on the
    /// number of jobs, or a partition that is closed for the moment.
    pub fn may_pass_later(self) -> bool {
        matches!(self, Self::SubmitLimit | Self::PartitionUnavailable)
    }
}

/// What `sbatch`'s error output means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Refused(RefusalReason),
    /// Nothing was created; the controller has no room now.
    Busy,
    /// The controller did not answer. `sent`: the request may have reached it.
    Unavailable {
        sent: bool,
    },
    /// Nothing that is known.
    Unrecognised,
}

/// What is looked for, in lower case, in this order: where several lines tell, the one that
/// tells most comes first.
#[rustfmt::skip]
const TABLE: &[(&str, Meaning)] = {
    use Meaning::{Busy, Refused, Unavailable};
    use RefusalReason as R;
    &[
        // The controller or munge is away. A connection that was never made carried nothing;
        // after any other failure the controller may have read the request.
        ("unable to contact slurm controller (connect failure)", Unavailable { sent: false }),
        ("unable to contact slurm controller", Unavailable { sent: true }),
        ("socket timed out", Unavailable { sent: true }),
        ("connection timed out", Unavailable { sent: true }),
        ("zero bytes were transmitted", Unavailable { sent: true }),
        ("received zero length message", Unavailable { sent: true }),
        ("unexpected message received", Unavailable { sent: true }),
        ("failed to send entire message", Unavailable { sent: true }),
        ("header lengths are longer than data received", Unavailable { sent: true }),
        ("message receive failure", Unavailable { sent: true }),
        ("message send failure", Unavailable { sent: true }),
        ("unexpected missing socket", Unavailable { sent: true }),
        ("insane message length", Unavailable { sent: true }),
        ("communication connection failure", Unavailable { sent: true }),
        ("communication shutdown failure", Unavailable { sent: true }),
        ("connection reset by peer", Unavailable { sent: true }),
        ("connection rejected by handler", Unavailable { sent: true }),
        ("quiesce timeout", Unavailable { sent: true }),
        ("delayed socket error", Unavailable { sent: true }),
        ("process is shutting down", Unavailable { sent: true }),
        ("slurm backup controller in standby", Unavailable { sent: false }),
        ("controller is in standby mode", Unavailable { sent: false }),
        ("protocol authentication error", Unavailable { sent: false }),
        ("invalid authentication credential", Unavailable { sent: false }),
        ("authentication credential invalid", Unavailable { sent: false }),
        ("failed to connect to authentication agent", Unavailable { sent: false }),
        ("if munged is up, restart with", Unavailable { sent: false }),
        ("munge encode failed", Unavailable { sent: false }),
        ("incompatible versions of client and server", Unavailable { sent: false }),
        ("can't find an address, check slurm.conf", Unavailable { sent: false }),
        ("could not establish a configuration source", Unavailable { sent: false }),
        ("unable to establish configuration source", Unavailable { sent: false }),
        // No room now.
        ("job queue full", Busy),
        ("maxjobcount limit reached", Busy),
        ("slurm temporarily unable to accept job", Busy),
        ("resource temporarily unavailable", Busy),
        ("job creation temporarily disabled", Busy),
        ("unable to create job record, try again", Busy),
        ("rate limit exceeded", Busy),
        ("system submissions disabled", Busy),
        ("requested nodes are busy", Busy),
        ("required ports are in use", Busy),
        ("i/o error writing script", Busy),
        // Limits: the line with the limit's name comes before the general one.
        ("maxsubmitjob", Refused(R::SubmitLimit)),
        ("grpsubmitjob", Refused(R::SubmitLimit)),
        ("maxwall", Refused(R::TimeLimit)),
        ("job violates accounting/qos policy", Refused(R::AccountingPolicy)),
        ("breached requested qos usage threshold", Refused(R::AccountingPolicy)),
        // The script.
        ("dos line breaks", Refused(R::InvalidScript)),
        ("does not look like a batch script", Refused(R::InvalidScript)),
        ("contain a null character", Refused(R::InvalidScript)),
        ("batch script is empty", Refused(R::InvalidScript)),
        ("contains only whitespace", Refused(R::InvalidScript)),
        ("job script not specified", Refused(R::InvalidScript)),
        ("job script too large", Refused(R::TooLong)),
        ("script from stdin is too big", Refused(R::TooLong)),
        ("is too large", Refused(R::TooLong)),
        ("is too big", Refused(R::TooLong)),
        ("parameter too long", Refused(R::TooLong)),
        ("argument list too long", Refused(R::TooLong)),
        // Options that sbatch itself refuses, by name where that says more.
        ("invalid --time", Refused(R::TimeLimit)),
        ("invalid --begin", Refused(R::InvalidTime)),
        ("invalid --deadline", Refused(R::InvalidTime)),
        ("invalid time specification", Refused(R::InvalidTime)),
        ("invalid time specified", Refused(R::InvalidTime)),
        ("is not a valid node count", Refused(R::InvalidNodeCount)),
        ("minimum node count", Refused(R::InvalidNodeCount)),
        ("unmatched `", Refused(R::InvalidOption)),
        ("unexpected `:`", Refused(R::InvalidOption)),
        ("invalid directive found", Refused(R::InvalidOption)),
        ("unrecognized option", Refused(R::InvalidOption)),
        ("invalid option --", Refused(R::InvalidOption)),
        ("is ambiguous", Refused(R::InvalidOption)),
        ("requires an argument", Refused(R::InvalidOption)),
        ("doesn't allow an argument", Refused(R::InvalidOption)),
        ("only permitted by root", Refused(R::InvalidOption)),
        ("are mutually exclusive", Refused(R::InvalidOption)),
        ("invalid numeric value", Refused(R::InvalidOption)),
        ("invalid --", Refused(R::InvalidOption)),
        ("could not open user environment file", Refused(R::InvalidOption)),
        ("unrecognized command line parameter", Refused(R::InvalidOption)),
        ("known by database", Refused(R::InvalidCluster)),
        ("invalid entry for --cluster", Refused(R::InvalidCluster)),
        ("invalid cluster name", Refused(R::InvalidCluster)),
        // What the controller refuses.
        ("invalid partition name", Refused(R::InvalidPartition)),
        ("invalid partition specified", Refused(R::InvalidPartition)),
        ("no partition specified or system default", Refused(R::InvalidPartition)),
        ("multiple partition job request not supported", Refused(R::InvalidPartition)),
        ("group not permitted to use this partition", Refused(R::AccessDenied)),
        ("required partition not available", Refused(R::PartitionUnavailable)),
        ("partition in down state", Refused(R::PartitionUnavailable)),
        ("requested partition configuration not available", Refused(R::NodesUnavailable)),
        ("invalid account or account/partition", Refused(R::InvalidAccount)),
        ("invalid qos", Refused(R::InvalidQos)),
        ("invalid wckey", Refused(R::InvalidWckey)),
        ("invalid license", Refused(R::InvalidLicense)),
        ("licenses currently unavailable", Refused(R::InvalidLicense)),
        ("memory specification can not be satisfied", Refused(R::TooMuchMemory)),
        ("memory required by task is not available", Refused(R::TooMuchMemory)),
        ("more processors requested than permitted", Refused(R::TooManyCpus)),
        ("cpu count per node can not be satisfied", Refused(R::TooManyCpus)),
        ("cpu count specification invalid", Refused(R::TooManyCpus)),
        ("requested more tasks than available", Refused(R::TooManyCpus)),
        ("task count specification invalid", Refused(R::TooManyCpus)),
        ("node count specification invalid", Refused(R::InvalidNodeCount)),
        ("time limit is invalid", Refused(R::TimeLimit)),
        ("time limit specification required", Refused(R::TimeLimit)),
        ("invalid time-min", Refused(R::TimeLimit)),
        ("invalid preferred feature", Refused(R::InvalidFeature)),
        ("invalid feature", Refused(R::InvalidFeature)),
        ("--batch option is invalid", Refused(R::InvalidFeature)),
        ("generic resource (gres) spec", Refused(R::InvalidGres)),
        ("invalid gres", Refused(R::InvalidGres)),
        ("requested gres option unsupported", Refused(R::InvalidGres)),
        ("invalid trackable resource", Refused(R::InvalidGres)),
        ("job dependency problem", Refused(R::InvalidDependency)),
        ("circular job dependency", Refused(R::InvalidDependency)),
        ("invalid job array", Refused(R::InvalidArray)),
        ("invalid node name", Refused(R::InvalidNode)),
        ("invalid node list", Refused(R::InvalidNode)),
        ("requested nodes not in this partition", Refused(R::InvalidNode)),
        ("required node not available", Refused(R::NodesUnavailable)),
        ("access denied to requested reservation", Refused(R::InvalidReservation)),
        ("requested reservation is", Refused(R::InvalidReservation)),
        ("requested reservation not usable", Refused(R::InvalidReservation)),
        ("requested node configuration is not available", Refused(R::NodesUnavailable)),
        ("working directory", Refused(R::InvalidDirectory)),
        ("invalid directory", Refused(R::InvalidDirectory)),
        ("no such file or directory", Refused(R::InvalidDirectory)),
        ("invalid user id", Refused(R::InvalidUser)),
        ("invalid group id", Refused(R::InvalidUser)),
        ("not supported on this system", Refused(R::NotSupported)),
        ("operation is presently disabled", Refused(R::NotSupported)),
        ("container support is not configured", Refused(R::NotSupported)),
        ("access/permission denied", Refused(R::AccessDenied)),
    ]
};

/// Reads `sbatch`'s error output.
pub(super) fn meaning(stderr: &str) -> Meaning {
    let text = stderr.to_ascii_lowercase();
    TABLE
        .iter()
        .find(|(needle, _)| text.contains(needle))
        .map_or(Meaning::Unrecognised, |(_, meaning)| meaning.clone())
}

/// The lines of an error output that say something: without the program's name and level,
/// control characters replaced, cut to 2,000 characters.
pub(crate) fn clean(stderr: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in stderr.lines() {
        let mut line = line.trim();
        for prefix in [
            "sbatch:",
            "squeue:",
            "sacct:",
            "scancel:",
            "scontrol:",
            "sinfo:",
            "error:",
            "fatal:",
        ] {
            line = line.strip_prefix(prefix).map_or(line, str::trim_start);
        }
        let line = line
            .strip_prefix("Batch job submission failed: ")
            .unwrap_or(line);
        if line.is_empty() || line.starts_with("Try \"") {
            continue;
        }
        let line: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let line = line.trim().to_owned();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("; ").chars().take(2000).collect()
}

/// A sentence for the user: what was refused, and what to change.
pub(super) fn sentence(reason: RefusalReason, options: &Options, raw: &str) -> String {
    use RefusalReason as R;
    let raw = raw.trim_end_matches(['.', '!']);
    // ` \`x\``, when the option was given on the command line; a script's own is not known here.
    let given = |value: &Option<String>| {
        value
            .as_ref()
            .map(|value| format!(" `{value}`"))
            .unwrap_or_default()
    };
    match reason {
        R::InvalidPartition => {
            format!("The partition{} does not exist here; choose another with --partition.", given(&options.partition))
        }
        R::AccessDenied => format!(
            "You may not use the partition{} or something else that the job asks for; choose another partition, or ask \
             its administrators.",
            given(&options.partition)
        ),
        R::PartitionUnavailable => format!(
            "The partition{} takes no jobs at the moment; choose another with --partition, or submit again later.",
            given(&options.partition)
        ),
        R::InvalidAccount => format!(
            "The account{} does not exist, is not yours, or may not use this partition; choose another with --account.",
            given(&options.account)
        ),
        R::InvalidQos => format!(
            "The quality of service{} does not exist or is not open to you; choose another with --qos, or leave it out.",
            given(&options.qos)
        ),
        R::NodesUnavailable => "No nodes of this partition have together what the job asks for; ask for fewer nodes, \
                                processors or less memory, or choose another partition."
            .to_owned(),
        R::InvalidNodeCount => {
            "The number of nodes is malformed or outside the partition's limits; change --nodes.".to_owned()
        }
        R::TooManyCpus => "The partition does not have, or does not permit, so many processors; lower --ntasks, \
                           --cpus-per-task or --nodes."
            .to_owned(),
        R::TooMuchMemory => {
            "No node of this partition has, or permits, so much memory; lower --mem or --mem-per-cpu.".to_owned()
        }
        R::TimeLimit => {
            "The time limit is malformed or above what is allowed here; lower --time, or choose another partition."
                .to_owned()
        }
        R::InvalidFeature => format!("No node has the feature{}; change --constraint.", given(&options.constraint)),
        R::InvalidGres => format!(
            "The cluster does not have such a resource{}; change --gres or --gpus.",
            given(&options.gres.clone().or_else(|| options.gpus.clone()))
        ),
        R::InvalidLicense => format!(
            "The cluster does not have the licences{}, or never that many; change --licenses.",
            given(&options.licenses)
        ),
        R::InvalidDependency => format!(
            "The dependency{} is malformed or circular; write it as afterok:JOB with jobs that exist.",
            given(&options.dependency)
        ),
        R::InvalidArray => format!(
            "The array{} is malformed or has a task number above the cluster's limit; change --array.",
            given(&options.array)
        ),
        R::InvalidNode => {
            "A node that the job names does not exist or is not in this partition; change --nodelist or --exclude."
                .to_owned()
        }
        R::InvalidReservation => format!(
            "The reservation{} does not exist, is not yours, or cannot be used now; change --reservation.",
            given(&options.reservation)
        ),
        R::InvalidWckey => "The wckey is not one of yours; change --wckey, or leave it out.".to_owned(),
        R::SubmitLimit => "You have as many jobs as you may have; wait until one ends, cancel one, or use another \
                           account or quality of service."
            .to_owned(),
        R::AccountingPolicy => "The job is beyond a limit of your account or quality of service; ask for less, or use \
                                another account."
            .to_owned(),
        R::InvalidScript if raw.contains("DOS") => {
            "The script has DOS line breaks; convert it with `dos2unix`.".to_owned()
        }
        R::InvalidScript if raw.contains("NULL") => "The script holds a NUL byte; send text.".to_owned(),
        R::InvalidScript if raw.contains("first") => {
            "The script's first line names no interpreter; begin it with `#!` and a path, such as `#!/bin/bash`.".to_owned()
        }
        R::InvalidScript => format!("The script is not one that Slurm takes: {raw}."),
        R::TooLong => "The script or one of the job's texts (name, comment, paths, lists) is too long; shorten it."
            .to_owned(),
        R::InvalidDirectory => "The working directory cannot be used; change --chdir.".to_owned(),
        R::InvalidTime => "The time at which to begin or end is malformed or past; write it as 2030-12-31T08:00:00 or \
                           now+2hours."
            .to_owned(),
        R::InvalidCluster => "There is no such cluster; leave --clusters out.".to_owned(),
        R::InvalidOption => format!("An option is not one that this Slurm takes: {raw}."),
        R::InvalidUser => "Slurm does not know your account on this cluster; ask its administrators.".to_owned(),
        R::NotSupported => format!("This cluster does not support what the job asks for: {raw}."),
        R::Other => format!("Slurm refused the job: {raw}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needles_are_lower_case_and_none_hides_a_later_one() {
        for (position, (needle, meaning_wanted)) in TABLE.iter().enumerate() {
            assert_eq!(needle.to_ascii_lowercase(), *needle);
            let first = TABLE
                .iter()
                .position(|(earlier, _)| needle.contains(earlier));
            // Where an earlier needle is part of this one, both must mean the same.
            assert!(
                first.is_some_and(|first| first == position || TABLE[first].1 == *meaning_wanted),
                "{needle}"
            );
        }
    }

    #[test]
    fn cleaning_keeps_what_says_something() {
        assert_eq!(
            clean(
                "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates\u{7}\n"
            ),
            "AssocMaxSubmitJobLimit; Job violates"
        );
        assert_eq!(
            clean("sbatch: unrecognized option '--z'\nTry \"sbatch --help\" for more\n"),
            "unrecognized option '--z'"
        );
        assert_eq!(clean(&"x".repeat(5000)).len(), 2000);
    }
}
