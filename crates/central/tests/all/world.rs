//! A small installation: users, a site with a cluster, an open link.

use forebay_central::{Actor, Caller, ENROLMENT, KnownSite, Link, NewJob, Store};
use forebay_wire::{
    JobId, Timestamp, UserId,
    api::{Job, JobSpec},
    hex,
    link::{
        ASSERTION_CONTEXT, Assertion, Claim, Claimed, ClusterDeclaration, Enrolled, Observation,
        OpenSession, Report, Reports, Session, Statement, VERSION,
    },
};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
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
        Self::with(Database::new().await)
    }

    pub(crate) fn with(db: Database) -> Self {
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
        let key = self.enrolled(name).await;
        let statement = key.statement(open_session(&[]));
        let signed = key.sign(&statement);
        let known = self.store.authenticate_site(&signed).await;
        known.expect("a good statement").0
    }

    /// A site with a key of its own.
    pub(crate) async fn enrolled(&self, name: &str) -> Key {
        let token = self
            .store
            .site_enrol(
                &name.parse().expect("a name"),
                ENROLMENT,
                &actor("operator"),
            )
            .await
            .expect("a site");
        let pair = key_pair();
        let enrolled = self
            .store
            .enrol(&token.token, &public(&pair), &actor("site"))
            .await
            .expect("enrolled");
        Key { pair, enrolled }
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
        let open = open_session(clusters);
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

/// A key that a site enrolled.
pub(crate) struct Key {
    pub(crate) pair: Ed25519KeyPair,
    pub(crate) enrolled: Enrolled,
}

impl Key {
    /// A good one, not yet signed.
    pub(crate) fn statement(&self, open: OpenSession) -> Statement {
        let now = Timestamp::now();
        Statement {
            site: self.enrolled.site.clone(),
            aud: self.enrolled.installation,
            issued_at: now,
            expires_at: (now.get() + std::time::Duration::from_secs(60)).into(),
            jti: Uuid::new_v4(),
            open,
        }
    }

    pub(crate) fn sign(&self, statement: &Statement) -> Assertion {
        let statement = serde_json::to_string(statement).expect("JSON");
        let signed = [ASSERTION_CONTEXT, &statement].concat();
        Assertion {
            key: self.enrolled.key,
            signature: hex::encode(self.pair.sign(signed.as_bytes()).as_ref()),
            statement,
        }
    }
}

pub(crate) fn key_pair() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key")
}

pub(crate) fn public(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().expect("32 bytes")
}

pub(crate) fn open_session(clusters: &[&str]) -> OpenSession {
    let declare = |name: &&str| ClusterDeclaration {
        name: name.parse().expect("a name"),
        integration: "slurm".into(),
    };
    OpenSession {
        version_min: VERSION,
        version_max: VERSION,
        agent_version: "test".into(),
        installation: None,
        clusters: clusters.iter().map(declare).collect(),
        process: None,
        again: false,
    }
}
