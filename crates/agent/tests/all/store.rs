//! The site database: nothing is lost, doubled or out of order.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use forebay_agent::{
    job::{Copy, Phase, Told, Tracked},
    store::{Change, StoreError, hold_site},
};
use forebay_service::Tasks;
use forebay_testbed::{need, postgres::Postgres};
use forebay_wire::{
    Freshness, JobId, JobState, Timestamp,
    api::LogStream,
    link::{Observation, Report},
};
use futures_util::future::join_all;

use crate::database::{claimed, database, of, open, pool, sql};

fn waiting(job: JobId, reason: impl Into<String>) -> Report {
    Report::Job {
        job,
        at: Timestamp::now(),
        run: 0,
        saw: Observation::Waiting {
            reason: reason.into(),
        },
    }
}

fn tail(bytes: usize) -> Report {
    Report::LogTail {
        job: JobId::new(),
        stream: LogStream::Stdout,
        task: None,
        offset: 0,
        text: "x".repeat(bytes),
    }
}

fn reason(report: &Report) -> &str {
    match report {
        Report::Job {
            saw: Observation::Waiting { reason },
            ..
        } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_of_many_writers_are_numbered_without_gaps_in_the_order_of_commits() {
    need!(Postgres);
    let tasks = Tasks::new();
    let store = open(&database().await, &tasks).await;
    let mut seen = store.reports_written();
    // A reader that never looks back must miss nothing.
    let read = async {
        let mut read = Vec::new();
        while read.len() < 1_000 {
            seen.changed().await.expect("the store lives");
            let after = read.last().map_or(0, |(seq, _)| *seq);
            read.extend(
                store
                    .reports_after(after, 1_000, 1 << 20)
                    .await
                    .expect("they are read"),
            );
        }
        read
    };
    let write = join_all((0..50).map(|writer| {
        let store = store.clone();
        async move {
            let job = JobId::new();
            for n in 0..10 {
                let both = vec![
                    waiting(job, format!("{writer} {n} a")),
                    waiting(job, format!("{writer} {n} b")),
                ];
                store
                    .write(vec![Change::report(both)])
                    .await
                    .expect("written");
            }
        }
    }));
    let (read, _) = tokio::join!(read, write);
    let numbers: Vec<i64> = read.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (1..=1_000).collect::<Vec<_>>());
    let mut of_writer: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (_, report) in &read {
        let (writer, rest) = reason(report).split_once(' ').expect("two words");
        of_writer.entry(writer).or_default().push(rest);
    }
    let in_order: Vec<String> = (0..10)
        .flat_map(|n| [format!("{n} a"), format!("{n} b")])
        .collect();
    assert_eq!(of_writer.len(), 50);
    for (writer, found) in of_writer {
        assert_eq!(found, in_order, "writer {writer}");
    }
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_the_database_refuses_fails_its_own_caller_alone() {
    need!(Postgres);
    let tasks = Tasks::new();
    let store = open(&database().await, &tasks).await;
    let results = join_all((0..20).map(|n| {
        let store = store.clone();
        async move {
            let text = if n == 7 { "NUL: \0" } else { "fine" };
            store
                .write(vec![Change::report(vec![waiting(JobId::new(), text)])])
                .await
        }
    }))
    .await;
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), n != 7, "{n}: {result:?}");
    }
    let kept = store.reports_after(0, 1_000, 1 << 20).await.expect("read");
    let numbers: Vec<i64> = kept.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (1..=19).collect::<Vec<_>>());
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_holder_fences_the_first_off() {
    need!(Postgres);
    let tasks = Tasks::new();
    let database = database().await;
    let first = open(&database, &tasks).await;
    let job = claimed("alice");
    first.write(vec![Change::track(&job)]).await.expect("held");
    // Taken in the midst of the first one's writing.
    let writing = async {
        let until = Instant::now() + Duration::from_secs(15);
        for n in 0.. {
            if Instant::now() > until {
                break;
            }
            let report = Change::report(vec![waiting(job.job, n.to_string())]);
            if let Err(error) = first.write(vec![report]).await {
                return Some(error);
            }
        }
        None
    };
    let taking = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        open(&database, &tasks).await
    };
    let (error, second) = tokio::join!(writing, taking);
    let fenced = match &error {
        Some(StoreError::Batch(error)) => matches!(**error, StoreError::Held),
        Some(StoreError::Held) => true,
        _ => false,
    };
    assert!(fenced, "{error:?}");
    let kept = second
        .reports_after(0, 1_000_000, 1 << 30)
        .await
        .expect("read");
    assert!(
        kept.iter()
            .enumerate()
            .all(|(n, (_, report))| reason(report) == n.to_string())
    );
    second
        .save(&job, vec![waiting(job.job, "second")])
        .await
        .expect("the second writes");
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_held_once() {
    need!(Postgres);
    let database = database().await;
    let (first, second) = (Tasks::new(), Tasks::new());
    hold_site(&pool(&database), &first).await.expect("free");
    let refused = hold_site(&pool(&database), &second).await;
    assert!(matches!(refused, Err(StoreError::Held)), "{refused:?}");
    first.drain(Duration::from_secs(5)).await.expect("it ends");
    hold_site(&pool(&database), &second)
        .await
        .expect("free again");
    assert_eq!(second.fatal_reason(), None);
    second.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_database_fails_writes_and_then_takes_them() {
    need!(Postgres);
    let postgres = Postgres::start().await.expect("it starts");
    let database = of(&postgres).await;
    let tasks = Tasks::new();
    hold_site(&pool(&database), &tasks).await.expect("free");
    let store = open(&database, &tasks).await;
    let job = claimed("alice");
    store
        .write(vec![Change::track(&job)])
        .await
        .expect("written");
    postgres.stop().await.expect("it stops");
    let error = store
        .save(&job, vec![waiting(job.job, "away")])
        .await
        .expect_err("away");
    assert!(error.is_unavailable(), "{error:?}");
    postgres.start_again().await.expect("it starts");
    store
        .save(&job, vec![waiting(job.job, "back")])
        .await
        .expect("back");
    let kept = store.reports_after(0, 10, 1 << 20).await.expect("read");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((kept[0].0, reason(&kept[0].1)), (1, "back"));
    assert_eq!(tasks.fatal_reason(), None, "the lock is held again");
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
    postgres.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_read_back_as_they_were() {
    need!(Postgres);
    let tasks = Tasks::new();
    let database = database().await;
    let store = open(&database, &tasks).await;
    let mut job = claimed("alice");
    let fresh = claimed("bob");
    let mut closed = claimed("carol");
    store
        .write(vec![
            Change::track(&job),
            Change::track(&fresh),
            Change::track(&closed),
        ])
        .await
        .expect("tracked");
    job.phase = Phase::Releasing;
    job.attempt = 2;
    job.cancel_wanted = true;
    job.copy = Some(Copy {
        scheduler_id: "123_4".into(),
        submitted_at: Timestamp::now(),
    });
    job.told = Told {
        state: Some(JobState::Running),
        reason: Some("Resources".into()),
        run: 3,
        freshness: Some(Freshness::Missing),
        absent_since: Some(Timestamp::now()),
        tasks: [(0, JobState::Running), (7, JobState::OutOfMemory)].into(),
        tasks_absent: [(0, Timestamp::now())].into(),
        stdout_path: Some("/home/alice/out \"%A\"\n".into()),
        stderr_path: None,
    };
    store
        .write(vec![Change::intend(&job, [7; 32])])
        .await
        .expect("intended");
    closed.phase = Phase::Closed;
    store.save(&closed, Vec::new()).await.expect("closed");
    // A row that somebody tracks again keeps what is known.
    store
        .write(vec![Change::track(&Tracked {
            phase: Phase::Claimed,
            copy: None,
            ..job.clone()
        })])
        .await
        .expect("kept");

    assert_eq!(
        store.tracked_job(job.job).await.expect("read"),
        Some(job.clone())
    );
    assert_eq!(store.tracked_job(JobId::new()).await.expect("read"), None);
    let mut found = store.open_jobs().await.expect("read");
    found.sort_by_key(|job| job.job);
    assert_eq!(found, [job.clone(), fresh.clone()]);

    // What this version cannot read stops neither the start nor the others.
    let bad = fresh.job.uuid();
    sql(
        &database,
        &format!("UPDATE tracked_jobs SET spec = '{{\"what\": 1}}' WHERE job = '{bad}'"),
    )
    .await;
    assert_eq!(store.open_jobs().await.expect("read"), [job]);
    assert!(matches!(
        store.tracked_job(fresh.job).await,
        Err(StoreError::Row { .. })
    ));
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_cancel_is_not_undone_by_those_who_have_not_heard_it() {
    need!(Postgres);
    let tasks = Tasks::new();
    let store = open(&database().await, &tasks).await;
    let (mut job, mut closed) = (claimed("alice"), claimed("alice"));
    let track = [&job, &closed].map(Change::track);
    // In one batch with the job itself, and of one that is not here.
    let wishes = [job.job, JobId::new()].map(Change::cancel_wanted);
    let both = track.into_iter().chain(wishes).collect();
    store.write(both).await.expect("written");
    job.phase = Phase::Intent;
    store.save(&job, Vec::new()).await.expect("saved");
    let found = store.tracked_job(job.job).await.expect("read");
    let found = found.expect("kept");
    assert_eq!((found.phase, found.cancel_wanted), (Phase::Intent, true));
    closed.phase = Phase::Closed;
    store.save(&closed, Vec::new()).await.expect("saved");
    let late = vec![Change::cancel_wanted(closed.job)];
    store.write(late).await.expect("written");
    let found = store.tracked_job(closed.job).await.expect("read");
    assert_eq!(found.map(|job| job.cancel_wanted), Some(false));
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_read_in_bounded_pages() {
    need!(Postgres);
    let tasks = Tasks::new();
    let store = open(&database().await, &tasks).await;
    let reports = vec![tail(1_000), tail(1_000), tail(50_000), tail(10), tail(10)];
    store
        .write(vec![Change::report(reports)])
        .await
        .expect("written");
    let page = async |after, items, bytes| -> Vec<i64> {
        let page = store
            .reports_after(after, items, bytes)
            .await
            .expect("read");
        page.into_iter().map(|(seq, _)| seq).collect()
    };
    assert_eq!(page(0, 100, 1 << 20).await, [1, 2, 3, 4, 5]);
    assert_eq!(page(0, 2, 1 << 20).await, [1, 2]);
    assert_eq!(page(0, 100, 3_000).await, [1, 2]);
    assert_eq!(page(2, 100, 3_000).await, [3], "one at least");
    assert_eq!(page(3, 100, 3_000).await, [4, 5]);
    assert_eq!(page(5, 100, 3_000).await, [] as [i64; 0]);
    store.sending_reports(4).await.expect("noted");
    store.forget_reports(3).await.expect("forgotten");
    assert_eq!(page(0, 100, 3_000).await, [4, 5]);
    store.continue_after(3).await.expect("nothing to do");
    store.continue_after(4).await.expect("nothing to do");
    assert_eq!(page(0, 100, 3_000).await, [4, 5]);
    // More than was ever sent from here: 5 is new.
    store.continue_after(10).await.expect("numbered");
    store.forget_reports(10).await.expect("forgotten");
    assert_eq!(page(0, 100, 3_000).await, [11]);
    store
        .write(vec![Change::report(vec![tail(1)])])
        .await
        .expect("written");
    assert_eq!(page(11, 100, 3_000).await, [12]);
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_forgets_what_ended_long_ago_and_nothing_else() {
    need!(Postgres);
    let tasks = Tasks::new();
    let database = database().await;
    let store = open(&database, &tasks).await;
    let (open, mut old, mut new) = (claimed("alice"), claimed("alice"), claimed("alice"));
    for job in [&open, &old, &new] {
        store
            .write(vec![Change::track(job)])
            .await
            .expect("tracked");
        store
            .write(vec![Change::intend(job, [0; 32])])
            .await
            .expect("intended");
    }
    for job in [&mut old, &mut new] {
        job.phase = Phase::Closed;
        store.save(job, Vec::new()).await.expect("closed");
    }
    let aged = format!("'{}', '{}'", open.job.uuid(), old.job.uuid());
    sql(
        &database,
        &format!(
            "UPDATE tracked_jobs SET changed_at = now() - interval '9 days' WHERE job IN ({aged})"
        ),
    )
    .await;
    sql(
        &database,
        "UPDATE attempts SET intended_at = now() - interval '9 days'",
    )
    .await;
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(
        store.prune(7 * day).await.expect("pruned"),
        2,
        "a job and its attempt"
    );
    assert_eq!(store.tracked_job(old.job).await.expect("read"), None);
    assert!(store.tracked_job(new.job).await.expect("read").is_some());
    assert!(store.tracked_job(open.job).await.expect("read").is_some());
    assert_eq!(store.prune(7 * day).await.expect("pruned"), 0);
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_belongs_to_one_installation() {
    need!(Postgres);
    let tasks = Tasks::new();
    let store = open(&database().await, &tasks).await;
    let (ours, other) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    assert_eq!(store.installation().await.expect("read"), None);
    store.pin_installation(ours).await.expect("pinned");
    store.pin_installation(ours).await.expect("the same");
    let refused = store.pin_installation(other).await;
    assert!(
        matches!(refused, Err(StoreError::OtherInstallation { .. })),
        "{refused:?}"
    );
    assert_eq!(store.installation().await.expect("read"), Some(ours));
    tasks.drain(Duration::from_secs(5)).await.expect("it ends");
}
