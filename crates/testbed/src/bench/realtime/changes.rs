//! Changes of jobs, written as the view-server writes them, with a doorbell or without.

use std::sync::atomic::{AtomicU64, Ordering};

use forebay_postgres::{Config, Pool, Target};
use forebay_wire::JobId;

use super::Failure;
use crate::site::Site;

/// Jobs that are told of at once to leave stalled readers behind: more than a mailbox holds.
const MANY: i64 = 400;

/// Writes changes.
pub(super) struct Changes {
    pool: Pool,
    owner: String,
    next: AtomicU64,
}

/// `reason` is the mark by which a reader knows the change.
const CHANGE: &str = "
    WITH changed AS (
        UPDATE jobs SET rev = rev + 1, reason = $2 WHERE id = $1 RETURNING rev, event_seq)
    INSERT INTO feed (topic, kind, key, rev, body)
    SELECT 'job:' || $3::text, 'job', $3, rev, jsonb_build_object(
        'state', 'queued', 'owner', $4::text, 'events_from', event_seq, 'event_seq', event_seq) FROM changed";

/// Copies of a job, with a long reason.
const COPIES: &str = "
    INSERT INTO jobs (id, owner, cluster, site, name, spec, spec_bytes, created_at, queued_at, state, reason)
    SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, owner, cluster, site, 'many', spec,
           spec_bytes, created_at, queued_at, state, repeat('waiting ', 125)
    FROM jobs, generate_series(1, $2::int8) AS n WHERE id = $1";

/// A row for each of the copies, to those who follow all jobs.
const TELL: &str = "
    INSERT INTO feed (topic, kind, key, rev, body)
    SELECT 'user:' || $1::text, 'job', key, 1, jsonb_build_object(
        'state', 'queued', 'owner', $1::text, 'events_from', 0, 'event_seq', 0)
    FROM unnest($2::text[]) AS keys (key)";

impl Changes {
    /// Of jobs whose owner is that of `job`.
    pub(super) async fn new(site: &Site, job: JobId) -> Result<Self, Failure> {
        let target = Target::Private {
            socket_dir: site.socket_dir(),
            database: "forebay".to_owned(),
            role: "forebay".to_owned(),
        };
        let pool = Pool::new(Config::new(target, "bench"))?;
        let topic = format!("job:{job}");
        let owner = pool
            .get()
            .await?
            .named("bench.owner")
            .query_one(
                "SELECT body ->> 'owner' FROM feed WHERE topic = $1 LIMIT 1",
                &[&topic],
            )
            .await?
            .try_get(0)?;
        Ok(Self {
            pool,
            owner,
            next: AtomicU64::new(1),
        })
    }

    /// A mark that no other change has.
    pub(super) fn mark(&self) -> String {
        format!("mark-{}-", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Changes a job; returns when it is committed, and the bell rung if it is to be.
    pub(super) async fn change(
        &self,
        job: JobId,
        mark: &str,
        with_bell: bool,
    ) -> Result<(), Failure> {
        let client = self.pool.get().await?;
        let (id, key) = (job.uuid(), job.to_string());
        let changed = client
            .named("bench.change")
            .execute(CHANGE, &[&id, &mark, &key, &self.owner])
            .await?;
        if changed != 1 {
            return Err("the job is not there".into());
        }
        if with_bell {
            client
                .named("bench.bell")
                .batch("NOTIFY forebay_feed")
                .await?;
        }
        Ok(())
    }

    /// Makes very many jobs like this one.
    pub(super) async fn many_jobs(&self, job: JobId) -> Result<(), Failure> {
        let client = self.pool.get().await?;
        client
            .named("bench.copies")
            .execute(COPIES, &[&job.uuid(), &MANY])
            .await?;
        Ok(())
    }

    /// Tells of all of them.
    pub(super) async fn tell_of_many(&self) -> Result<(), Failure> {
        let uuid =
            |n: i64| 0x0000_0000_0000_7000_8000_0000_0000_0000 | u128::from(n.unsigned_abs());
        let keys: Vec<String> = (1..=MANY)
            .map(|n| JobId::from_uuid(uuid::Uuid::from_u128(uuid(n))).to_string())
            .collect();
        let client = self.pool.get().await?;
        client
            .named("bench.tell")
            .execute(TELL, &[&self.owner, &keys])
            .await?;
        client
            .named("bench.bell")
            .batch("NOTIFY forebay_feed")
            .await?;
        Ok(())
    }
}
