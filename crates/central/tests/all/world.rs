//! A small installation: users, a site with a cluster, an open link.

use forebay_central::{Actor, Caller, KnownSite, Link, NewJob, Store};
use forebay_wire::{
    JobId, Timestamp, UserId,
    api::{Job, JobSpec},
    link::{
        Claim, Claimed, ClusterDeclaration, Observation, OpenSession, Report, Reports, Session,
        VERSION,
    },
};
use uuid::Uuid;

use crate::instance::Database;

pub(crate) struct World {
    pub(crate) store: Store,
    /// Keeps the instance up.
    _db: Database,
}

pub(crate) fn actor(name: &str) -> Actor {
    Actor {
        name: name.into(),
        request_id: "r1".into(),
        peer: "127.0.0.1".into(),
    }
}

pub(crate) fn spec(cluster: &str, name: &str) -> JobSpec {
    serde_json::from_value(serde_json::json!({
        "cluster": cluster, "name": name, "command": ["true"],
    }))
    .expect("a spec")
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + seconds).expect("a time")
}

pub(crate) fn saw(job: JobId, at: Timestamp, saw: Observation) -> Report {
    Report::Job {
        job,
        at,
        run: 0,
        saw,
    }
}

pub(crate) fn released(id: &str) -> Observation {
    Observation::Released {
        scheduler_id: id.into(),
        submitted_at: at(1),
        stdout_path: Some("/home/ann/out".into()),
        stderr_path: None,
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let db = Database::new().await;
        let store = db.store();
        Self { store, _db: db }
    }

    /// A user and, by a token, a caller.
    pub(crate) async fn user(&self, name: &str) -> Caller {
        let operator = actor("operator");
        self.store
            .user_add(name, &operator)
            .await
            .expect("a new user");
        let token = self
            .store
            .token_create(name, "", None, &operator)
            .await
            .expect("a token");
        self.store
            .authenticate(&token.token)
            .await
            .expect("a good token")
    }

    pub(crate) async fn known_site(&self, name: &str) -> KnownSite {
        let token = self
            .store
            .site_add(&name.parse().expect("a name"), &actor("operator"))
            .await
            .expect("a site");
        self.store
            .authenticate_site(&token.token)
            .await
            .expect("a good token")
    }

    pub(crate) async fn open(&self, site: &KnownSite, clusters: &[&str]) -> (Session, Link) {
        let session = self.try_open(site, clusters).await.expect("a link");
        let link = self
            .store
            .authenticate_link(&session.token.clone().into())
            .await
            .expect("a good token");
        (session, link)
    }

    pub(crate) async fn try_open(
        &self,
        site: &KnownSite,
        clusters: &[&str],
    ) -> Result<Session, forebay_central::Error> {
        let declare = |name: &&str| ClusterDeclaration {
            name: name.parse().expect("a name"),
            integration: "slurm".into(),
        };
        let open = OpenSession {
            version_min: VERSION,
            version_max: VERSION,
            agent_version: "test".into(),
            installation: None,
            clusters: clusters.iter().map(declare).collect(),
        };
        self.store.link_open(site, &open, &actor("site")).await
    }

    /// A site `here` with the cluster `hpc`, linked.
    pub(crate) async fn linked(&self) -> Link {
        let site = self.known_site("here").await;
        self.open(&site, &["hpc"]).await.1
    }

    pub(crate) async fn submit(&self, caller: &Caller, name: &str) -> Job {
        let spec = spec("hpc", name);
        let new = NewJob {
            spec: &spec,
            key: None,
        };
        self.store
            .job_create(caller, &new, &actor("user"))
            .await
            .expect("a job")
            .job
    }

    pub(crate) async fn claim(&self, link: &Link, free: u32) -> Claimed<serde_json::Value> {
        let claim = Claim {
            cluster: "hpc".parse().expect("a name"),
            free,
            request_id: Uuid::new_v4(),
        };
        self.store.claim(link, &claim).await.expect("a claim")
    }

    /// Reports from the next number on.
    pub(crate) async fn report(&self, link: &Link, items: Vec<Report>) {
        let client = self.store.pool().get().await.expect("a connection");
        let sql = "SELECT acked_seq FROM sites WHERE name = $1";
        let acked: i64 = client
            .query_one(sql, &[&link.site.as_str()])
            .await
            .expect("the site")
            .get(0);
        drop(client);
        let reports = Reports {
            epoch: link.epoch,
            from_seq: acked + 1,
            items,
        };
        self.store
            .apply_reports(link, reports)
            .await
            .expect("applied");
    }

    /// Many queued jobs at once, `(owner, name, priority)`, one millisecond apart.
    pub(crate) async fn bulk(&self, jobs: &[(UserId, String, i32)]) {
        let client = self.store.pool().get().await.expect("a connection");
        let ids: Vec<_> = jobs.iter().map(|_| Uuid::now_v7()).collect();
        let owners: Vec<_> = jobs.iter().map(|job| job.0.uuid()).collect();
        let names: Vec<_> = jobs.iter().map(|job| job.1.as_str()).collect();
        let priorities: Vec<_> = jobs.iter().map(|job| job.2).collect();
        client
            .execute(
                "INSERT INTO jobs (id, owner, cluster, site, name, spec, spec_bytes, priority, created_at, queued_at, state)
                 SELECT id, owner, 'hpc', 'here', name, '{\"cluster\": \"hpc\", \"command\": [\"true\"]}', 50, priority,
                        t, t, 'queued'
                 FROM (SELECT *, now() - interval '1 day' + place * interval '1 ms' AS t
                       FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int4[])
                            WITH ORDINALITY AS n (id, owner, name, priority, place)) given",
                &[&ids, &owners, &names, &priorities],
            )
            .await
            .expect("rows");
    }
}
