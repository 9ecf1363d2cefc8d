//! A site takes queued jobs.

use std::collections::BTreeMap;

use forebay_postgres::Transaction;
use forebay_wire::{
    JobId, JobState, Timestamp, UserId,
    link::{Claim, Claimed, Open, OpenJobs, Owner, Work},
};
use serde_json::Value;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    Store,
    error::Error,
    jobs::{Change, Guard, LIFE_COLUMNS, write},
    life::{Cause, transition},
    sites::{Link, check_epoch},
    sql::get,
};

/// The most jobs of one claim; whoever has more room asks again.
pub const CLAIM_MAX: u32 = 256;
/// The most jobs in one page of a site's open jobs.
const OPEN_MAX: i64 = 1_000;
/// The most bytes of specs in one claim, or one such page, but for a single job.
const CLAIM_BYTES: i64 = 8 << 20;

/// The next jobs of a cluster: by priority, then users in turn, then age.
///
/// `heads` hops from owner to owner by the index and takes each one's next job.
/// Only owners whose next job is among the first `$2` can have any job among
/// the first `$2`, so only theirs are looked at further. An owner's turn counts
/// up within one priority; among equals the one who was served longest ago leads.
const NEXT: &str = "
    WITH RECURSIVE heads AS (
        (SELECT owner, id, priority, queued_at FROM jobs WHERE cluster = $1 AND state = 'queued'
         ORDER BY owner, priority DESC, queued_at, id LIMIT 1)
        UNION ALL
        SELECT n.* FROM heads h CROSS JOIN LATERAL (
            SELECT owner, id, priority, queued_at FROM jobs
            WHERE cluster = $1 AND state = 'queued' AND owner > h.owner
            ORDER BY owner, priority DESC, queued_at, id LIMIT 1) n),
    owners AS (
        SELECT h.owner, coalesce(t.served_at, '-infinity') AS served_at
        FROM heads h LEFT JOIN claim_turns t ON t.cluster = $1 AND t.owner = h.owner
        ORDER BY h.priority DESC, 2, h.queued_at, h.id LIMIT $2),
    turns AS (
        SELECT n.*, o.served_at,
               row_number() OVER (PARTITION BY n.owner, n.priority ORDER BY n.queued_at, n.id) AS turn
        FROM owners o CROSS JOIN LATERAL (
            SELECT owner, id, priority, queued_at, spec_bytes FROM jobs
            WHERE cluster = $1 AND state = 'queued' AND owner = o.owner
            ORDER BY priority DESC, queued_at, id LIMIT $2) n)
    SELECT id, spec_bytes FROM turns ORDER BY priority DESC, turn, served_at, queued_at, id LIMIT $2";

impl Store {
    /// Moves up to `free` queued jobs to `submitting` for the link's site. The
    /// same request gets the same answer, less what has ended since.
    pub async fn claim(&self, link: &Link, claim: &Claim) -> Result<Claimed<Value>, Error> {
        let free = claim.free.min(CLAIM_MAX);
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        // Held until the end: no newer link opens beneath this claim.
        let row = tx
            .named("claims.site")
            .query_one(
                "SELECT s.epoch, c.site = s.name AS own FROM sites s
                 LEFT JOIN clusters c ON c.name = $2 WHERE s.name = $1 FOR SHARE OF s",
                &[&link.site.as_str(), &claim.cluster.as_str()],
            )
            .await?;
        check_epoch(link, get(&row, "epoch")?)?;
        if get::<Option<bool>>(&row, "own")? != Some(true) {
            return Err(Error::NotFound("cluster"));
        }
        // The key of the claim is taken first, so that a repeat waits for it.
        let new = tx
            .named("claims.begin")
            .execute(
                "INSERT INTO claims (request_id, site, cluster, jobs, more) VALUES ($1, $2, $3, '{}', false)
                 ON CONFLICT DO NOTHING",
                &[&claim.request_id, &link.site.as_str(), &claim.cluster.as_str()],
            )
            .await?;
        let claimed = if new == 0 {
            repeated(&tx, link, claim).await?
        } else {
            take(&tx, link, claim, free).await?
        };
        tx.commit().await?;
        if new == 1 && !claimed.jobs.is_empty() {
            self.ring();
        }
        Ok(claimed)
    }

    /// Jobs that the link's site has claimed and that have not ended, by id: one page of those
    /// behind `after`.
    pub async fn open_jobs(
        &self,
        link: &Link,
        after: Option<JobId>,
    ) -> Result<OpenJobs<Value>, Error> {
        self.link_current(link).await?;
        let client = self.client().await?;
        let sql = format!(
            "WITH page AS (
                 SELECT id, row_number() OVER by_id AS place, sum(spec_bytes) OVER by_id AS bytes
                 FROM (SELECT id, spec_bytes FROM jobs
                       WHERE site = $1 AND id > $2 AND ended_at IS NULL
                         AND state IN ('submitting', 'pending', 'running', 'ending')
                       ORDER BY id LIMIT $3) near
                 WINDOW by_id AS (ORDER BY id))
             SELECT {WORK_COLUMNS}, j.state
             FROM page p JOIN jobs j ON j.id = p.id JOIN users u ON u.id = j.owner
             WHERE p.bytes <= $4 OR p.place = 1
             ORDER BY j.id"
        );
        let after = after.map_or(Uuid::nil(), JobId::uuid);
        let rows = client
            .named("jobs.open")
            .query(
                &sql,
                &[&link.site.as_str(), &after, &OPEN_MAX, &CLAIM_BYTES],
            )
            .await?;
        let mut jobs = Vec::with_capacity(rows.len());
        for row in &rows {
            match open(row) {
                Ok(open) => jobs.push(open),
                Err(error) => tracing::error!(%error, "an open job cannot be told to its site"),
            }
        }
        // An empty page is the last; a full one costs one more question.
        let next = match rows.last() {
            Some(row) => Some(JobId::from_uuid(get(row, "id")?)),
            None => None,
        };
        Ok(OpenJobs { jobs, next })
    }
}

/// What [`Work`] is made of.
const WORK_COLUMNS: &str =
    "j.id, j.owner, u.name AS owner_name, j.spec, j.cancel_wanted_at IS NOT NULL AS cancel_wanted";

/// With the spec as it was handed in: a newer view-server may have taken it, and what this one does
/// not know of it is for the agent to run or to refuse.
fn work(row: &Row) -> Result<Work<Value>, Error> {
    let job = JobId::from_uuid(get(row, "id")?);
    Ok(Work {
        job,
        owner: Owner {
            user: UserId::from_uuid(get(row, "owner")?),
            // Until accounts have their own place, an identity is the account of the same name.
            identity: get(row, "owner_name")?,
        },
        spec: get(row, "spec")?,
        cancel_wanted: get(row, "cancel_wanted")?,
    })
}

fn open(row: &Row) -> Result<Open<Value>, Error> {
    Ok(Open {
        work: work(row)?,
        state: crate::sql::parsed("jobs", row, "state")?,
    })
}

async fn repeated(
    tx: &Transaction<'_>,
    link: &Link,
    claim: &Claim,
) -> Result<Claimed<Value>, Error> {
    let row = tx
        .named("claims.get")
        .query_one(
            "SELECT site, cluster, jobs, more FROM claims WHERE request_id = $1",
            &[&claim.request_id],
        )
        .await?;
    let own = get::<&str>(&row, "site")? == link.site.as_str();
    if !own || get::<&str>(&row, "cluster")? != claim.cluster.as_str() {
        return Err(Error::Conflict(
            "This request_id was used for another claim.".into(),
        ));
    }
    let ids: Vec<Uuid> = get(&row, "jobs")?;
    let sql = format!(
        "SELECT {WORK_COLUMNS} FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, place)
         JOIN jobs j ON j.id = wanted.id JOIN users u ON u.id = j.owner
         WHERE j.ended_at IS NULL ORDER BY wanted.place"
    );
    let rows = tx.named("claims.repeat").query(&sql, &[&ids]).await?;
    Ok(Claimed {
        jobs: rows.iter().map(work).collect::<Result<_, _>>()?,
        more: get(&row, "more")?,
    })
}

async fn take(
    tx: &Transaction<'_>,
    link: &Link,
    claim: &Claim,
    free: u32,
) -> Result<Claimed<Value>, Error> {
    // One more than wanted tells whether there are more.
    let rows = tx
        .named("claims.next")
        .query(NEXT, &[&claim.cluster.as_str(), &(i64::from(free) + 1)])
        .await?;
    let mut wanted: Vec<Uuid> = Vec::new();
    let mut bytes = 0;
    for row in rows.iter().take(free as usize) {
        bytes += i64::from(get::<i32>(row, "spec_bytes")?);
        if bytes > CLAIM_BYTES && !wanted.is_empty() {
            break;
        }
        wanted.push(get(row, "id")?);
    }
    let more = rows.len() > wanted.len();
    let sql = format!(
        "SELECT {WORK_COLUMNS}, {LIFE_COLUMNS} FROM jobs j JOIN users u ON u.id = j.owner
         WHERE j.id = ANY($1) AND j.state = 'queued' FOR UPDATE OF j SKIP LOCKED"
    );
    let rows = tx.named("claims.lock").query(&sql, &[&wanted]).await?;
    let now = Timestamp::now();
    let mut changes = Vec::with_capacity(rows.len());
    let mut works: BTreeMap<Uuid, Work<Value>> = BTreeMap::new();
    for row in &rows {
        let work = match work(row) {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(%error, "a queued job cannot be given to its site");
                continue;
            }
        };
        let life = crate::jobs::life(row)?;
        let outcome = transition(&life, &Cause::Claim, now)
            .map_err(|refused| Error::Conflict(refused.to_string()))?;
        changes.push(Change {
            id: work.job,
            owner: work.owner.user,
            before: JobState::Queued,
            before_rev: life.rev,
            after: outcome.after,
            events: outcome.events,
            seq: None,
        });
        works.insert(work.job.uuid(), work);
    }
    write(tx, &changes, Guard::Rev).await?;
    let jobs: Vec<Work<Value>> = wanted.iter().filter_map(|id| works.remove(id)).collect();
    let ids: Vec<Uuid> = jobs.iter().map(|work| work.job.uuid()).collect();
    // Whose job came last in this claim was served last.
    let served: BTreeMap<Uuid, i64> = (0..)
        .zip(&jobs)
        .map(|(place, work)| (work.owner.user.uuid(), place))
        .collect();
    let (owners, places): (Vec<Uuid>, Vec<i64>) = served.into_iter().unzip();
    tx.named("claims.served")
        .execute(
            "WITH turn AS (
                 INSERT INTO claim_turns (cluster, owner, served_at)
                 SELECT $2, owner, now() + place * interval '1 microsecond'
                 FROM unnest($3::uuid[], $7::int8[]) AS given (owner, place)
                 ON CONFLICT (cluster, owner) DO UPDATE SET served_at = excluded.served_at)
             UPDATE claims SET jobs = $4, more = $5 WHERE request_id = $1 AND site = $6",
            &[
                &claim.request_id,
                &claim.cluster.as_str(),
                &owners,
                &ids,
                &more,
                &link.site.as_str(),
                &places,
            ],
        )
        .await?;
    Ok(Claimed { jobs, more })
}
