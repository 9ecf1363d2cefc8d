//! A site: database, model scheduler and view-server stay; agents come and go.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use forebay_agent::{
    accounts::Accounts,
    config, enrolment,
    link::{Link, Site},
    maintainer::{Limits, Maintainer, Parts},
    store::Store,
    user_agents::{self, UserAgents},
};
use forebay_service::{Metrics, Strictness, Tasks};
use forebay_testbed::{accounts, dirs::Dir, postgres::Database};
use forebay_wire::{
    ClusterName, JobId, UserId,
    link::{Want, Work},
};
use serde_json::{Value, json};

use crate::{
    database::{database, open},
    model::{Model, State},
    view_server::ViewServer,
};

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) model: Model,
    pub(crate) view_server: ViewServer,
    pub(crate) identity: String,
    /// The user-agent's program; none unless a test needs one.
    pub(crate) program: PathBuf,
    dir: Dir,
}

pub(crate) struct Agent {
    pub(crate) tasks: Tasks,
    pub(crate) store: Store,
    pub(crate) link: Link,
    pub(crate) maintainer: Maintainer,
    user_agents: UserAgents,
    pub(crate) metrics: Metrics,
}

const STRICT: Strictness = Strictness { dev: false };

fn cluster() -> ClusterName {
    "hpc".parse().expect("a name")
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = Dir::new("agent").expect("a directory");
        let view_server = ViewServer::start().await;
        let ticket = format!("fe_token@{}", view_server.url()).parse();
        let enrolment = dir.path().join("enrolment");
        enrolment::enrol(&enrolment, &ticket.expect("a ticket"), STRICT)
            .await
            .expect("enrolled");
        let account = accounts::current().expect("an account");
        let account = if account.uid == 0 {
            accounts::test_account(1).expect("a test account")
        } else {
            account
        };
        Self {
            database: database().await,
            model: Model::default(),
            view_server,
            identity: account.name,
            program: "/nonexistent".into(),
            dir,
        }
    }

    /// The model, to set its faults.
    pub(crate) fn with(&self, change: impl FnOnce(&mut State)) -> &Self {
        change(&mut self.model.state());
        self
    }

    /// A file that jobs' owner can read.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, mode).expect("opened");
        Path::display(&path).to_string()
    }

    /// Starts an agent as the program does.
    pub(crate) async fn agent(&self) -> Agent {
        let tasks = Tasks::new();
        let store = open(&self.database, &tasks).await;
        let accounts = Accounts::of_this_process().expect("an account");
        let user_agents = UserAgents::new(user_agents::Config {
            program: self.program.clone(),
            run_dir: self.dir.path().join("run"),
            environment: "test".into(),
            bin_dir: None,
            slurm_conf: None,
            log_dir: None,
            end_with_agent: true,
        });
        let config = config::Link {
            enrolment: self.dir.path().join("enrolment"),
            strictness: STRICT,
        };
        let metrics = Metrics::new();
        let link = Link::new(&config, store.clone(), vec![(cluster(), "model")], &metrics)
            .await
            .expect("a link");
        let parts = Parts {
            cluster: cluster(),
            integration: Arc::new(self.model.clone()),
            limits: Limits {
                poll: Duration::from_millis(20),
                sweep: Duration::from_millis(50),
                ..Limits::default()
            },
            store: store.clone(),
            accounts: accounts.clone(),
            link: link.clone(),
            user_agents: user_agents.clone(),
        };
        let jobs = store.open_jobs().await.expect("read");
        let maintainer = Maintainer::start(parts, &tasks, jobs);
        let site = Site::new(
            HashMap::from([(cluster(), maintainer.clone())]),
            store.clone(),
            accounts,
            user_agents.clone(),
            tasks.clone(),
        );
        link.start(site, &tasks);
        Agent {
            tasks,
            store,
            link,
            maintainer,
            user_agents,
            metrics,
        }
    }

    pub(crate) fn work(&self, slurm: Option<Value>) -> Work<Value> {
        let work = json!({
            "job": JobId::new(),
            "owner": {"user": UserId::new(), "identity": self.identity},
            "spec": {"cluster": "hpc", "command": ["true"], "slurm": slurm.unwrap_or(json!({}))},
        });
        serde_json::from_value(work).expect("work")
    }

    /// Queues a small job.
    pub(crate) fn submit(&self) -> JobId {
        let work = self.work(None);
        let job = work.job;
        self.view_server.queue(work);
        job
    }

    pub(crate) fn cancel(&self, job: JobId) {
        self.view_server.want(Want::Cancel { job });
    }

    /// Ended as it should: once, and with exactly this told.
    pub(crate) async fn ends(&self, job: JobId, story: &[&str]) {
        assert_eq!(self.view_server.until_ended(job).await, story);
        assert_eq!(self.model.open(job), 0, "no copy is left");
    }

    pub(crate) async fn end(self, agent: Agent) {
        agent.stop().await;
        self.view_server.end().await;
    }
}

impl Agent {
    /// As at SIGTERM.
    pub(crate) async fn stop(self) {
        assert_eq!(self.tasks.fatal_reason(), None);
        self.tasks
            .drain(Duration::from_secs(5))
            .await
            .expect("it ends in time");
        self.user_agents.end().await;
    }

    /// As at `kill -9`: nothing goes on to its end.
    pub(crate) async fn kill(self) {
        let _ = self.tasks.drain(Duration::ZERO).await;
    }
}
