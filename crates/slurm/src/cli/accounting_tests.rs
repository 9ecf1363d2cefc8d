//! `sacct`'s lists, as real ones printed them.

use super::*;
use crate::cli::testing::{Answers, cli};
use crate::runner::Exit;

#[test]
fn recorded_lists_are_read() {
    for (release, text) in [
        (
            "22.05.8",
            include_str!("../../tests/fixtures/22.05.8/sacct.txt"),
        ),
        (
            "24.11.5",
            include_str!("../../tests/fixtures/24.11.5/sacct.txt"),
        ),
    ] {
        let listing = counted_rows(&Separators::of(0).row, text, read_job);
        assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
        let shown: Vec<String> = listing
            .items
            .iter()
            .map(|job| {
                let time = |time: Option<OffsetDateTime>| time.map_or(0, OffsetDateTime::unix_timestamp);
                format!(
                    "{} ({}) {}({:?}) {} started={} exit {:?} derived {:?} | {} {} {} {} {}s of {} | {} {} {:?} {:?} rss {:?} {:?} | {} {:?} {:?} {:?}\n",
                    job.id,
                    job.job_id,
                    job.user,
                    job.uid,
                    job.state,
                    job.has_started(),
                    job.exit.map(|exit| exit.to_string()),
                    job.derived_exit.map(|exit| exit.to_string()),
                    time(job.submit_time),
                    time(job.eligible_time),
                    time(job.start_time),
                    time(job.end_time),
                    job.elapsed_s,
                    job.time_limit,
                    job.partition,
                    job.qos,
                    job.nodes,
                    job.tres,
                    job.rss_max_kib,
                    job.reason,
                    job.account,
                    job.name,
                    job.comment,
                    job.work_dir,
                )
            })
            .collect();
        insta::assert_snapshot!(format!("accounting-{release}"), shown.concat());
    }
}

#[test]
fn a_record_of_an_end_alone_names_no_owner() {
    // As a real sacct printed it, two seconds after the job.
    let fields = [
        "66",
        "66",
        "0",
        "fbtest1",
        "COMPLETED",
        "0:0",
        "0:0",
        "1795370087",
        "0",
        "1795370088",
        "1795370089",
        "1",
        "",
        "",
        "Unknown",
        "n1",
        "billing=1,cpu=1,mem=16M,node=1",
        "",
        "None",
        "research",
        "allocation",
        "forebay:6f1c:j1 a|b|c",
        "",
    ];
    let job = read_job(&fields).unwrap();
    assert!(job.partial && job.uid.is_none() && job.name.is_empty());
    assert!(job.state.is_terminal() && job.comment.starts_with("forebay:6f1c:j1 "));
}

#[tokio::test]
async fn silence_is_never_an_empty_list() {
    let query = AcctQuery {
        ids: vec![JobId::new(1)],
        ..AcctQuery::default()
    };
    let down = "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to \
                host:127.0.0.1:21019: Connection refused\nsacct: error: Sending PersistInit msg: Connection refused\n\
                sacct: error: Problem talking to the database: Connection refused\n";
    let slurm = cli(Answers::new().answer(Exit::Code(1), "", down));
    assert!(slurm.accounting(&query).await.unwrap_err().is_unavailable());
    let slurm =
        cli(Answers::new().answer(Exit::Code(1), "", "Slurm accounting storage is disabled\n"));
    assert!(matches!(
        slurm.accounting(&query).await,
        Err(Error::NoAccounting)
    ));
    let slurm = cli(Answers::new().answer(Exit::Code(0), "", ""));
    assert_eq!(slurm.accounting(&query).await.unwrap(), Listing::default());
    // Without jobs and without a time, sacct would begin at midnight.
    assert!(matches!(
        slurm.accounting(&AcctQuery::default()).await,
        Err(Error::Invalid { .. })
    ));
}

#[tokio::test]
async fn the_window_is_always_told() {
    let answers = Answers::new()
        .answer(Exit::Code(0), "", "")
        .answer(Exit::Code(0), "", "");
    let slurm = cli(answers.clone());
    let since = OffsetDateTime::from_unix_timestamp(1_795_366_531).unwrap();
    let query = AcctQuery {
        users: vec!["alice".into()],
        since: Some(since),
        ..AcctQuery::default()
    };
    slurm.accounting(&query).await.unwrap();
    slurm
        .accounting(&AcctQuery {
            ids: vec![JobId::of_task(7, 1)],
            ..AcctQuery::default()
        })
        .await
        .unwrap();
    let asked = answers.asked();
    assert!(
        asked[0]
            .args
            .contains(&"--starttime=2026-11-22T16:55:31".to_owned()),
        "{:?}",
        asked[0].args
    );
    assert!(asked[0].args.contains(&"--user=alice".to_owned()));
    assert!(
        asked[1]
            .args
            .contains(&"--starttime=1970-01-01T00:00:00".to_owned())
    );
    assert!(
        asked[1].args.contains(&"--jobs=7".to_owned())
            && asked[1].args.contains(&"--allusers".to_owned())
    );
    assert!(
        asked
            .iter()
            .all(|command| command.env.contains(&("TZ".into(), "UTC".into())))
    );
}
