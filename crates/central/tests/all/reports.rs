//! Reports: in order, once, and one bad item stops nothing.

use forebay_central::Error;
use forebay_wire::{
    Code, Freshness, JobId, JobState,
    api::{ClusterStatus, Exit, JobTask, LogStream},
    link::{Observation, Report, Reports},
};

use crate::world::{World, at, released, saw};

fn ended(end: JobState) -> Observation {
    Observation::Ended {
        end,
        exit: Some(Exit {
            code: 3,
            signal: None,
        }),
        started_at: Some(at(2)),
        nodes: Some("n1".into()),
        message: Some("it\0said".into()),
    }
}

#[tokio::test]
async fn a_job_goes_through_its_life() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let job = world.submit(&ann, "x").await.id;
    world.claim(&link, 1).await;
    let state = || async { world.store.job(&ann, job).await.expect("hers").status };
    world
        .report(&link, vec![saw(job, at(1), released("7"))])
        .await;
    assert_eq!(state().await.state, JobState::Pending);
    assert_eq!(state().await.stdout_path.as_deref(), Some("/home/ann/out"));
    world
        .report(
            &link,
            vec![saw(
                job,
                at(1),
                Observation::Waiting {
                    reason: "Priority".into(),
                },
            )],
        )
        .await;
    assert_eq!(state().await.reason.as_deref(), Some("Priority"));
    let missing = Observation::Freshness {
        freshness: Freshness::Missing,
        message: None,
    };
    world.report(&link, vec![saw(job, at(2), missing)]).await;
    assert_eq!(state().await.freshness, Freshness::Missing);
    world
        .report(
            &link,
            vec![
                saw(
                    job,
                    at(2),
                    Observation::Started {
                        nodes: Some("n1".into()),
                    },
                ),
                saw(job, at(3), Observation::Ending),
                saw(job, at(4), ended(JobState::Failed)),
            ],
        )
        .await;
    let end = state().await;
    assert_eq!(
        (end.state, end.freshness),
        (JobState::Failed, Freshness::Live)
    );
    assert_eq!(
        end.exit,
        Some(Exit {
            code: 3,
            signal: None
        })
    );
    assert_eq!(end.reason.as_deref(), Some("it\u{fffd}said"));
    assert_eq!((end.started_at, end.ended_at), (Some(at(2)), Some(at(4))));
    // What comes late changes nothing.
    world
        .report(
            &link,
            vec![saw(job, at(9), Observation::Started { nodes: None })],
        )
        .await;
    assert_eq!(state().await, end);
    let events = world
        .store
        .job_events(&ann, job, 0, 100)
        .await
        .expect("events");
    let numbers: Vec<_> = events.items.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, (1..=7).collect::<Vec<_>>());
}

#[tokio::test]
async fn repeats_are_skipped_and_gaps_refused() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let site = world.known_site("here").await;
    let (_, link) = world.open(&site, &["hpc"]).await;
    let job = world.submit(&ann, "x").await.id;
    world.claim(&link, 1).await;
    let send = |from_seq, items: Vec<Report>| {
        let reports = Reports {
            epoch: link.epoch,
            from_seq,
            items,
        };
        world.store.apply_reports(&link, reports)
    };
    let first = vec![
        saw(job, at(1), released("7")),
        saw(job, at(2), Observation::Started { nodes: None }),
    ];
    assert_eq!(send(1, first.clone()).await.expect("applied").acked_seq, 2);
    let rev = world.store.job(&ann, job).await.expect("hers").rev;
    assert_eq!(send(1, first.clone()).await.expect("known").acked_seq, 2);
    assert_eq!(world.store.job(&ann, job).await.expect("hers").rev, rev);
    // Overlapping: the known part is skipped.
    let mut more = first;
    more.push(saw(job, at(3), Observation::Ending));
    assert_eq!(send(1, more).await.expect("applied").acked_seq, 3);
    assert_eq!(
        world.store.job(&ann, job).await.expect("hers").status.state,
        JobState::Ending
    );
    let gap = send(5, vec![saw(job, at(4), ended(JobState::Failed))])
        .await
        .expect_err("a gap");
    assert!(matches!(gap, Error::Gap { acked_seq: 3 }));
    assert_eq!(gap.problem().code, Code::Conflict);
    assert!(gap.problem().message.contains('4'));
    assert_eq!(send(9, vec![]).await.expect("nothing").acked_seq, 3);
    // An older link reports nothing any more.
    let (_, newer) = world.open(&site, &["hpc"]).await;
    let late = send(4, vec![saw(job, at(4), ended(JobState::Failed))])
        .await
        .expect_err("superseded");
    assert_eq!(late.problem().code, Code::Superseded);
    assert_eq!(
        world.store.job(&ann, job).await.expect("hers").status.state,
        JobState::Ending
    );
    world
        .report(&newer, vec![saw(job, at(4), ended(JobState::Failed))])
        .await;
    assert_eq!(
        world.store.job(&ann, job).await.expect("hers").status.state,
        JobState::Failed
    );
}

/// What a site sends in the place of a report that it cannot read itself.
#[tokio::test]
async fn a_report_of_nothing_takes_its_number_and_changes_nothing() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let job = world.submit(&ann, "x").await.id;
    world.claim(&link, 1).await;
    let before = world.store.job(&ann, job).await.expect("hers");
    let reports = |from_seq, items| Reports {
        epoch: link.epoch,
        from_seq,
        items,
    };
    let nothing = reports(1, vec![Report::nothing(), Report::nothing()]);
    let applied = world.store.apply_reports(&link, nothing).await;
    assert_eq!(applied.expect("taken").acked_seq, 2);
    assert_eq!(world.store.job(&ann, job).await.expect("hers"), before);
    let more = reports(3, vec![Report::nothing(), saw(job, at(1), released("7"))]);
    let applied = world.store.apply_reports(&link, more).await;
    assert_eq!(applied.expect("taken").acked_seq, 4);
    let after = world.store.job(&ann, job).await.expect("hers");
    assert_eq!(after.status.state, JobState::Pending);
}

#[tokio::test]
async fn one_bad_item_stops_nothing() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let there = world.known_site("there").await;
    let (_, other) = world.open(&there, &["tiny"]).await;
    let (mine, untouched) = (
        world.submit(&ann, "x").await.id,
        world.submit(&ann, "y").await.id,
    );
    world.claim(&link, 1).await;
    let bad = ClusterStatus {
        freshness: Freshness::Live,
        message: Some("nul \0 within".into()),
        version: None,
        seen_at: Some(at(1)),
        partitions: vec![],
    };
    world
        .report(
            &link,
            vec![
                saw(JobId::new(), at(1), Observation::Ending),
                // Still queued: nobody has claimed it.
                saw(untouched, at(1), ended(JobState::Failed)),
                saw(mine, at(1), ended(JobState::Lost)),
                Report::Cluster {
                    cluster: "tiny".parse().expect("a name"),
                    status: bad.clone(),
                },
                Report::Cluster {
                    cluster: "hpc".parse().expect("a name"),
                    status: bad,
                },
                Report::LogTail {
                    job: JobId::new(),
                    stream: LogStream::Stdout,
                    task: None,
                    offset: 0,
                    text: "not theirs".into(),
                },
                Report::LogTail {
                    job: mine,
                    stream: LogStream::Stdout,
                    task: None,
                    offset: 5,
                    text: "a\0b".into(),
                },
                saw(mine, at(1), released("7\0")),
            ],
        )
        .await;
    let job = world.store.job(&ann, mine).await.expect("hers");
    assert_eq!(job.status.state, JobState::Pending);
    assert_eq!(job.status.scheduler_id.as_deref(), Some("7\u{fffd}"));
    assert_eq!(
        world
            .store
            .job(&ann, untouched)
            .await
            .expect("hers")
            .status
            .state,
        JobState::Queued
    );
    let cluster = |name: &str| {
        let name = name.parse().expect("a name");
        let store = &world.store;
        async move { store.cluster(&name).await.expect("it").status.message }
    };
    assert_eq!(cluster("hpc").await.as_deref(), Some("nul \u{fffd} within"));
    assert_eq!(
        cluster("tiny").await.as_deref(),
        Some("Its site has not told about it yet.")
    );
    let tail = world
        .store
        .log_tail(&ann, mine, LogStream::Stdout, None)
        .await
        .expect("an answer");
    let tail = tail.expect("a tail");
    assert_eq!((tail.offset, tail.body.as_slice()), (5, b"a\0b".as_slice()));
    // The other site cannot end a job of this one.
    world
        .report(&other, vec![saw(mine, at(3), ended(JobState::Failed))])
        .await;
    assert_eq!(
        world
            .store
            .job(&ann, mine)
            .await
            .expect("hers")
            .status
            .state,
        JobState::Pending
    );
}

fn task(index: u32, state: JobState) -> JobTask {
    JobTask {
        index,
        state,
        scheduler_id: Some(format!("7_{index}")),
        started_at: (state != JobState::Pending).then(|| at(2)),
        ended_at: state.is_end().then(|| at(10 + i64::from(index))),
        exit: state.is_end().then_some(Exit {
            code: 0,
            signal: None,
        }),
        nodes: None,
    }
}

#[tokio::test]
async fn an_array_is_one_job() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let job = world.submit(&ann, "array").await.id;
    world.claim(&link, 1).await;
    let tasks = |tasks: Vec<JobTask>| saw(job, at(5), Observation::Tasks { total: 5, tasks });
    let status = || async { world.store.job(&ann, job).await.expect("hers").status };
    world
        .report(&link, vec![saw(job, at(1), released("7"))])
        .await;
    let waiting = (0..5).map(|index| task(index, JobState::Pending)).collect();
    world.report(&link, vec![tasks(waiting)]).await;
    assert_eq!(
        (status().await.state, status().await.tasks),
        (JobState::Pending, Some(5))
    );
    // Several in one batch, each seeing what those before it brought.
    world
        .report(
            &link,
            vec![
                tasks(vec![task(0, JobState::Running), task(1, JobState::Running)]),
                tasks(vec![task(0, JobState::Succeeded)]),
                tasks(vec![task(1, JobState::Succeeded)]),
            ],
        )
        .await;
    assert_eq!(status().await.state, JobState::Running);
    world
        .report(
            &link,
            vec![tasks(
                (2..5)
                    .map(|index| task(index, JobState::Succeeded))
                    .collect(),
            )],
        )
        .await;
    let end = status().await;
    assert_eq!(
        (end.state, end.ended_at, end.started_at),
        (JobState::Succeeded, Some(at(14)), Some(at(2)))
    );
    let first = world
        .store
        .job_tasks(&ann, job, None, 3)
        .await
        .expect("tasks");
    assert_eq!(
        first
            .items
            .iter()
            .map(|task| task.index)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let rest = world
        .store
        .job_tasks(&ann, job, first.next.as_deref(), 3)
        .await
        .expect("tasks");
    assert_eq!(
        rest.items.iter().map(|task| task.index).collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(rest.next, None);
}

/// 1,000 items: as many statements as for one.
#[tokio::test]
async fn a_full_batch_takes_few_statements() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    world
        .bulk(
            &(0..250)
                .map(|number| (ann.user, format!("{number}"), 0))
                .collect::<Vec<_>>(),
        )
        .await;
    let jobs: Vec<_> = world
        .claim(&link, 250)
        .await
        .jobs
        .into_iter()
        .map(|work| work.job)
        .collect();
    assert_eq!(jobs.len(), 250);
    let count = || -> u64 {
        world
            .store
            .pool()
            .query_stats()
            .iter()
            .map(|(_, stats)| stats.calls)
            .sum()
    };
    let items: Vec<_> = jobs
        .iter()
        .flat_map(|job| {
            [
                saw(*job, at(1), released("7")),
                saw(*job, at(2), Observation::Started { nodes: None }),
                saw(*job, at(3), Observation::Ending),
                saw(*job, at(4), ended(JobState::Failed)),
            ]
        })
        .collect();
    let before = count();
    let began = std::time::Instant::now();
    world.report(&link, items).await;
    println!(
        "1,000 reports in {:?}, {} statements",
        began.elapsed(),
        count() - before
    );
    assert!(count() - before <= 10, "{}", count() - before);
    let counts = world.store.jobs_by_state().await.expect("counts");
    assert!(counts.is_empty(), "{counts:?}");
}
