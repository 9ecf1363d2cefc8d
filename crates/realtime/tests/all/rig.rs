//! A small installation with the real program in front of it.

use std::{sync::Arc, time::Duration};

use forebay_central::{Caller, Error, Link};
use forebay_http::Client;
use forebay_postgres::Target;
use forebay_service::{Backoff, Tasks};
use forebay_testbed::{
    guard::Guard,
    ports::PortBlock,
    process::{Command, Daemon},
};
use forebay_wire::{
    JobId, JobState,
    api::Exit,
    link::{Observation, Report, Reports},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    instance::Database,
    world::{World, actor, at, released, saw},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_forebay-realtime");

pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) db: Database,
    guard: Arc<Guard>,
    /// Rings the doorbell after our own writes.
    tasks: Tasks,
}

/// Somebody with a token.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) caller: Caller,
    pub(crate) token: SecretString,
}

/// The program, running.
pub(crate) struct Server {
    pub(crate) daemon: Daemon,
    pub(crate) address: String,
    config: String,
    _ports: Arc<PortBlock>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(Database::new().await)
    }

    pub(crate) fn with(db: Database) -> Self {
        let world = World::with(db.clone());
        let tasks = Tasks::new();
        let ringer = world.store.ringer().clone();
        tasks.supervise("ringer", Backoff::default(), move |stop| {
            let ringer = ringer.clone();
            async move {
                ringer.run(stop).await;
                Ok::<_, std::convert::Infallible>(())
            }
        });
        Self {
            world,
            db,
            guard: Guard::with_dir("realtime").expect("a guard"),
            tasks,
        }
    }

    /// The program, ready, with these lines more in its configuration.
    pub(crate) async fn realtime(&self, more: &str) -> Server {
        let ports = Arc::new(PortBlock::take(1).expect("a port"));
        let address = format!("127.0.0.1:{}", ports.first());
        let Target::Private {
            socket_dir,
            database,
            role,
        } = self.db.database.target()
        else {
            panic!("a private instance");
        };
        let text = format!(
            "listen = \"{address}\"\norigins = [\"https://portal.example.org\"]\n{more}\n[database]\n\
             socket_dir = \"{}\"\nname = {database:?}\nrole = {role:?}\n",
            socket_dir.display(),
        );
        let config = self.guard.dir().join(format!("{}.toml", ports.first()));
        std::fs::write(&config, text).expect("written");
        let config = config.display().to_string();
        let daemon = self.start(&config, &address).await;
        Server {
            daemon,
            address,
            config,
            _ports: ports,
        }
    }

    async fn start(&self, config: &str, address: &str) -> Daemon {
        let log = self.guard.dir().join("realtime.log");
        let command = Command::new(PROGRAM, log).args(["--config", config, "serve"]);
        let daemon = Daemon::start(&self.guard, command)
            .await
            .expect("it starts");
        let client = Client::tcp(&format!("http://{address}")).expect("a URL");
        let ready = || async {
            let health: Result<forebay_wire::api::Health, _> = client.get("/health/ready").await;
            health.is_ok()
        };
        daemon
            .wait_ready(Duration::from_secs(60), ready)
            .await
            .expect("it becomes ready");
        daemon
    }

    /// Starts the program again at the same place.
    pub(crate) async fn again(&self, server: &mut Server) {
        server.daemon = self.start(&server.config, &server.address).await;
    }

    /// What the program logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.guard.dir().join("realtime.log")).expect("a log")
    }

    pub(crate) async fn user(&self, name: &str) -> User {
        let store = &self.world.store;
        store.user_add(name, &actor("operator")).await.expect("new");
        self.token(name).await
    }

    pub(crate) async fn token(&self, name: &str) -> User {
        let store = &self.world.store;
        let token = store
            .token_create(name, "", None, &actor("operator"))
            .await
            .expect("a token");
        User {
            caller: store.authenticate(&token.token).await.expect("good"),
            token: token.token,
        }
    }

    pub(crate) async fn submit(&self, user: &User, name: &str) -> JobId {
        self.world.submit(&user.caller, name).await.id
    }

    pub(crate) async fn cancel(&self, user: &User, job: JobId) {
        let actor = actor("user");
        let cancelled = self.world.store.job_cancel(&user.caller, job, &actor).await;
        cancelled.expect("cancelled");
    }

    /// From claimed to running: events 3 and 4.
    pub(crate) async fn runs(&self, link: &Link, job: JobId) {
        self.try_runs(link, job).await.expect("applied");
    }

    /// Event 5.
    pub(crate) async fn ends(&self, link: &Link, job: JobId) {
        self.try_ends(link, job).await.expect("applied");
    }

    pub(crate) async fn try_runs(&self, link: &Link, job: JobId) -> Result<(), Error> {
        let nodes = Some("n1".into());
        let started = Observation::Started { nodes };
        self.try_report(link, 1, saw(job, at(1), released("7")))
            .await?;
        self.try_report(link, 2, saw(job, at(2), started)).await
    }

    pub(crate) async fn try_ends(&self, link: &Link, job: JobId) -> Result<(), Error> {
        let ended = Observation::Ended {
            end: JobState::Succeeded,
            exit: Some(Exit {
                code: 0,
                signal: None,
            }),
            started_at: Some(at(2)),
            nodes: None,
            message: None,
        };
        self.try_report(link, 3, saw(job, at(3), ended)).await
    }

    /// The report of this number: sent again, it does nothing.
    async fn try_report(&self, link: &Link, from_seq: i64, item: Report) -> Result<(), Error> {
        let reports = Reports {
            epoch: link.epoch,
            from_seq,
            items: vec![item],
        };
        self.world
            .store
            .apply_reports(link, reports)
            .await
            .map(drop)
    }

    /// Tries until the database, which was killed, takes it.
    pub(crate) async fn until_written(&self, write: impl AsyncFn(&Self) -> Result<(), Error>) {
        while let Err(error) = write(self).await {
            assert!(matches!(error, Error::Database(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Tells of all jobs of a user at once, as if each had changed.
    pub(crate) async fn tell_all(&self, user: &User) -> u64 {
        let client = self.world.store.pool().get().await.expect("a connection");
        let rows = client
            .query(
                "SELECT id FROM jobs WHERE owner = $1",
                &[&user.caller.user.uuid()],
            )
            .await
            .expect("rows");
        let keys: Vec<_> = rows
            .iter()
            .map(|row| JobId::from_uuid(row.get(0)).to_string())
            .collect();
        let owner = user.caller.user.to_string();
        client
            .execute(
                "INSERT INTO feed (topic, kind, key, rev, body)
                 SELECT 'user:' || $1::text, 'job', key, 1,
                        jsonb_build_object('state', 'queued', 'owner', $1::text, 'events_from', 0, 'event_seq', 0)
                 FROM unnest($2::text[]) AS keys (key)",
                &[&owner, &keys],
            )
            .await
            .expect("told")
    }

    /// SQL beside everybody.
    pub(crate) async fn sql(&self, sql: &str) {
        let client = self.world.store.pool().get().await.expect("a connection");
        client.named("test").batch(sql).await.expect("it runs");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl User {
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose_secret())
    }
}

impl Server {
    pub(crate) fn client(&self) -> Client {
        Client::tcp(&format!("http://{}", self.address)).expect("a URL")
    }

    pub(crate) fn client_of(&self, user: &User) -> Client {
        self.client().with_bearer(&user.token).expect("a token")
    }

    /// Open descriptors of the program.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.daemon.pid());
        std::fs::read_dir(path).expect("it runs").count()
    }
}
