//! Handing a job in: one statement, so one trip to the database and one transaction.

use forebay_wire::{
    JobId, JobState, Timestamp,
    api::{Job, JobSpec},
};

use crate::{
    Store,
    audit::{Actor, OK},
    error::Error,
    jobs::row::{spec_of, status},
    life::{Cause, Life, transition},
    sql::{get, moment, parsed},
    users::Caller,
};

/// A job to be handed in. Its spec has been checked.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// What to run.
    pub spec: &'a JobSpec,
    /// The `Idempotency-Key` and the SHA-256 of the request, if there is a key.
    pub key: Option<(&'a str, [u8; 32])>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The job, as it was when it was created.
    pub job: Job,
    /// The request was a repeat: the job existed already.
    pub repeated: bool,
}

/// `$3` is null without a key. A key older than 24 hours counts as unused.
const CREATE: &str = "
    WITH target AS (
        SELECT name, site FROM clusters WHERE name = $5 AND withdrawn_at IS NULL),
    key AS (
        INSERT INTO idempotency_keys AS k (user_id, key, request_sha256, job)
        SELECT $2, $3, $4, $1 FROM target WHERE $3::text IS NOT NULL
        ON CONFLICT (user_id, key) DO UPDATE
            SET request_sha256 = excluded.request_sha256, job = excluded.job, created_at = excluded.created_at
            WHERE k.created_at < now() - interval '24 hours'
        RETURNING 1),
    job AS (
        INSERT INTO jobs (id, owner, cluster, site, name, spec, spec_bytes, created_at, queued_at,
                          state, rev, event_seq)
        SELECT $1, $2, name, site, $6, $7::text::jsonb, $8, $9, $9, $10, $11, $12
        FROM target WHERE $3::text IS NULL OR EXISTS (SELECT FROM key)
        RETURNING id, owner, site),
    event AS (
        INSERT INTO job_events (job, seq, at, run, kind, value) SELECT id, $12, $9, 0, 'state', $10 FROM job),
    told AS (
        INSERT INTO feed (topic, kind, key, rev, body)
        SELECT topic, kind, key, $11, body::jsonb FROM job CROSS JOIN LATERAL (VALUES
            ($13::text, 'job', $14::text, $15::text),
            ('job:' || $14, 'job', $14, $15),
            ('site:' || job.site, 'work', $5, '{}')) AS given (topic, kind, key, body)),
    audited AS (
        INSERT INTO audit (actor, action, object, result, request_id, peer)
        SELECT $16, 'job.create', $14, $17, $18, $19 FROM job)
    SELECT site FROM job";

impl Store {
    /// Hands a job in for the caller. The same key with the same request gives the
    /// first answer again; with another request it is refused.
    pub async fn job_create(
        &self,
        caller: &Caller,
        new: &NewJob<'_>,
        actor: &Actor,
    ) -> Result<Created, Error> {
        let id = JobId::new();
        let at = Timestamp::now();
        let life = first_life(at)?;
        let text = serde_json::to_string(new.spec).map_err(|error| Error::Row {
            table: "jobs",
            reason: error.to_string(),
        })?;
        let bytes = i32::try_from(text.len()).unwrap_or(i32::MAX);
        let (key, digest) = new.key.unzip();
        let digest = digest.as_ref().map(<[u8; 32]>::as_slice);
        let body = super::write::body(life.state, caller.user, (0, life.event_seq))?;
        let cluster = new.spec.cluster.as_str();
        let name = new.spec.name.as_deref().unwrap_or_default();
        let topic = format!("user:{}", caller.user);
        let client = self.client().await?;
        let row = client
            .named("jobs.create")
            .query_opt(
                CREATE,
                &[
                    &id.uuid(),
                    &caller.user.uuid(),
                    &key,
                    &digest,
                    &cluster,
                    &name,
                    &text,
                    &bytes,
                    &at.get(),
                    &life.state.as_str(),
                    &life.rev,
                    &life.event_seq,
                    &topic,
                    &id.to_string(),
                    &body.get(),
                    &actor.name,
                    &OK,
                    &actor.request_id,
                    &actor.peer,
                ],
            )
            .await?;
        let Some(row) = row else {
            drop(client);
            return self.not_created(caller, new).await;
        };
        let site = parsed("clusters", &row, "site")?;
        drop(client);
        self.ring();
        Ok(Created {
            job: Job {
                id,
                rev: life.rev,
                created_at: at,
                owner: caller.name.clone(),
                site,
                spec: new.spec.clone(),
                status: status(life),
            },
            repeated: false,
        })
    }

    /// Nothing was written: the key was used, or the cluster is unknown.
    async fn not_created(&self, caller: &Caller, new: &NewJob<'_>) -> Result<Created, Error> {
        if let Some((key, digest)) = new.key {
            let client = self.client().await?;
            let row = client
                .named("idempotency_keys.get")
                .query_opt(
                    "SELECT k.request_sha256, j.id, j.site, j.created_at, j.spec::text AS spec
                     FROM idempotency_keys k JOIN jobs j ON j.id = k.job
                     WHERE k.user_id = $1 AND k.key = $2 AND j.owner = $1",
                    &[&caller.user.uuid(), &key],
                )
                .await?;
            if let Some(row) = row {
                if get::<&[u8]>(&row, "request_sha256")? != digest.as_slice() {
                    return Err(Error::IdempotencyMismatch);
                }
                let id = JobId::from_uuid(get(&row, "id")?);
                let created_at = moment(&row, "created_at")?;
                let life = first_life(created_at)?;
                return Ok(Created {
                    job: Job {
                        id,
                        rev: life.rev,
                        created_at,
                        owner: caller.name.clone(),
                        site: parsed("jobs", &row, "site")?,
                        spec: spec_of(id, get(&row, "spec")?)?,
                        status: status(life),
                    },
                    repeated: true,
                });
            }
        }
        let known = self.clusters().await?;
        Err(Error::UnknownCluster {
            known: known
                .into_iter()
                .map(|cluster| cluster.name.to_string())
                .collect(),
        })
    }
}

/// A job that was just handed in. The walk from draft to queued is one step and
/// one event; its row begins at `queued`.
fn first_life(at: Timestamp) -> Result<Life, Error> {
    let submitted = transition(&Life::new(JobState::Draft), &Cause::Submit, at);
    submitted
        .map(|outcome| outcome.after)
        .map_err(|refused| Error::Conflict(refused.to_string()))
}
