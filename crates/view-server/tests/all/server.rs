//! A running server for one test, and callers of it.

use std::sync::Arc;

use bytes::Bytes;
use forebay_central::{ENROLMENT, Store};
use forebay_http::{Client, ClientError, Problem, client::Answer};
use forebay_postgres::Target;
use forebay_service::{Service, Strictness};
use forebay_view_server::{
    config::Config,
    server::{self, Started},
};
use forebay_wire::{
    JobId, SiteName, Timestamp,
    api::Job,
    hex,
    link::{
        ASSERTION_CONTEXT, Assertion, Claim, Claimed, ClusterDeclaration, EPOCH_HEADER, Enrol,
        Enrolled, OpenSession, Report, Reports, ReportsApplied, Session, Statement, VERSION,
    },
};
use http::Method;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::instance::Database;

pub(crate) struct Server {
    pub(crate) db: Database,
    pub(crate) service: Service,
    pub(crate) store: Store,
    pub(crate) base: String,
}

/// Somebody who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: Client,
}

/// A site's agent, as far as the link needs one.
pub(crate) struct Agent {
    pub(crate) client: Client,
    /// By which it enrolled.
    pub(crate) site_token: SecretString,
    pub(crate) key: Arc<Key>,
    pub(crate) session: Session,
}

pub(crate) fn operator() -> forebay_central::Actor {
    forebay_central::Actor {
        name: "operator".into(),
        request_id: "test".into(),
        peer: "uid:0".into(),
    }
}

pub(crate) fn spec(name: &str) -> Value {
    json!({"spec": {"cluster": "hpc", "name": name, "command": ["true"]}})
}

/// What a refused call was told.
#[track_caller]
pub(crate) fn problem<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Problem {
    match result.expect_err("a refusal") {
        ClientError::Problem(problem) => *problem,
        other => panic!("not a problem: {other:?}"),
    }
}

/// A configuration of the server for a database of the instance.
pub(crate) fn config(db: &Database) -> Config {
    let Target::Private {
        socket_dir,
        database,
        role,
    } = db.instance.config(&db.name).target
    else {
        panic!("a private instance");
    };
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[database]\nsocket_dir = \"{}\"\nname = {database:?}\nrole = {role:?}\n\
         [limits]\nsite_return_s = 1\n",
        socket_dir.display(),
    );
    Config::from_text("test.toml", &text, Strictness::default()).expect("a configuration")
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Database::new().await).await
    }

    pub(crate) async fn with(db: Database) -> Self {
        let config = config(&db);
        Self::configured(db, &config).await
    }

    pub(crate) async fn configured(db: Database, config: &Config) -> Self {
        let service = Service::default();
        let Started { listen, .. } = server::start(config, &service).await.expect("started");
        Self {
            store: db.store(),
            db,
            service,
            base: format!("http://{}", listen.expect("an address")),
        }
    }

    pub(crate) fn anonymous(&self) -> Client {
        Client::tcp(&self.base).expect("a URL")
    }

    pub(crate) fn with_token(&self, token: &SecretString) -> Client {
        self.anonymous().with_bearer(token).expect("a token")
    }

    pub(crate) async fn user(&self, name: &str) -> Caller {
        self.store.user_add(name, &operator()).await.expect("new");
        let token = self
            .store
            .token_create(name, "", None, &operator())
            .await
            .expect("a token");
        Caller {
            client: self.with_token(&token.token),
        }
    }

    /// A site `here` with the cluster `hpc`, and `box`, which is no Slurm.
    pub(crate) async fn agent(&self) -> Agent {
        let (token, key) = self.enrolled("here").await;
        Agent::open(self, token, key).await
    }

    /// The token of a site, for once.
    pub(crate) async fn site_token(&self, name: &str) -> SecretString {
        let name: SiteName = name.parse().expect("a name");
        let token = self.store.site_enrol(&name, ENROLMENT, &operator()).await;
        token.expect("a site").token
    }

    /// A site with a key, over HTTP.
    pub(crate) async fn enrolled(&self, name: &str) -> (SecretString, Arc<Key>) {
        let token = self.site_token(name).await;
        let pair = key_pair();
        let enrolled = self
            .with_token(&token)
            .post("/link/v1/enrol", &enrol(&pair))
            .await
            .expect("enrolled");
        (token, Arc::new(Key { pair, enrolled }))
    }

    /// Another view-server over the same database.
    pub(crate) async fn replica(&self) -> Replica {
        let service = Service::default();
        let started = server::start(&config(&self.db), &service)
            .await
            .expect("started");
        let base = format!("http://{}", started.listen.expect("an address"));
        Replica { service, base }
    }
}

/// Another view-server over the same database.
pub(crate) struct Replica {
    pub(crate) service: Service,
    pub(crate) base: String,
}

impl Replica {
    pub(crate) fn with_token(&self, token: &SecretString) -> Client {
        let client = Client::tcp(&self.base).expect("a URL");
        client.with_bearer(token).expect("a token")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.service.tasks.stop();
    }
}

/// A key that a site enrolled.
pub(crate) struct Key {
    pair: Ed25519KeyPair,
    pub(crate) enrolled: Enrolled,
}

impl Key {
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

    /// Signed and good.
    pub(crate) fn assertion(&self, open: OpenSession) -> Assertion {
        self.sign(&self.statement(open))
    }
}

pub(crate) fn key_pair() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key")
}

pub(crate) fn enrol(pair: &Ed25519KeyPair) -> Enrol {
    Enrol {
        public_key: hex::encode(pair.public_key().as_ref()),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.service.tasks.stop();
    }
}

impl Caller {
    pub(crate) async fn submit(&self, name: &str) -> Job {
        self.client
            .post("/api/v1/jobs", &spec(name))
            .await
            .expect("a job")
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        self.client
            .get(&format!("/api/v1/jobs/{id}"))
            .await
            .expect("a job")
    }

    pub(crate) async fn raw(&self, path: &str, body: &str) -> Result<Answer<Bytes>, ClientError> {
        self.client
            .call(Method::POST, path)
            .body("application/json", body.to_owned())
            .send()
            .await
    }
}

pub(crate) fn open_session() -> OpenSession {
    let declare = |name: &str, integration: &str| ClusterDeclaration {
        name: name.parse().expect("a name"),
        integration: integration.into(),
    };
    OpenSession {
        version_min: VERSION,
        version_max: VERSION,
        agent_version: "0.0".into(),
        installation: None,
        clusters: vec![declare("hpc", "slurm"), declare("box", "local")],
        process: None,
        again: false,
    }
}

impl Agent {
    pub(crate) async fn open(server: &Server, site_token: SecretString, key: Arc<Key>) -> Self {
        let session: Session = server
            .anonymous()
            .post("/link/v1/session", &key.assertion(open_session()))
            .await
            .expect("a session");
        let client = server.with_token(&session.token.clone().into());
        Self {
            client,
            site_token,
            key,
            session,
        }
    }

    /// A newer link of the same site.
    pub(crate) async fn again(&self, server: &Server) -> Self {
        Self::open(server, self.site_token.clone(), self.key.clone()).await
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> forebay_http::client::Call {
        let call = self.client.call(method, path);
        call.header(EPOCH_HEADER, &self.session.epoch.to_string())
            .expect("a header")
    }

    pub(crate) async fn try_claim(&self, free: u32) -> Result<Claimed, ClientError> {
        let claim = Claim {
            cluster: "hpc".parse().expect("a name"),
            free,
            request_id: Uuid::new_v4(),
        };
        self.call(Method::POST, "/link/v1/claim")
            .json(&claim)?
            .send()
            .await?
            .json()
    }

    pub(crate) async fn claim(&self, free: u32) -> Claimed {
        self.try_claim(free).await.expect("a claim")
    }

    pub(crate) async fn try_report(
        &self,
        from_seq: i64,
        items: Vec<Report>,
    ) -> Result<ReportsApplied, ClientError> {
        let reports = Reports {
            epoch: self.session.epoch,
            from_seq,
            items,
        };
        self.client.post("/link/v1/reports", &reports).await
    }

    /// Reports from the next number on.
    pub(crate) async fn report(&mut self, items: Vec<Report>) {
        let applied = self
            .try_report(self.session.acked_seq + 1, items)
            .await
            .expect("applied");
        self.session.acked_seq = applied.acked_seq;
    }
}
