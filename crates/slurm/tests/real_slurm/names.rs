//! Names and comments that would break a table.

use forebay_slurm::{CancelOptions, Command, JobId, Program, Runner};
use forebay_testbed::need;

use crate::world::{World, job, wait_for, wait_for_ends, wait_for_records};

#[tokio::test]
async fn any_name_and_comment_keep_to_their_columns() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(0);
    let long = "n".repeat(1000);
    let texts = [
        "a|b|c",
        "it's \"quoted\" `ticked` $(reboot) \\ and %j",
        "Grüße, 世界 🎈",
        &long,
        "UserId=root(0) JobState=COMPLETED",
        " leading, trailing ",
        "\u{1e}r0000\u{1f}f0000\u{1e}",
        "--uid=0",
        "(null)?",
    ];
    let mut ids = Vec::new();
    for text in texts {
        let mut submission = job("true");
        submission.options.job_name = Some(text.to_owned());
        submission.options.comment =
            Some(format!("forebay:6f1c:j1 {}", &text[..text.len().min(900)]));
        submission.options.hold = true;
        ids.push(cli.submit(&submission).await.expect(text).id);
    }
    let jobs = wait_for(&cli, &ids, "all of them", |jobs| jobs.len() == texts.len()).await;
    for (id, text) in ids.iter().zip(texts) {
        let job = jobs.iter().find(|job| job.id == *id).expect("the job");
        assert_eq!(job.name, text);
        assert_eq!(
            job.comment,
            format!("forebay:6f1c:j1 {}", &text[..text.len().min(900)])
        );
        assert_eq!(
            (job.uid, job.partition.as_str()),
            (world.users[0].uid, "debug")
        );
        let detail = cli.job(id).await.expect("an answer").expect("the job");
        assert_eq!((&detail.job, detail.stdin.as_str()), (job, "/dev/null"));
    }
    cli.release(&ids).await.expect("answers");
    wait_for_ends(&cli, &ids).await;
    let records = wait_for_records(&cli, &ids, |records| {
        records.len() == texts.len() && records.iter().all(|record| record.state.is_terminal())
    })
    .await;
    for (id, text) in ids.iter().zip(texts) {
        let record = records
            .iter()
            .find(|record| record.id == *id)
            .expect("a record");
        // slurmdbd cuts a name at 255 bytes and writes its double quotes as backquotes; what its
        // tables' character set lacks becomes a question mark. Comments of ASCII come back whole.
        let latin = |text: &str| {
            text.chars()
                .map(|c| if c > '\u{ff}' { '?' } else { c })
                .collect::<String>()
        };
        let name: String = text.replace('"', "`").chars().take(255).collect();
        let comment = format!("forebay:6f1c:j1 {}", &text[..text.len().min(900)]);
        assert!([latin(&name), name].contains(&record.name), "{record:#?}");
        assert!(
            [latin(&comment), comment].contains(&record.comment),
            "{record:#?}"
        );
        assert_eq!(record.partition, "debug");
    }
}

// This crate's own submissions never hold a newline, but other people's jobs may.
#[tokio::test]
async fn a_newline_in_somebody_elses_job_moves_no_column() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let runner = world.runner(1);
    let mut ids = Vec::new();
    for name in ["two\nlines", "\n", "1\n2\n3|4\n", "tab\tand\rreturn"] {
        let args = ["--parsable", "--hold", "--output=/dev/null"].map(str::to_owned);
        let mut command = Command::new(Program::Sbatch, args);
        command.args.push(format!("--job-name={name}"));
        command.args.push(format!("--comment={name}"));
        command.stdin = Some(b"#!/bin/sh\ntrue\n".to_vec());
        let output = runner.run(command).await.expect("sbatch");
        let id: JobId = String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .expect("an id");
        ids.push((id, name));
    }
    // Seen by another user: what one user writes cannot harm another's list.
    let cli = world.cli(0);
    let all: Vec<JobId> = ids.iter().map(|(id, _)| id.clone()).collect();
    let jobs = wait_for(&cli, &all, "all of them", |jobs| jobs.len() == ids.len()).await;
    for (id, name) in &ids {
        let job = jobs.iter().find(|job| job.id == *id).expect("the job");
        assert_eq!(
            (job.name.as_str(), job.comment.as_str(), job.uid),
            (*name, *name, world.users[1].uid)
        );
    }
    let whole = cli
        .queue(&forebay_slurm::QueueQuery::default())
        .await
        .expect("a list");
    assert!(whole.skipped.is_empty(), "{:?}", whole.skipped);
    let owner = world.cli(1);
    owner
        .cancel(&all, &CancelOptions::default())
        .await
        .expect("answers");
    let records = wait_for_records(&cli, &all, |records| records.len() == ids.len()).await;
    assert!(
        records
            .iter()
            .all(|record| record.uid == Some(world.users[1].uid)),
        "{records:#?}"
    );
}
