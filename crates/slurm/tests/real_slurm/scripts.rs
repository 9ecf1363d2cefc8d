//! This crate reads a script as the real `sbatch` does, and its scripts run as they should.

use forebay_slurm::options::Policy;
use forebay_slurm::{BaseState, BatchScript, CancelOptions, Submission};
use forebay_testbed::need;

use crate::world::{World, job, wait_for_ends};

#[tokio::test]
async fn sbatch_lines_mean_what_this_crate_reads() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(1);
    for lines in [
        "#SBATCH -J plain --comment two",
        "#SBATCH --job-name=\"a b\" --comment='c # d'",
        "#SBATCH -J x\"y z\"'w' --comment=a\\\"b\\'c\\\\d",
        "#SBATCH -J foo#bar --comment=gone",
        "#SBATCH -J kept \"\" --comment=gone",
        "#SBATCH--job-name=nospace\n#SLURM --comment=old",
        "#SBATCH -J first\n#SBATCH -J second\n\n# a comment\n \t# another\n#SBATCH --comment late",
        "#SBATCH -J before\necho\n#SBATCH --comment=after",
        " #SBATCH -J indented\n##SBATCH -J doubled\n#SBATCH --comment=x",
        "#SBATCH -HJattached --com=prefix",
        "#SBATCH --comment\n#SBATCH next-line\n#SBATCH -J\tq",
        "#SBATCH -J 'single \\' escaped' --comment=\"it's\"",
        "#SBATCH -J \u{e9}\u{4e16} --comment='=x=y'",
    ] {
        let text = format!("#!/bin/sh\n{lines}\ntrue\n");
        let script = BatchScript::parse(text.clone().into_bytes(), Policy::script()).expect(lines);
        let mut submission = Submission::new(text);
        submission.options.hold = true;
        submission.options.output = Some("/dev/null".into());
        let id = cli.submit(&submission).await.expect(lines).id;
        let found = cli.job(&id).await.expect("an answer").expect("the job").job;
        let read = |name, default: &str| {
            script
                .directive(name)
                .and_then(|directive| directive.value())
                .unwrap_or(default)
                .to_owned()
        };
        assert_eq!(
            (found.name, found.comment),
            (read("job-name", "sbatch"), read("comment", "")),
            "{lines}"
        );
        cli.cancel(&[id], &CancelOptions::default())
            .await
            .expect("answers");
    }
}

#[tokio::test]
async fn a_command_arrives_in_the_job_unchanged() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(1);
    let dir = world.dir(1, "command");
    let arguments = [
        "it's",
        "\"q\"",
        "$HOME `id` $(id)",
        "a\nb\r\n#SBATCH --hold\n#PBS -N pbs\n#BSUB -J bsub",
        "",
        "é\\",
        "*",
        "-n",
    ];
    let mut command = vec!["printf", "%s\\0"];
    command.extend(arguments);
    let script = BatchScript::for_command(&command).expect("a script");
    let mut submission = job("");
    submission.script = script.into_bytes();
    submission.options.output = Some(format!("{}/out", dir.display()));
    submission.env = vec![("GREETING".into(), "a\nb".into())];
    let id = cli.submit(&submission).await.expect("a job").id;
    let ended = wait_for_ends(&cli, std::slice::from_ref(&id)).await;
    assert_eq!(
        (&ended[0].state.base, ended[0].name.as_str()),
        (&BaseState::Completed, "sbatch")
    );
    let text = std::fs::read_to_string(dir.join("out")).expect("the output");
    assert_eq!(
        text.split('\0').collect::<Vec<_>>()[..arguments.len()],
        arguments
    );

    // The environment is what was given, and nothing of the caller's.
    let mut submission = job("env -0");
    submission.options.output = Some(format!("{}/env", dir.display()));
    submission.env = vec![("GREETING".into(), "a\nb".into())];
    let id = cli.submit(&submission).await.expect("a job").id;
    wait_for_ends(&cli, std::slice::from_ref(&id)).await;
    let text = std::fs::read_to_string(dir.join("env")).expect("the output");
    assert!(
        text.split('\0').any(|variable| variable == "GREETING=a\nb"),
        "{text}"
    );
    assert!(!text.contains("CARGO"), "{text}");
}
