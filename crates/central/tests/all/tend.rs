//! Retention: what is old goes, what is not stays.

use std::time::Duration;

use forebay_central::{ENROLMENT, Replica, Retention};
use forebay_wire::JobState;
use uuid::Uuid;

use crate::world::{World, actor};

#[tokio::test]
async fn what_is_old_goes() {
    let world = World::new().await;
    let ann = world.user("ann").await;
    let link = world.linked().await;
    let (old, young, open) = (
        world.submit(&ann, "old").await,
        world.submit(&ann, "young").await,
        world.submit(&ann, "open").await,
    );
    for job in [&old, &young] {
        world
            .store
            .job_cancel(&ann, job.id, &actor("user"))
            .await
            .expect("cancelled");
    }
    world.claim(&link, 1).await;
    let client = world.store.pool().get().await.expect("a connection");
    client
        .execute(
            "UPDATE jobs SET ended_at = now() - interval '40 days' WHERE id = $1",
            &[&old.id.uuid()],
        )
        .await
        .expect("aged");
    client
        .batch_execute(
            "UPDATE audit SET at = now() - interval '40 days' WHERE action = 'user.add';
             UPDATE claims SET created_at = now() - interval '8 days';
             UPDATE link_sessions SET expires_at = now() - interval '2 days'",
        )
        .await
        .expect("aged");
    let site = "here".parse().expect("a name");
    for age in [1, 40] {
        world
            .store
            .site_enrol(&site, ENROLMENT, &actor("operator"))
            .await
            .expect("a token");
        world.store.replica_token().await.expect("a token");
        let replica = Replica {
            id: Uuid::new_v4(),
            url: "http://127.0.0.1:1".into(),
            pin: None,
        };
        world
            .store
            .replica_heard(&replica, &[])
            .await
            .expect("heard");
        client
            .batch_execute(&format!(
                "UPDATE enrolment_tokens SET expires_at = now() - interval '{age} days' WHERE expires_at > now();
                 UPDATE replicas SET seen_at = now() - interval '{age} hours' WHERE seen_at > now() - interval '1 min'"
            ))
            .await
            .expect("aged");
    }
    client
        .batch_execute(
            "UPDATE replica_tokens SET expires_at = now() - interval '1 hour';
             UPDATE link_statements SET expires_at = now() - interval '1 hour'",
        )
        .await
        .expect("aged");
    let keep = Retention {
        jobs: Duration::from_secs(30 * 86_400),
        audit: Duration::from_secs(30 * 86_400),
        feed: Duration::ZERO,
    };
    assert!(world.store.tend(&keep).await.expect("tended") >= 4);
    assert!(world.store.job(&ann, old.id).await.is_err());
    assert_eq!(
        world
            .store
            .job(&ann, young.id)
            .await
            .expect("kept")
            .status
            .state,
        JobState::Cancelled
    );
    assert_eq!(
        world
            .store
            .job(&ann, open.id)
            .await
            .expect("kept")
            .status
            .state,
        JobState::Submitting
    );
    // Rows that transactions of other tests hold back stay until these have ended.
    for _ in 0..500 {
        let left = client.query("SELECT FROM feed", &[]).await.expect("rows");
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.store.tend(&keep).await.expect("tended");
    }
    for (table, left) in [
        ("claims", 0i64),
        ("link_sessions", 0),
        ("link_statements", 0),
        // A used or an ended token is told apart from one that never was, for a month.
        ("enrolment_tokens", 2),
        ("replica_tokens", 0),
        ("replicas", 1),
        ("feed", 0),
    ] {
        let row = client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await
            .expect("a count");
        assert_eq!(row.get::<_, i64>(0), left, "{table}");
    }
    let rows = client
        .query("SELECT FROM job_events WHERE job = $1", &[&old.id.uuid()])
        .await
        .expect("rows");
    assert!(rows.is_empty());
    let actions = world.store.audit_list(None, 100).await.expect("the audit");
    assert!(actions.iter().all(|entry| entry.action != "user.add"));
    // While another program tends, this one leaves it alone.
    client.batch_execute("SELECT pg_advisory_lock(('x' || encode('forebay'::bytea || '\\x02'::bytea, 'hex'))::bit(64)::bigint)").await.expect("locked");
    client
        .batch_execute(
            "UPDATE jobs SET ended_at = now() - interval '40 days' WHERE ended_at IS NOT NULL",
        )
        .await
        .expect("aged");
    assert_eq!(world.store.tend(&keep).await.expect("nothing"), 0);
    assert!(world.store.job(&ann, young.id).await.is_ok());
}
