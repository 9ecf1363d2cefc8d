//! The view-server's API as far as the command sees it, with the wire's types,
//! and the faults that a network and a server may have.

mod objects;
mod routes;
mod streams;

pub(crate) use objects::{cluster, event, job, status};

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use forebay_http::{Limits, Listener};
use forebay_service::Tasks;
use forebay_wire::{
    Code, JobState,
    api::{Cluster, Exit, Job, JobEvent, JobSpec, JobStatus},
};

use routes::{Shared, table};

pub(crate) const TOKEN: &str = "fb_k01jdzz2v8nf3tbw0q5c7m9xk4e_s3cret";

/// What the server does with its next requests for some path.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with a problem.
    Refuse(Code),
    /// Does what is asked and then breaks the connection instead of answering.
    Break,
}

/// A job, and how its life goes.
#[derive(Clone, Debug)]
pub(crate) struct FakeJob {
    pub(crate) job: Job,
    /// What the job is once its events have been seen.
    pub(crate) end: Option<JobStatus>,
    pub(crate) events: Vec<JobEvent>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) jobs: Vec<FakeJob>,
    pub(crate) clusters: Vec<Cluster>,
    /// Requests as they came: method, path and query.
    pub(crate) seen: Vec<String>,
    /// `Idempotency-Key`s as they came.
    pub(crate) keys: Vec<String>,
    pub(crate) specs: Vec<JobSpec>,
    /// Faults for paths that begin so, each used once.
    pub(crate) faults: Vec<(&'static str, Fault)>,
    /// How a job that is handed in ends: state, exit.
    pub(crate) ending: Option<(JobState, Option<Exit>)>,
    /// What a job that is handed in prints.
    pub(crate) prints: (Vec<u8>, Vec<u8>),
    /// After how many items each connection to an event stream breaks.
    pub(crate) cuts: VecDeque<usize>,
    /// After how many bytes each plain read of a log breaks.
    pub(crate) byte_cuts: VecDeque<usize>,
    /// Every n-th piece of a followed log is sent as a gap.
    pub(crate) skip_each: Option<usize>,
    /// Of logs, only this many bytes at the end are to be had.
    pub(crate) kept: Option<usize>,
    /// Fields that this version of the command does not know.
    pub(crate) novelties: bool,
}

/// A running server. Ends with the value.
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) address: SocketAddr,
    tasks: Tasks,
    runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"))
    }

    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let state = Arc::new(Mutex::new(State {
            clusters: vec![cluster("hpc")],
            ..State::default()
        }));
        let tasks = Tasks::new();
        let listener = runtime.block_on(Listener::tcp(address)).expect("listening");
        let address = listener.tcp_address().expect("TCP");
        let table = table(&Shared(state.clone()));
        runtime.block_on(async {
            tasks.spawn(
                "http",
                forebay_http::serve(listener, table, Limits::default(), tasks.clone()),
            );
        });
        Self {
            state,
            address,
            tasks,
            runtime,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self
            .runtime
            .block_on(self.tasks.drain(Duration::from_millis(50)));
    }
}
