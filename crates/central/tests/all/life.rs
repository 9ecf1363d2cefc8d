//! The database's table of transitions and the code's are the same.

use forebay_central::life::reachable;
use forebay_wire::JobState;

use crate::{instance::Database, world::World};

#[tokio::test]
async fn the_database_allows_what_the_code_does_and_no_more() {
    let db = Database::new().await;
    let client = db.pool().get().await.expect("a connection");
    let rows = client
        .query("SELECT from_state, to_state FROM job_transitions", &[])
        .await
        .expect("rows");
    let state = |text: &str| text.parse::<JobState>().expect("a state");
    let mut table: Vec<_> = rows
        .iter()
        .map(|row| (state(row.get(0)), state(row.get(1))))
        .collect();
    table.sort_unstable();
    assert_eq!(table, reachable());
}

/// Every pair, tried on a row: the trigger lets exactly the legal ones through.
#[tokio::test]
async fn the_trigger_refuses_every_other_change() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    world.linked().await;
    let job = world.submit(&ann, "x").await;
    let client = world.store.pool().get().await.expect("a connection");
    let legal = reachable();
    for from in JobState::ALL {
        for to in JobState::ALL {
            let put = "ALTER TABLE jobs DISABLE TRIGGER USER; UPDATE jobs SET state = '@';
                       ALTER TABLE jobs ENABLE TRIGGER USER";
            client
                .batch_execute(&put.replace('@', from.as_str()))
                .await
                .expect("put there");
            let moved = client
                .execute(
                    "UPDATE jobs SET state = $2 WHERE id = $1",
                    &[&job.id.uuid(), &to.as_str()],
                )
                .await;
            let allowed = from == to || legal.contains(&(*from, *to));
            assert_eq!(moved.is_ok(), allowed, "{from} to {to}");
        }
    }
    let born = client
        .execute(
            "INSERT INTO jobs (id, owner, cluster, site, name, spec, spec_bytes, created_at, state)
             SELECT gen_random_uuid(), owner, cluster, site, name, spec, 1, now(), 'running' FROM jobs",
            &[],
        )
        .await;
    assert!(born.is_err(), "a job begins as draft or queued");
}
