//! Jobs as their owners have them.

use std::collections::BTreeSet;

use forebay_central::{Created, Error, JobFilter, JobSort, NewJob};
use forebay_wire::{
    Code, JobId, JobState,
    api::{EventKind, Job, LogStream},
    link::Observation,
};

use crate::world::{World, actor, at, released, saw, spec};

#[tokio::test]
async fn a_job_is_its_owners_alone() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    world.linked().await;
    let job = world.submit(&ann, "mine").await;
    assert_eq!(job.status.state, JobState::Queued);
    assert_eq!((job.owner.as_str(), job.site.as_str()), ("ann", "here"));
    assert_eq!(world.store.job(&ann, job.id).await.expect("hers"), job);

    let not_found = |error: Error| matches!(error, Error::NotFound("job"));
    let unknown = JobId::new();
    for (caller, id) in [(&bob, job.id), (&ann, unknown)] {
        assert!(not_found(
            world.store.job(caller, id).await.expect_err("no job")
        ));
        assert!(not_found(
            world
                .store
                .job_events(caller, id, 0, 10)
                .await
                .expect_err("no job")
        ));
        assert!(not_found(
            world
                .store
                .job_tasks(caller, id, None, 10)
                .await
                .expect_err("no job")
        ));
        assert!(not_found(
            world.store.job_place(caller, id).await.expect_err("no job")
        ));
        assert!(not_found(
            world
                .store
                .job_cancel(caller, id, &actor("user"))
                .await
                .expect_err("no job")
        ));
        let tail = world
            .store
            .log_tail(caller, id, LogStream::Stdout, None)
            .await
            .expect("an answer");
        assert_eq!(tail, None);
    }
    let none = world
        .store
        .jobs(&bob, &JobFilter::default(), JobSort::Newest, None, 50)
        .await
        .expect("a page");
    assert!(none.items.is_empty());
    assert_eq!(
        world
            .store
            .job(&ann, job.id)
            .await
            .expect("hers")
            .status
            .state,
        JobState::Queued
    );
}

#[tokio::test]
async fn an_unknown_cluster_is_named_with_the_known_ones() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    world.linked().await;
    let spec = spec("nowhere", "x");
    let new = NewJob {
        spec: &spec,
        key: Some(("k", [0; 32])),
    };
    let error = world
        .store
        .job_create(&ann, &new, &actor("user"))
        .await
        .expect_err("no such cluster");
    let problem = error.problem();
    assert_eq!(problem.code, Code::Invalid);
    assert_eq!(problem.details[0].field, "spec.cluster");
    assert!(problem.message.contains("hpc"), "{}", problem.message);
    let client = world.store.pool().get().await.expect("a connection");
    let rows = client
        .query(
            "SELECT FROM jobs UNION ALL SELECT FROM idempotency_keys",
            &[],
        )
        .await
        .expect("rows");
    assert_eq!(rows.len(), 0, "nothing was written");
}

#[tokio::test]
async fn the_same_key_gives_the_first_answer() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let link = world.linked().await;
    let spec = spec("hpc", "once");
    let create = |caller: forebay_central::Caller, digest: u8| {
        let (world, spec) = (&world, &spec);
        async move {
            let new = NewJob {
                spec,
                key: Some(("key", [digest; 32])),
            };
            world.store.job_create(&caller, &new, &actor("user")).await
        }
    };
    let first = create(ann.clone(), 1).await.expect("a job");
    assert!(!first.repeated);
    // Also when the job has moved on.
    world.claim(&link, 1).await;
    let again = create(ann.clone(), 1).await.expect("the same");
    assert_eq!(
        again,
        Created {
            job: first.job.clone(),
            repeated: true
        }
    );
    let other = create(ann.clone(), 2).await.expect_err("another request");
    assert_eq!(other.problem().code, Code::IdempotencyMismatch);
    // Keys are each user's own.
    let bobs = create(bob, 2).await.expect("a job");
    assert_ne!(bobs.job.id, first.job.id);
    // After 24 hours the key is free again.
    let client = world.store.pool().get().await.expect("a connection");
    client
        .batch_execute("UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
        .await
        .expect("aged");
    let later = create(ann, 2).await.expect("a job");
    assert_ne!(later.job.id, first.job.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_creates_with_one_key_make_one_job() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    world.linked().await;
    let spec = spec("hpc", "once");
    for round in 0..5u8 {
        let key = format!("key {round}");
        let creates = (0..12).map(|_| {
            let new = NewJob {
                spec: &spec,
                key: Some((&key, [round; 32])),
            };
            let (world, ann) = (&world, &ann);
            async move {
                world
                    .store
                    .job_create(ann, &new, &actor("user"))
                    .await
                    .expect("an answer")
            }
        });
        let all = futures_util::future::join_all(creates).await;
        let ids: BTreeSet<_> = all.iter().map(|created| created.job.id).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(all.iter().filter(|created| !created.repeated).count(), 1);
    }
}

#[tokio::test]
async fn cancelling() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let user = actor("user:ann");
    let queued = world.submit(&ann, "queued").await;
    let cancelled = world
        .store
        .job_cancel(&ann, queued.id, &user)
        .await
        .expect("cancelled");
    assert_eq!(cancelled.status.state, JobState::Cancelled);
    let again = world
        .store
        .job_cancel(&ann, queued.id, &user)
        .await
        .expect_err("it has ended");
    assert_eq!(again.problem().code, Code::Conflict);

    let taken = world.submit(&ann, "taken").await;
    assert_eq!(
        world.claim(&link, 5).await.jobs.len(),
        1,
        "the cancelled one is not given out"
    );
    let wanted = world
        .store
        .job_cancel(&ann, taken.id, &user)
        .await
        .expect("wanted");
    assert_eq!(wanted.status.state, JobState::Submitting);
    let when = wanted.status.cancel_wanted_at.expect("noted");
    let again = world
        .store
        .job_cancel(&ann, taken.id, &user)
        .await
        .expect("a repeat is fine");
    assert_eq!(
        (again.status.cancel_wanted_at, again.rev),
        (Some(when), wanted.rev)
    );
    assert!(
        world.store.open_jobs(&link, None).await.expect("open").jobs[0]
            .work
            .cancel_wanted
    );
    let ended = forebay_wire::link::Observation::Ended {
        end: JobState::Cancelled,
        exit: None,
        started_at: None,
        nodes: None,
        message: None,
    };
    world.report(&link, vec![saw(taken.id, at(5), ended)]).await;
    let job = world.store.job(&ann, taken.id).await.expect("hers");
    assert_eq!(job.status.state, JobState::Cancelled);
    let events = world
        .store
        .job_events(&ann, taken.id, 0, 100)
        .await
        .expect("events");
    let kinds: Vec<_> = events.items.iter().map(|event| event.kind).collect();
    let state = |state| EventKind::State { state };
    assert_eq!(
        kinds,
        [
            state(JobState::Queued),
            state(JobState::Submitting),
            EventKind::CancelWanted,
            state(JobState::Cancelled),
        ]
    );
    assert_eq!((events.more, events.state), (false, JobState::Cancelled));
    let rest = world
        .store
        .job_events(&ann, taken.id, 2, 1)
        .await
        .expect("events");
    assert_eq!((rest.items[0].seq, rest.more), (3, true));
    let audit = world
        .store
        .audit_list(Some("user:ann"), 10)
        .await
        .expect("the audit");
    assert_eq!(
        audit
            .iter()
            .filter(|entry| entry.action == "job.cancel")
            .count(),
        3
    );
}

/// Every job appears exactly once over the pages, while others come and go.
#[tokio::test]
async fn page_two_is_page_two() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    world.linked().await;
    let rows: Vec<_> = (0..1000)
        .map(|number| (ann.user, format!("job {:03}", number % 250), 0))
        .collect();
    world.bulk(&rows).await;
    let everything = JobFilter::default();
    for sort in [
        JobSort::Oldest,
        JobSort::Newest,
        JobSort::Name,
        JobSort::NameDown,
    ] {
        let before: BTreeSet<JobId> = all(&world, &ann, &everything, sort, 200)
            .await
            .iter()
            .map(|job| job.id)
            .collect();
        let mut seen = Vec::new();
        let mut cursor = None;
        for number in 0.. {
            let page = world
                .store
                .jobs(&ann, &everything, sort, cursor.as_deref(), 37)
                .await
                .expect("a page");
            seen.extend(page.items.into_iter().map(|job| job.id));
            world.submit(&ann, &format!("job {number:03}")).await;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let distinct: BTreeSet<_> = seen.iter().copied().collect();
        assert_eq!(seen.len(), distinct.len(), "{sort:?}: none twice");
        assert!(before.is_subset(&distinct), "{sort:?}: none left out");
    }
    let named = JobFilter {
        name: Some("JOB 01".into()),
        ..JobFilter::default()
    };
    let found = all(&world, &ann, &named, JobSort::Name, 7).await;
    assert!(found.len() >= 40 && found.iter().all(|job| job.spec.cluster.as_str() == "hpc"));
    let ended = JobFilter {
        states: vec![JobState::Failed, JobState::Lost],
        ..JobFilter::default()
    };
    assert!(
        all(&world, &ann, &ended, JobSort::Newest, 50)
            .await
            .is_empty()
    );
    // A cursor is for its own list.
    let page = world
        .store
        .jobs(&ann, &everything, JobSort::Newest, None, 5)
        .await
        .expect("a page");
    let cursor = page.next.expect("more");
    for (filter, sort) in [(&named, JobSort::Newest), (&everything, JobSort::Oldest)] {
        let refused = world.store.jobs(&ann, filter, sort, Some(&cursor), 5).await;
        assert!(matches!(refused, Err(Error::Cursor)));
    }
}

#[tokio::test]
async fn open_jobs_are_found_among_many_that_have_ended() {
    use JobState::{Queued, Rejected, Submitting};

    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let ended = world.submit(&ann, "ended").await.id;
    world.claim(&link, 1).await;
    let message = "No such partition.".to_owned();
    let refused = saw(ended, at(1), Observation::Refused { message });
    world.report(&link, vec![refused]).await;
    let taken = world.submit(&ann, "taken").await.id;
    world.claim(&link, 1).await;
    let queued = world.submit(&ann, "queued").await.id;
    let listed = async |states: &[JobState]| {
        let filter = JobFilter {
            states: states.to_vec(),
            ..JobFilter::default()
        };
        let jobs = all(&world, &ann, &filter, JobSort::Oldest, 50).await;
        jobs.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[Queued, Submitting]).await, [taken, queued]);
    assert_eq!(listed(&[Queued]).await, [queued]);
    assert_eq!(listed(&[Queued, Rejected]).await, [ended, queued]);
    assert_eq!(listed(&[]).await, [ended, taken, queued]);
}

async fn all(
    world: &World,
    caller: &forebay_central::Caller,
    filter: &JobFilter,
    sort: JobSort,
    limit: u32,
) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = world
            .store
            .jobs(caller, filter, sort, cursor.as_deref(), limit)
            .await
            .expect("a page");
        jobs.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return jobs;
        }
    }
}

#[tokio::test]
async fn a_silent_site_or_scheduler_makes_its_jobs_stale() {
    use forebay_wire::{Freshness, api::ClusterStatus, link::Report};

    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let job = world.submit(&ann, "x").await;
    world.claim(&link, 1).await;
    let scheduler = |freshness| Report::Cluster {
        cluster: "hpc".parse().expect("a name"),
        status: ClusterStatus {
            freshness,
            message: None,
            version: None,
            seen_at: None,
            partitions: Vec::new(),
        },
    };
    let is = async || {
        let job = world.store.job(&ann, job.id).await.expect("hers");
        (job.status.state, job.status.freshness)
    };
    world
        .report(
            &link,
            vec![
                scheduler(Freshness::Live),
                saw(job.id, at(2), released("7")),
            ],
        )
        .await;
    assert_eq!(is().await, (JobState::Pending, Freshness::Live));
    world.report(&link, vec![scheduler(Freshness::Stale)]).await;
    assert_eq!(is().await, (JobState::Pending, Freshness::Stale));
    world.report(&link, vec![scheduler(Freshness::Live)]).await;
    assert_eq!(is().await, (JobState::Pending, Freshness::Live));

    let client = world.store.pool().get().await.expect("a connection");
    client
        .batch_execute("UPDATE sites SET seen_at = now() - interval '1 minute'")
        .await
        .expect("aged");
    let stale = world.store.job(&ann, job.id).await.expect("hers");
    assert_eq!(stale.status.freshness, forebay_wire::Freshness::Stale);
    assert_eq!(
        stale.status.state,
        JobState::Pending,
        "the last state stays visible"
    );
    let cluster = world
        .store
        .cluster(&"hpc".parse().expect("a name"))
        .await
        .expect("it");
    assert_eq!(cluster.status.freshness, forebay_wire::Freshness::Stale);
    world.store.link_heard(&link).await.expect("heard");
    let live = world.store.job(&ann, job.id).await.expect("hers");
    assert_eq!(live.status.freshness, forebay_wire::Freshness::Live);
}
