//! `squeue`'s lists, as real ones printed them.

use super::*;
use crate::cli::testing::{Answers, cli};
use crate::runner::Exit;
use crate::state::{BaseState, StateFlag};
use time::format_description::well_known::Rfc3339;

fn by() -> Separators {
    Separators::of(0)
}

/// A job on a few lines, times relative to nothing: they are as recorded.
fn show(job: &QueueJob) -> String {
    let time = |time: Option<OffsetDateTime>| {
        time.map_or_else(|| "-".to_owned(), |time| time.format(&Rfc3339).unwrap())
    };
    format!(
        "{} ({}) het {:?} {}({}) {} held={} started={} {:?} prio {} restarts {}\n  {} | {} | {} | nodes {:?} {:?} cpus {:?} | {}\n  \
         {} {} {} {}\n  {:?} {:?} {:?}\n  {:?} {:?} {:?}\n",
        job.id,
        job.job_id,
        job.het_job_id,
        job.user,
        job.uid,
        job.state,
        job.is_held(),
        job.has_started(),
        job.exit.map(|exit| exit.to_string()),
        if job.priority == 0 { "0" } else { "set" },
        job.restarts,
        job.partition,
        job.account,
        job.qos,
        job.nodes,
        job.node_count,
        job.cpu_count,
        job.time_limit,
        time(job.submit_time),
        time(job.eligible_time),
        time(job.start_time),
        time(job.end_time),
        job.reason,
        job.name,
        job.comment,
        job.stdout,
        job.stderr,
        job.work_dir,
    )
}

#[test]
fn recorded_lists_are_read() {
    for (release, text) in [
        (
            "22.05.8",
            include_str!("../../tests/fixtures/22.05.8/squeue.txt"),
        ),
        (
            "24.11.5",
            include_str!("../../tests/fixtures/24.11.5/squeue.txt"),
        ),
    ] {
        let listing = by().rows(text, read_job);
        assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
        insta::assert_snapshot!(
            format!("queue-{release}"),
            listing.items.iter().map(show).collect::<Vec<_>>().concat()
        );
    }
}

#[test]
fn recorded_details_are_read() {
    for (release, text) in [
        (
            "22.05.8",
            include_str!("../../tests/fixtures/22.05.8/squeue_detail.txt"),
        ),
        (
            "24.11.5",
            include_str!("../../tests/fixtures/24.11.5/squeue_detail.txt"),
        ),
    ] {
        let listing = by().rows(text, read_detail);
        assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
        insta::assert_debug_snapshot!(format!("detail-{release}"), listing.items);
    }
}

/// A row of these separators, with a few fields changed.
fn row(by: &Separators, changes: &[(&str, &str)]) -> String {
    let fields: Vec<&str> = LIST
        .iter()
        .map(|field| {
            let default = match *field {
                "JobArrayID" | "JobID" => "7",
                "UserID" => "1000",
                "State" => "RUNNING",
                "PriorityLong" => "1",
                "SubmitTime" => "1795366531",
                "WorkDir" => "/home/alice",
                _ => "N/A",
            };
            changes
                .iter()
                .find(|(name, _)| name == field)
                .map_or(default, |(_, value)| value)
        })
        .collect();
    format!("{}{}\n", fields.join(&by.field), by.row)
}

#[test]
fn one_broken_row_leaves_the_others() {
    let by = Separators::new();
    let text = [
        row(&by, &[("JobArrayID", "1_[2-3%1]")]),
        row(&by, &[("JobArrayID", "zork")]),
        row(&by, &[("UserID", "nobody")]),
        row(&by, &[("SubmitTime", "yesterday")]),
        row(
            &by,
            &[("JobArrayID", "4294967299"), ("Name", "a\u{1f}b\u{1e}c\n|")],
        ),
    ]
    .concat();
    let listing = by.rows(&text, read_job);
    let ids: Vec<String> = listing.items.iter().map(|job| job.id.to_string()).collect();
    assert_eq!(ids, ["1_[2-3%1]", "4294967299"]);
    assert_eq!(listing.items[1].name, "a\u{1f}b\u{1e}c\n|");
    assert_eq!(listing.skipped.len(), 3);
}

#[test]
fn a_lone_flag_hides_the_state() {
    let by = Separators::new();
    let listing = by.rows(&row(&by, &[("State", "COMPLETING")]), read_job);
    let state = &listing.items[0].state;
    assert_eq!(
        (
            &state.base,
            state.has(&StateFlag::Completing),
            state.is_terminal()
        ),
        (&BaseState::Hidden, true, false)
    );
}

#[tokio::test]
async fn silence_is_never_an_empty_list() {
    for stderr in [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
        "slurm_load_jobs error: Socket timed out on send/recv operation\n",
        "squeue: error: If munged is up, restart with --num-threads=10\n",
    ] {
        let cli = cli(Answers::new().answer(Exit::Code(1), "", stderr));
        assert!(
            cli.queue(&QueueQuery::default())
                .await
                .unwrap_err()
                .is_unavailable(),
            "{stderr}"
        );
    }
    // A failure is one even if it could be mistaken for "no such job".
    let query = QueueQuery::default();
    let slurm = cli(Answers::new().answer(
        Exit::Code(1),
        "",
        "slurm_load_jobs error: Invalid job id specified\n",
    ));
    assert!(slurm.queue(&query).await.is_err());
    let killed = cli(Answers::new().answer(Exit::Signal(9), "", ""));
    assert!(killed.queue(&query).await.is_err());
    let empty = cli(Answers::new().answer(Exit::Code(0), "", ""));
    assert_eq!(empty.queue(&query).await.unwrap(), Listing::default());
}

#[tokio::test]
async fn an_unknown_id_is_absent() {
    let query = QueueQuery {
        ids: vec![JobId::new(5)],
        ..QueueQuery::default()
    };
    let slurm = cli(Answers::new().answer(
        Exit::Code(1),
        "",
        "slurm_load_jobs error: Invalid job id specified\n",
    ));
    assert_eq!(slurm.queue(&query).await.unwrap(), Listing::default());
    let slurm = cli(Answers::new().answer(
        Exit::Code(1),
        "",
        "slurm_load_jobs error: Invalid job id specified\n",
    ));
    assert_eq!(slurm.job(&JobId::new(5)).await.unwrap(), None);
}

#[tokio::test]
async fn questions_are_asked_safely_and_in_batches() {
    let answers = Answers::new()
        .answer(Exit::Code(0), "", "")
        .answer(Exit::Code(0), "", "");
    let slurm = cli(answers.clone());
    let mut limits = slurm.limits().clone();
    limits.batch_max = 2;
    let slurm = Cli::with_limits(answers.clone(), limits);
    let ids = ["3_[1-2]", "1", "2_5", "1.batch"]
        .map(|id| id.parse().unwrap())
        .to_vec();
    let query = QueueQuery {
        users: vec!["alice".into(), "1001".into()],
        ids,
        states: vec!["PENDING".into()],
    };
    slurm.queue(&query).await.unwrap();
    let asked = answers.asked();
    assert_eq!(
        asked[0].args[..5],
        [
            "--noheader",
            "--all",
            "--states=PENDING",
            "--users=alice,1001",
            "--jobs=1,2"
        ]
    );
    assert_eq!(asked[1].args[4], "--jobs=3");
    assert!(
        asked[0]
            .env
            .contains(&("SLURM_BITSTR_LEN".into(), "0".into()))
    );
    // Each call has separators of its own.
    assert_ne!(asked[0].args[5], asked[1].args[5]);
    for user in ["", "a,b", "a b", "--me", "a\nb", "é"] {
        let query = QueueQuery {
            users: vec![user.into()],
            ..QueueQuery::default()
        };
        let result = slurm.queue(&query).await;
        // A leading dash is harmless: it stands behind an equals sign. The rest is refused.
        assert!(
            user == "--me" || matches!(result, Err(Error::Invalid { .. })),
            "{user:?} {result:?}"
        );
    }
}
