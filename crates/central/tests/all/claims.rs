//! The queue: order, turns, repeats, and no job twice.

use std::{collections::BTreeSet, time::Instant};

use forebay_central::{Error, JobFilter, JobSort};
use forebay_wire::{
    JobState,
    link::{Claim, Claimed, Work},
};
use serde_json::Value;
use uuid::Uuid;

use crate::world::{World, actor};

fn names(claimed: &Claimed<Value>) -> Vec<String> {
    let name = |work: &Work<Value>| work.spec["name"].as_str().unwrap_or_default().to_owned();
    claimed.jobs.iter().map(name).collect()
}

#[tokio::test]
async fn users_take_turns() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let link = world.linked().await;
    for number in 1..=4 {
        world.submit(&ann, &format!("a{number}")).await;
    }
    for number in 1..=2 {
        world.submit(&bob, &format!("b{number}")).await;
    }
    let first = world.claim(&link, 3).await;
    assert_eq!(names(&first), ["a1", "b1", "a2"]);
    assert!(first.more);
    assert_eq!(first.jobs[0].owner.identity, "ann");
    let rest = world.claim(&link, 10).await;
    assert_eq!(names(&rest), ["b2", "a3", "a4"]);
    assert!(!rest.more);
    assert!(world.claim(&link, 10).await.jobs.is_empty());
}

/// One free place at a time: the one served longest ago is next, not the oldest job.
#[tokio::test]
async fn turns_hold_across_claims() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let link = world.linked().await;
    for number in 1..=3 {
        world.submit(&ann, &format!("a{number}")).await;
    }
    world.submit(&bob, "b1").await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.extend(names(&world.claim(&link, 1).await));
    }
    assert_eq!(order, ["a1", "b1", "a2", "a3"]);
}

#[tokio::test]
async fn priority_comes_before_turns() {
    let world = World::new().await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let link = world.linked().await;
    let job = |caller: &forebay_central::Caller, priority| (caller.user, String::new(), priority);
    world
        .bulk(&[
            job(&ann, 0),
            job(&bob, 0),
            job(&ann, 5),
            job(&ann, 5),
            job(&bob, 1),
        ])
        .await;
    let client = world.store.pool().get().await.expect("a connection");
    let claimed = world.claim(&link, 5).await;
    let mut got = Vec::new();
    for work in &claimed.jobs {
        let sql = "SELECT priority FROM jobs WHERE id = $1";
        let row = client
            .query_one(sql, &[&work.job.uuid()])
            .await
            .expect("a row");
        got.push((work.owner.identity.clone(), row.get::<_, i32>(0)));
    }
    let want = [("ann", 5), ("ann", 5), ("bob", 1), ("ann", 0), ("bob", 0)];
    assert_eq!(
        got,
        want.map(|(name, priority)| (name.to_owned(), priority))
    );
}

#[tokio::test]
async fn a_repeat_gets_the_same_answer() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let site = world.known_site("here").await;
    let (_, link) = world.open(&site, &["hpc"]).await;
    for number in 0..3 {
        world.submit(&ann, &format!("a{number}")).await;
    }
    let claim = Claim {
        cluster: "hpc".parse().expect("a name"),
        free: 2,
        request_id: Uuid::new_v4(),
    };
    let first = world.store.claim(&link, &claim).await.expect("claimed");
    assert_eq!((first.jobs.len(), first.more), (2, true));
    let again = world.store.claim(&link, &claim).await.expect("claimed");
    assert_eq!(again, first);
    let open = world.store.open_jobs(&link, None).await.expect("open jobs");
    assert_eq!(open.jobs.len(), 2);
    // Page by page, and an empty page at the end.
    let first_job = open.jobs[0].work.job;
    let rest = world
        .store
        .open_jobs(&link, Some(first_job))
        .await
        .expect("open jobs");
    assert_eq!(rest.jobs, open.jobs[1..]);
    let behind = world
        .store
        .open_jobs(&link, open.next)
        .await
        .expect("open jobs");
    assert_eq!((behind.jobs.len(), behind.next), (0, None));
    assert!(
        open.jobs
            .iter()
            .all(|open| open.state == JobState::Submitting)
    );

    // A link that was superseded claims nothing, not even its own answer again.
    let (_, newer) = world.open(&site, &["hpc"]).await;
    assert!(matches!(
        world.store.claim(&link, &claim).await,
        Err(Error::Superseded { .. })
    ));
    assert_eq!(
        world.store.claim(&newer, &claim).await.expect("claimed"),
        first
    );

    // Another site's cluster is no cluster.
    let there = world.known_site("there").await;
    let (_, other) = world.open(&there, &["tiny"]).await;
    assert!(matches!(
        world.store.claim(&other, &claim).await,
        Err(Error::NotFound("cluster"))
    ));
    let stolen = Claim {
        cluster: "tiny".parse().expect("a name"),
        ..claim
    };
    assert!(matches!(
        world.store.claim(&other, &stolen).await,
        Err(Error::Conflict(_))
    ));
    assert!(
        world
            .store
            .open_jobs(&other, None)
            .await
            .expect("open jobs")
            .jobs
            .is_empty()
    );
}

/// During an upgrade, one replica takes what another does not know yet.
#[tokio::test]
async fn specs_pass_through_as_they_were_handed_in() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let job = world.submit(&ann, "newer").await;
    let client = world.store.pool().get().await.expect("a connection");
    let add = "UPDATE jobs SET spec = jsonb_set(spec, '{novelty}', '{\"a\": 1}')";
    client.batch_execute(add).await.expect("added");
    let claimed = world.claim(&link, 1).await;
    assert_eq!(claimed.jobs[0].spec["novelty"]["a"], 1);
    assert_eq!(names(&claimed), ["newer"]);
    let open = world.store.open_jobs(&link, None).await.expect("open jobs");
    assert_eq!(open.jobs[0].work.spec["novelty"]["a"], 1);
    // Its owner sees what this version knows.
    let seen = world.store.job(&ann, job.id).await.expect("hers");
    assert_eq!(seen.spec, job.spec);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_claims_never_take_a_job_twice() {
    let world = World::new().await;
    let link = world.linked().await;
    let mut jobs = Vec::new();
    for name in ["ann", "bob", "cem"] {
        let caller = world.user(name).await;
        jobs.extend((0..100).map(|number| (caller.user, format!("{name}{number}"), 0)));
    }
    world.bulk(&jobs).await;
    let claims = (0..8).map(|_| async {
        let mut got = Vec::new();
        let mut empty = 0;
        while empty < 3 {
            let claimed = world.claim(&link, 7).await;
            empty += u32::from(claimed.jobs.is_empty());
            got.extend(claimed.jobs.into_iter().map(|work| work.job));
        }
        got
    });
    let all: Vec<_> = futures_util::future::join_all(claims)
        .await
        .into_iter()
        .flatten()
        .collect();
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!((all.len(), distinct.len()), (300, 300));
    let ann = world.store.jobs_by_state().await.expect("counts");
    assert_eq!(ann.get("submitting"), Some(&300));
}

/// 100,000 jobs of 2,000 owners, one of whom has half of them.
#[tokio::test]
async fn a_claim_from_a_long_queue_is_quick() {
    let world = World::new().await;
    let link = world.linked().await;
    world.user("ann").await;
    let client = world.store.pool().get().await.expect("a connection");
    client
        .batch_execute(
            "INSERT INTO users (id, name) SELECT gen_random_uuid(), 'u' || n FROM generate_series(1, 2000) n;
             ALTER TABLE jobs DISABLE TRIGGER USER;
             INSERT INTO jobs (id, owner, cluster, site, name, spec, spec_bytes, created_at, queued_at, state)
             SELECT gen_random_uuid(), u.id, 'hpc', 'here', 'x', '{\"cluster\": \"hpc\", \"command\": [\"true\"]}', 50,
                    now(), now() - n * interval '1 s', 'queued'
             FROM generate_series(1, 50000) n
             JOIN LATERAL (SELECT id FROM users WHERE name = 'u' || (1 + n % 2000)) u ON true;
             INSERT INTO jobs (id, owner, cluster, site, name, spec, spec_bytes, created_at, queued_at, state)
             SELECT gen_random_uuid(), (SELECT id FROM users WHERE name = 'ann'), 'hpc', 'here', 'x',
                    '{\"cluster\": \"hpc\", \"command\": [\"true\"]}', 50, now(), now() - n * interval '1 s', 'queued'
             FROM generate_series(1, 50000) n;
             ALTER TABLE jobs ENABLE TRIGGER USER; ANALYZE jobs",
        )
        .await
        .expect("a long queue");
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        let claimed = world.claim(&link, 32).await;
        slowest = slowest.max(began.elapsed());
        assert_eq!(claimed.jobs.len(), 32);
        let owners: BTreeSet<_> = claimed.jobs.iter().map(|work| work.owner.user).collect();
        assert_eq!(owners.len(), 32, "each in turn");
        assert!(claimed.more);
    }
    println!("slowest of 10 claims of 32 from 100,000: {slowest:?}");
    assert!(slowest.as_millis() < 1_000, "{slowest:?}");
}

#[tokio::test]
async fn a_claim_is_bounded_by_bytes() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    for _ in 0..4 {
        let mut spec = crate::world::spec("hpc", "big");
        spec.command = None;
        spec.script = Some(format!("#!/bin/sh\n#{}", "x".repeat(3 << 20)));
        let new = forebay_central::NewJob {
            spec: &spec,
            key: None,
        };
        world
            .store
            .job_create(&ann, &new, &actor("user"))
            .await
            .expect("a job");
    }
    let first = world.claim(&link, 10).await;
    assert_eq!((first.jobs.len(), first.more), (2, true));
    assert_eq!(world.claim(&link, 10).await.jobs.len(), 2);
    // A page of a list, too.
    let page = world
        .store
        .jobs(&ann, &JobFilter::default(), JobSort::default(), None, 50)
        .await
        .expect("a page");
    assert_eq!(page.items.len(), 2);
    let rest = world
        .store
        .jobs(
            &ann,
            &JobFilter::default(),
            JobSort::default(),
            page.next.as_deref(),
            50,
        )
        .await;
    let rest = rest.expect("a page");
    assert_eq!((rest.items.len(), rest.next), (2, None));
}
