//! From the command line to a job's spec. No I/O here.

use std::collections::BTreeMap;

use forebay_wire::{
    ClusterName,
    api::{JobSpec, Output, Resources, SlurmOptions},
};

use crate::{
    args::{SubmitArgs, Variable},
    environment::Environment,
    failure::Failure,
};

/// The largest script that is sent.
pub const SCRIPT_BYTES_MAX: usize = 1024 * 1024;

/// The spec for a command line. `script` is the text of the script, if one was
/// named; `environment` is ours, for variables to be passed on.
pub fn build(
    args: &SubmitArgs,
    script: Option<String>,
    cluster: ClusterName,
    environment: &Environment,
) -> Result<JobSpec, Failure> {
    let command = script.is_none().then(|| args.command.clone());
    Ok(JobSpec {
        cluster,
        name: args.name.clone(),
        script,
        command,
        resources: Resources {
            nodes: args.nodes,
            tasks: args.tasks,
            cpus_per_task: args.cpus_per_task,
            memory_mib: args.memory,
            gpus: args.gpus,
        },
        time_limit_s: args.time,
        directory: args.directory.clone(),
        environment: variables(&args.env, environment)?,
        output: Output {
            stdout: args.output.clone(),
            stderr: args.error.clone(),
        },
        slurm: slurm(args),
    })
}

/// Slurm's part; absent when nothing was asked of Slurm, so that the job may
/// run on clusters of another kind.
fn slurm(args: &SubmitArgs) -> Option<SlurmOptions> {
    let options = SlurmOptions {
        partition: args.partition.clone(),
        account: args.account.clone(),
        qos: args.qos.clone(),
        array: args.array.clone(),
        dependency: args.dependency.clone(),
        directives: args.sbatch.clone(),
        ..SlurmOptions::default()
    };
    (options != SlurmOptions::default()).then_some(options)
}

fn variables(
    wanted: &[Variable],
    environment: &Environment,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut variables = BTreeMap::new();
    for Variable { name, value } in wanted {
        let value = match value {
            Some(value) => value.clone(),
            None => environment.text(name)?.ok_or_else(|| {
                Failure::usage(format!("--env {name}: the variable is not set here")).hint(format!(
                    "Set it first, or give its value: --env {name}=VALUE"
                ))
            })?,
        };
        variables.insert(name.clone(), value);
    }
    Ok(variables)
}

/// Checks the text of a script, as the server will, to say so at once.
pub fn check_script(bytes: Vec<u8>, from: &str) -> Result<String, Failure> {
    if bytes.len() > SCRIPT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "{from} is larger than a script may be ({SCRIPT_BYTES_MAX} bytes)"
        ))
        .hint("Put the data into files on the cluster and let the script read them."));
    }
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::usage(format!("{from} is not a script: it is not UTF-8 text"))
            .hint("To run a program, give it after --: forebay submit -- ./program")
    })?;
    if text.contains('\0') {
        return Err(Failure::usage(format!(
            "{from} is not a script: it holds a NUL character"
        )));
    }
    if !text.starts_with("#!") {
        return Err(Failure::usage(format!("{from} does not begin with #!"))
            .hint("Its first line must name what reads it, such as: #!/bin/bash"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn args(line: &[&str]) -> SubmitArgs {
        let line = ["forebay", "submit"].iter().chain(line);
        match Cli::try_parse_from(line).map(|cli| cli.command) {
            Ok(Command::Submit(args)) => *args,
            other => panic!("not a submission: {other:?}"),
        }
    }

    fn spec(line: &[&str]) -> serde_json::Value {
        let environment = Environment::of(&[("HERE", "from here")]);
        let spec = build(
            &args(line),
            None,
            "hpc".parse().expect("a name"),
            &environment,
        )
        .expect("a spec");
        serde_json::to_value(spec).expect("JSON")
    }

    #[test]
    fn a_bare_command_asks_for_nothing_more() {
        insta::assert_json_snapshot!(spec(&["--", "echo", "-n", "a b", "--json"]), @r#"
        {
          "cluster": "hpc",
          "command": [
            "echo",
            "-n",
            "a b",
            "--json"
          ]
        }
        "#);
    }

    #[test]
    fn every_option_has_its_place() {
        let line = "-J bench -D run -N 2 -n 8 -c 4 --memory 4G -G 1 -t 1:30:00 -o out -e err -p short,long \
                    -A proj -q high -a 0-9%2 -d afterok:1 -S --exclusive --sbatch=--gres=gpu:1";
        let mut line: Vec<&str> = line.split_whitespace().collect();
        line.extend([
            "-S", "-x n3", "--env", "A=b=c", "--env", "HERE", "--", "true",
        ]);
        insta::assert_json_snapshot!(spec(&line));
    }

    #[test]
    fn names_of_sbatch_work_too() {
        let ours = spec(&[
            "--name",
            "a",
            "--tasks",
            "2",
            "--memory",
            "1G",
            "--directory",
            "d",
            "--",
            "true",
        ]);
        let theirs = spec(&[
            "--job-name",
            "a",
            "--ntasks",
            "2",
            "--mem",
            "1G",
            "--chdir",
            "d",
            "--",
            "true",
        ]);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn slips_are_usage_errors() {
        let bad: [&[&str]; 10] = [
            &[],
            &["--"],
            &["job.sh", "--", "true"],
            &["--nodes", "0", "--", "true"],
            &["--memory", "4X", "--", "true"],
            &["--time", "soon", "--", "true"],
            &["--env", "1=2", "--", "true"],
            &["-S", "exclusive", "--", "true"],
            &["--cluster", "No Such", "--", "true"],
            &["--idempotency-key", "a b", "--", "true"],
        ];
        for line in bad {
            let line: Vec<&str> = ["forebay", "submit"].iter().chain(line).copied().collect();
            assert!(Cli::try_parse_from(&line).is_err(), "{line:?}");
        }
        let unset = build(
            &args(&["--env", "NOT_HERE", "--", "true"]),
            None,
            "hpc".parse().expect("a name"),
            &Environment::of(&[]),
        );
        assert_eq!(unset.expect_err("refused").exit(), crate::exit::USAGE);
    }

    #[test]
    fn scripts_are_checked_before_they_are_sent() {
        assert!(check_script(b"#!/bin/sh\n".to_vec(), "x").is_ok());
        for bad in [
            &b""[..],
            b"echo\n",
            b"#!/bin/sh\n\0",
            b"\x7fELF\xff",
            &vec![b'#'; SCRIPT_BYTES_MAX + 1],
        ] {
            assert_eq!(
                check_script(bad.to_vec(), "x").expect_err("refused").exit(),
                2
            );
        }
    }
}
