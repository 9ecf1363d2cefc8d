//! `sbatch`'s answers, as a real one gave them.

use super::*;

fn read(exit: Exit, stdout: &str, stderr: &str) -> Result<Submitted, SubmitError> {
    let output = Output {
        exit,
        stdout: stdout.as_bytes().to_vec(),
        stderr: stderr.as_bytes().to_vec(),
    };
    read_answer(Ok(output), &Options::default())
}

#[test]
fn every_recorded_refusal_has_a_reason_and_a_sentence() {
    for (release, text) in [
        (
            "22.05.8",
            include_str!("../../tests/fixtures/22.05.8/refusals.txt"),
        ),
        (
            "24.11.5",
            include_str!("../../tests/fixtures/24.11.5/refusals.txt"),
        ),
    ] {
        let mut table = String::new();
        for case in text.split("=== ").skip(1) {
            let (asked, rest) = case.split_once('\n').unwrap();
            let (stderr, end) = rest.rsplit_once("--- ").unwrap();
            let code: i32 = end.split_whitespace().next().unwrap().parse().unwrap();
            let line = match read(Exit::Code(code), "", stderr) {
                Err(SubmitError::Refused {
                    reason, message, ..
                }) => {
                    assert_ne!(reason, RefusalReason::Other, "{release} {asked}: {stderr}");
                    format!("{asked} -> {reason:?}\n    {message}\n")
                }
                other => panic!("{release} {asked}: {other:?}"),
            };
            table.push_str(&line);
        }
        insta::assert_snapshot!(format!("refusals-{release}"), table);
    }
}

#[test]
fn an_id_is_read_in_every_form() {
    for (stdout, id, cluster) in [
        ("123\n", 123, None),
        ("123;gwtest\n", 123, Some("gwtest")),
        (
            "Submitted batch job 4294967297 on cluster x\n",
            4_294_967_297,
            Some("x"),
        ),
        ("site banner\n7\n", 7, None),
    ] {
        let submitted = read(Exit::Code(0), stdout, "").unwrap();
        assert_eq!(
            (submitted.id, submitted.cluster.as_deref()),
            (JobId::new(id), cluster),
            "{stdout}"
        );
    }
    // The id was printed, so the job exists, though sbatch failed later.
    assert_eq!(
        read(Exit::Code(1), "9\n", "sbatch: error: plugin")
            .unwrap()
            .warnings
            .as_deref(),
        Some("plugin")
    );
}

#[test]
fn no_answer_says_whether_a_job_may_exist() {
    let silent = |exit, stderr: &str| match read(exit, "", stderr) {
        Err(SubmitError::Unavailable {
            maybe_submitted, ..
        }) => maybe_submitted,
        other => panic!("{other:?}"),
    };
    let failed = Exit::Code(1);
    let prefix = "sbatch: error: Batch job submission failed: ";
    assert!(!silent(
        failed,
        &format!("{prefix}Unable to contact slurm controller (connect failure)")
    ));
    assert!(silent(
        failed,
        &format!("{prefix}Unable to contact slurm controller (receive failure)")
    ));
    assert!(silent(
        failed,
        &format!("{prefix}Socket timed out on send/recv operation")
    ));
    assert!(silent(
        failed,
        &format!("{prefix}Zero Bytes were transmitted or received")
    ));
    assert!(!silent(
        failed,
        "sbatch: error: If munged is up, restart with --num-threads=10"
    ));
    assert!(silent(Exit::Code(0), ""));
    assert!(silent(failed, ""));
    assert!(silent(Exit::Signal(9), ""));
    let deadline = RunnerError::Deadline {
        program: Program::Sbatch,
        deadline: std::time::Duration::from_secs(1),
    };
    assert!(
        read_answer(Err(deadline), &Options::default())
            .unwrap_err()
            .maybe_submitted()
    );
    let missing = RunnerError::NotFound {
        program: Program::Sbatch,
        looked_in: String::new(),
    };
    assert!(
        !read_answer(Err(missing), &Options::default())
            .unwrap_err()
            .maybe_submitted()
    );
}

#[test]
fn no_room_is_not_a_refusal() {
    for stderr in [
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying",
        "sbatch: error: Slurm job queue full, sleeping and retrying\nsbatch: error: Batch job submission failed: MaxJobCount limit reached",
        "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
        "sbatch: error: Batch job submission failed: Rate limit exceeded, please retry momentarily",
    ] {
        assert!(
            matches!(
                read(Exit::Code(1), "", stderr),
                Err(SubmitError::Busy { .. })
            ),
            "{stderr}"
        );
    }
}

#[test]
fn a_plugins_own_words_reach_the_user() {
    let stderr = "sbatch: error: This site wants --account\nsbatch: error: Batch job submission failed: Unspecified error\n";
    match read(Exit::Code(1), "", stderr) {
        Err(SubmitError::Refused {
            reason: RefusalReason::Other,
            message,
            ..
        }) => {
            assert_eq!(
                message,
                "Slurm refused the job: This site wants --account; Unspecified error."
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_submission_is_one_command_without_a_shell() {
    let mut submission = Submission::new("#!/bin/sh\n");
    submission.options.job_name = Some("$(reboot); `x` 'y'".into());
    submission.options.hold = true;
    submission.env = vec![("GREETING".into(), "a\nb".into())];
    let command = submission.to_command().unwrap();
    assert_eq!(
        command.args,
        ["--parsable", "--job-name=$(reboot); `x` 'y'", "--hold"]
    );
    assert_eq!(command.stdin.as_deref(), Some(&b"#!/bin/sh\n"[..]));
    assert_eq!(command.env, submission.env);
}

#[test]
fn what_would_steer_sbatch_is_not_sent() {
    let with = |name: &str, value: &str| {
        let mut submission = Submission::new("#!/bin/sh\n");
        submission.env = vec![(name.into(), value.into())];
        submission
            .to_command()
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        with("SBATCH_WAIT", "1").unwrap_err(),
        "the variable SBATCH_WAIT would steer sbatch like --wait; leave it out"
    );
    assert!(with("SLURM_CONF", "/x").is_err());
    assert!(with("A=B", "").is_err() && with("", "").is_err() && with("1A", "").is_err());
    assert!(with("A", "\0").is_err());
    assert!(with("_a1", "any\nthing").is_ok());
    assert_eq!(
        Submission::new("").to_command(),
        Err(InvalidSubmission::NoScript)
    );
}
