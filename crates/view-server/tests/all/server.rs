//! A running server for one test, and callers of it.

use bytes::Bytes;
use forebay_central::Store;
use forebay_http::{Client, ClientError, Problem, client::Answer};
use forebay_postgres::Target;
use forebay_service::{Service, Strictness};
use forebay_view_server::{
    config::Config,
    server::{self, Started},
};
use forebay_wire::{
    JobId, SiteName,
    api::Job,
    link::{
        Claim, Claimed, ClusterDeclaration, EPOCH_HEADER, OpenSession, Report, Reports,
        ReportsApplied, Session, VERSION,
    },
};
use http::Method;
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
    pub(crate) site_token: SecretString,
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
        let service = Service::default();
        let Started { listen, .. } = server::start(&config(&db), &service)
            .await
            .expect("started");
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
        let name: SiteName = "here".parse().expect("a name");
        let token = self
            .store
            .site_add(&name, &operator())
            .await
            .expect("a site");
        Agent::open(self, token.token).await
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
    }
}

impl Agent {
    pub(crate) async fn open(server: &Server, site_token: SecretString) -> Self {
        let dial = server.with_token(&site_token);
        let session: Session = dial
            .post("/link/v1/session", &open_session())
            .await
            .expect("a session");
        let client = server.with_token(&session.token.clone().into());
        Self {
            client,
            site_token,
            session,
        }
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
