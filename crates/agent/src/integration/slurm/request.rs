//! A job's spec in `sbatch`'s words. Pure.
//!
//! What the spec says by field wins over its directives, and both win over the
//! script's own `#SBATCH` lines, as a command line does.

use std::{collections::BTreeSet, path::Path};

use forebay_slurm::{
    BatchScript, Submission, TaskSet, TimeLimit,
    options::{Directive, Policy, parse_directives},
    submit::{OpenMode, Options},
};
use forebay_wire::{Detail, api::JobSpec, ipc::Prepared};

use crate::job::Marker;

/// Tasks of an array that are told apart; Slurm's own limit is far below.
const TASKS_MAX: u64 = 1_000_000;

/// What goes to `sbatch`, and what follows from it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) submission: Submission,
    /// The file, or pattern, of standard output.
    pub(super) stdout: Option<String>,
    /// The same of standard error.
    pub(super) stderr: Option<String>,
    /// Whether the user says where output goes.
    pub(super) own_output: bool,
    pub(super) is_array: bool,
    /// Whether the user wants it held.
    pub(super) stays_held: bool,
}

/// What is wrong with a spec's options, by field.
pub(super) fn check(spec: &JobSpec) -> Vec<Detail> {
    let Some(slurm) = &spec.slurm else {
        return Vec::new();
    };
    match parse_directives(&slurm.directives, Policy::strict()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .into_iter()
            .map(|error| Detail {
                field: "spec.slurm.directives".to_owned(),
                message: error.to_string(),
            })
            .collect(),
    }
}

/// Whether the user wants it held, in whichever of the three ways.
pub(super) fn stays_held(spec: &JobSpec) -> bool {
    let slurm = spec.slurm.as_ref();
    let says_hold = |found: &[Directive]| found.iter().any(|directive| directive.name() == "hold");
    let in_directives = slurm
        .and_then(|slurm| parse_directives(&slurm.directives, Policy::strict()).ok())
        .is_some_and(|found| says_hold(&found));
    let in_script = spec
        .script
        .as_ref()
        .and_then(|script| BatchScript::parse(script.as_bytes().to_vec(), Policy::script()).ok())
        .is_some_and(|script| says_hold(script.directives()));
    slurm.is_some_and(|slurm| slurm.hold) || in_directives || in_script
}

/// The tasks of an array, by index and in order: as its spec says, else its directives, else its
/// script. None where nobody says so, or in words that are not known here.
pub(super) fn tasks(spec: &JobSpec) -> Vec<u32> {
    let slurm = spec.slurm.as_ref();
    let said = |found: &[Directive]| {
        let array = found.iter().rev().find(|found| found.name() == "array");
        array.and_then(Directive::value).map(str::to_owned)
    };
    let in_spec = || slurm.and_then(|slurm| slurm.array.clone());
    let in_directives = || {
        let found = parse_directives(&slurm?.directives, Policy::strict()).ok()?;
        said(&found)
    };
    let in_script = || {
        let script = spec.script.as_ref()?.as_bytes().to_vec();
        let script = BatchScript::parse(script, Policy::script()).ok()?;
        script.directive("array")?.value().map(str::to_owned)
    };
    let Some(text) = in_spec().or_else(in_directives).or_else(in_script) else {
        return Vec::new();
    };
    let Ok(set) = text.parse::<TaskSet>() else {
        return Vec::new();
    };
    if set.is_cut() || set.count() > TASKS_MAX {
        return Vec::new();
    }
    let tasks: BTreeSet<u32> = set.iter().filter_map(|task| task.try_into().ok()).collect();
    tasks.into_iter().collect()
}

pub(super) fn of(
    spec: &JobSpec,
    script: &str,
    marker: Marker,
    place: &Prepared,
) -> Result<Request, String> {
    let chain = |error: &(dyn std::error::Error + 'static)| forebay_service::logs::chain(error);
    let parsed =
        BatchScript::parse(script.as_bytes().to_vec(), Policy::script()).map_err(|e| chain(&e))?;
    let slurm = spec.slurm.clone().unwrap_or_default();
    let extra = parse_directives(&slurm.directives, Policy::strict()).map_err(|errors| {
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    })?;
    // What directives or the script say, in sbatch's order of precedence.
    let said = |name: &str| -> Option<&Directive> {
        let in_extra = extra
            .iter()
            .rev()
            .find(|directive| directive.name() == name);
        in_extra.or_else(|| parsed.directive(name))
    };
    let said_value = |name: &str| said(name).and_then(Directive::value).map(str::to_owned);

    let users_comment = slurm.comment.clone().or_else(|| said_value("comment"));
    let is_array = slurm.array.is_some() || said("array").is_some();
    let directory = match &spec.directory {
        Some(directory) => Path::new(&place.home)
            .join(directory)
            .to_string_lossy()
            .into_owned(),
        None => place.home.clone(),
    };
    // A user's chdir in a directive or in the script moves relative paths with it.
    let works_in = match &spec.directory {
        Some(_) => directory.clone(),
        None => said_value("chdir").map_or_else(
            || directory.clone(),
            |to| {
                Path::new(&directory)
                    .join(to)
                    .to_string_lossy()
                    .into_owned()
            },
        ),
    };
    let own_stdout = spec.output.stdout.clone().or_else(|| said_value("output"));
    let own_stderr = spec.output.stderr.clone().or_else(|| said_value("error"));
    let ours = |name: &str| {
        // `%` in a home directory is no pattern of ours.
        let base = place.directory.replace('%', "%%");
        if is_array {
            format!("{base}/{name}.%a")
        } else {
            format!("{base}/{name}")
        }
    };
    let absolute = |path: &str| {
        Path::new(&works_in)
            .join(path)
            .to_string_lossy()
            .into_owned()
    };
    let stdout = own_stdout
        .as_deref()
        .map_or_else(|| ours("stdout"), absolute);
    let stderr = match (&own_stdout, &own_stderr) {
        (_, Some(path)) => absolute(path),
        (Some(_), None) => stdout.clone(),
        (None, None) => ours("stderr"),
    };
    let job_name = spec.name.clone().or_else(|| match said("job-name") {
        Some(_) => None,
        None => Some(default_name(spec)),
    });
    let options = Options {
        job_name,
        partition: slurm.partition,
        account: slurm.account,
        qos: slurm.qos,
        nodes: spec.resources.nodes.map(Into::into),
        ntasks: spec.resources.tasks,
        cpus_per_task: spec.resources.cpus_per_task,
        mem_mib: spec.resources.memory_mib,
        gpus: spec.resources.gpus.map(|gpus| gpus.to_string()),
        gres: slurm.gres,
        time_limit: spec.time_limit_s.map(TimeLimit::from_secs),
        array: slurm.array,
        dependency: slurm.dependency,
        begin: slurm.begin,
        constraint: slurm.constraint,
        licenses: slurm.licenses,
        reservation: slurm.reservation,
        nodelist: slurm.nodelist,
        exclude: slurm.exclude,
        exclusive: slurm.exclusive.then(String::new),
        chdir: spec.directory.is_some().then(|| directory.clone()),
        // Given only where the user left it open: a user's own stands as it was written.
        output: match (&spec.output.stdout, &own_stdout) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(_)) => None,
            (None, None) => Some(stdout.clone()),
        },
        error: match (&spec.output.stderr, &own_stdout, &own_stderr) {
            (Some(path), _, _) => Some(path.clone()),
            (None, None, None) => Some(stderr.clone()),
            _ => None,
        },
        open_mode: Some(OpenMode::Append),
        comment: Some(marker.comment(users_comment.as_deref())),
        hold: true,
        mail_type: slurm.mail_type,
        mail_user: slurm.mail_user,
        nice: slurm
            .nice
            .map(|nice| i32::try_from(nice).unwrap_or(i32::MAX)),
        requeue: slurm.requeue,
        extra,
        ..Options::default()
    };
    let mut env: Vec<(String, String)> = spec
        .environment
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    env.push(("FOREBAY_JOB_ID".to_owned(), marker.job.to_string()));
    Ok(Request {
        submission: Submission {
            script: script.as_bytes().to_vec(),
            options,
            env,
            dir: Some(directory.into()),
        },
        own_output: own_stdout.is_some() || own_stderr.is_some(),
        stdout: Some(stdout),
        stderr: Some(stderr),
        is_array,
        stays_held: stays_held(spec),
    })
}

/// The program's name, or that it is a script.
fn default_name(spec: &JobSpec) -> String {
    let program = spec.command.as_ref().and_then(|command| command.first());
    let name = program.and_then(|program| Path::new(program).file_name());
    match name {
        Some(name) => name
            .to_string_lossy()
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect(),
        None => "script".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use forebay_wire::JobId;
    use uuid::Uuid;

    use super::*;

    fn arguments(spec: serde_json::Value) -> (Vec<String>, Request) {
        let spec: JobSpec = serde_json::from_value(spec).expect("a spec");
        let script = crate::integration::script(&spec).expect("a script");
        let marker = Marker {
            installation: Uuid::from_u128(7),
            job: JobId::from_uuid(Uuid::from_u128(9)),
        };
        let place = Prepared {
            home: "/home/alice".into(),
            directory: "/home/alice/.j".into(),
            script: "/home/alice/.j/script".into(),
        };
        let request = of(&spec, &script, marker, &place).expect("a request");
        let arguments = request
            .submission
            .options
            .to_arguments()
            .expect("arguments");
        (arguments, request)
    }

    #[test]
    fn a_small_job_is_held_marked_and_prints_to_its_own_directory() {
        let (arguments, request) =
            arguments(serde_json::json!({"cluster": "hpc", "command": ["/bin/echo", "a b"]}));
        for expected in [
            "--job-name=echo",
            "--hold",
            "--open-mode=append",
            "--output=/home/alice/.j/stdout",
            "--error=/home/alice/.j/stderr",
        ] {
            assert!(
                arguments.iter().any(|a| a == expected),
                "{expected} in {arguments:?}"
            );
        }
        assert!(
            arguments
                .iter()
                .any(|a| a.starts_with("--comment=forebay:") && !a.contains(' '))
        );
        assert!(!request.stays_held);
    }

    #[test]
    fn the_scripts_own_lines_stand_and_its_comment_follows_the_mark() {
        let script = "#!/bin/sh\n#SBATCH --output=x-%j.out --comment='for the paper'\n#SBATCH -H --job-name=mine\ntrue\n";
        let (arguments, request) =
            arguments(serde_json::json!({"cluster": "hpc", "script": script, "directory": "work"}));
        assert!(
            arguments
                .iter()
                .any(|a| a.starts_with("--comment=forebay:") && a.ends_with(" for the paper"))
        );
        let silent = ["--output", "--error", "--job-name"];
        assert!(
            !arguments
                .iter()
                .any(|a| silent.iter().any(|s| a.starts_with(s))),
            "{arguments:?}"
        );
        assert!(request.stays_held && request.own_output);
        assert_eq!(request.stdout.as_deref(), Some("/home/alice/work/x-%j.out"));
        assert_eq!(request.stderr, request.stdout);
        assert!(arguments.iter().any(|a| a == "--chdir=/home/alice/work"));
    }

    #[test]
    fn an_arrays_tasks_are_known_wherever_they_are_said() {
        let of = |spec: serde_json::Value| tasks(&serde_json::from_value(spec).expect("a spec"));
        let script = "#!/bin/sh\n#SBATCH --array=5-6\ntrue\n";
        assert_eq!(
            of(serde_json::json!({"cluster": "hpc", "script": script})),
            [5, 6]
        );
        let spec = |slurm| serde_json::json!({"cluster": "hpc", "script": script, "slurm": slurm});
        let slurm = serde_json::json!({"directives": ["--array=0-8:4,2%3"]});
        assert_eq!(of(spec(slurm)), [0, 2, 4, 8]);
        let slurm = serde_json::json!({"directives": ["--array=0-8:4"], "array": "9,7,9"});
        assert_eq!(of(spec(slurm)), [7, 9]);
        // Too many to be meant, words that are not known, no array.
        for array in ["0-18446744073709551615", "all"] {
            let slurm = serde_json::json!({"array": array});
            assert_eq!(of(spec(slurm)), [] as [u32; 0]);
        }
        let plain = serde_json::json!({"cluster": "hpc", "command": ["true"]});
        assert_eq!(of(plain), [] as [u32; 0]);
    }

    #[test]
    fn arrays_print_to_a_file_each() {
        let (arguments, request) = arguments(
            serde_json::json!({"cluster": "hpc", "command": ["true"], "slurm": {"array": "0-3"}}),
        );
        assert!(
            arguments
                .iter()
                .any(|a| a == "--output=/home/alice/.j/stdout.%a"),
            "{arguments:?}"
        );
        assert!(request.is_array);
    }
}
