//! The central side of the link as the agent sees it, without a database: it
//! hands out jobs, keeps every report, and says what is wrong with what comes.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use forebay_http::{
    Limits, Listener, Problem, Request, Response, ndjson, reply,
    routes::{Access, Route, Table},
};
use forebay_service::{CancellationToken, Tasks};
use forebay_wire::{
    Code, JobId, KeyId, hex,
    link::{
        ASSERTION_CONTEXT, Assertion, Claim, Claimed, Desired, EPOCH_HEADER, Enrol, Enrolled,
        Observation, Report, Reports, ReportsApplied, Session, Statement, Want, Work,
    },
};
use futures_util::stream;
use http::Method;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(15);

/// Clones are the same one.
#[derive(Clone)]
pub(crate) struct ViewServer(Arc<Inner>);

struct Inner {
    url: String,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    tasks: Tasks,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) installation: Uuid,
    pub(crate) queued: Vec<Work<Value>>,
    pub(crate) held: HashMap<JobId, Work<Value>>,
    claims: HashMap<Uuid, Vec<Work<Value>>>,
    /// Claims that are carried out but not answered.
    pub(crate) lose_claims: u32,
    /// Calls other than the session's that are answered "unavailable".
    pub(crate) away: bool,
    /// Reports stay without an answer.
    pub(crate) reports_hang: bool,
    /// Reports are answered so instead of applied.
    pub(crate) refuse_reports: Option<Code>,
    pub(crate) session_s: u64,
    pub(crate) epoch: i64,
    pub(crate) sessions: u32,
    public_key: Vec<u8>,
    statements: HashSet<Uuid>,
    pub(crate) process: Option<Uuid>,
    pub(crate) reports: Vec<Report>,
    /// What a careful view-server would have refused.
    pub(crate) wrong: Vec<String>,
    pub(crate) feeds: Vec<mpsc::UnboundedSender<Desired>>,
    ended: HashSet<JobId>,
}

impl ViewServer {
    pub(crate) async fn start() -> Self {
        let address = "127.0.0.1:0".parse().expect("an address");
        let listener = Listener::tcp(address).await.expect("a free port");
        let url = format!("http://{}", listener.tcp_address().expect("over TCP"));
        let state = State {
            installation: Uuid::new_v4(),
            session_s: 600,
            ..State::default()
        };
        let this = Self(Arc::new(Inner {
            url,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            tasks: Tasks::new(),
        }));
        let tasks = this.0.tasks.clone();
        let server = forebay_http::serve(listener, routes(&this), Limits::default(), tasks.clone());
        drop(tasks.spawn("view-server", server));
        this
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic holds it")
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.0.changed.send_modify(|n| *n += 1);
        result
    }

    /// Queues a job and says so.
    pub(crate) fn queue(&self, work: Work<Value>) {
        let cluster = work.spec["cluster"].as_str().expect("a cluster");
        let cluster = cluster.parse().expect("a name");
        self.change(|state| state.queued.push(work));
        self.want(Want::Work { cluster });
    }

    pub(crate) fn want(&self, want: Want) {
        let mut state = self.state();
        if let Want::Cancel { job } = &want
            && let Some(work) = state.held.get_mut(job)
        {
            work.cancel_wanted = true;
        }
        let desired = Desired {
            cursor: "1.2.3".into(),
            want,
        };
        state
            .feeds
            .retain(|feed| feed.send(desired.clone()).is_ok());
    }

    /// Waits until `done` gives something.
    pub(crate) async fn until<T>(&self, what: &str, done: impl Fn(&State) -> Option<T>) -> T {
        let mut changed = self.0.changed.subscribe();
        let found = async {
            loop {
                if let Some(found) = done(&self.state()) {
                    return found;
                }
                // Some conditions change outside of it.
                let _ = tokio::time::timeout(Duration::from_millis(20), changed.changed()).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("not {what}; reports: {:#?}", self.state().reports))
    }

    /// What was reported of a job, in order, in words.
    pub(crate) fn story(&self, job: JobId) -> Vec<String> {
        self.state().story(job)
    }

    pub(crate) async fn until_ended(&self, job: JobId) -> Vec<String> {
        self.until("ended", |state| {
            state.ended.contains(&job).then(|| state.story(job))
        })
        .await
    }

    pub(crate) async fn until_told(&self, job: JobId, word: &str) {
        self.until(word, |state| {
            state.story(job).iter().any(|w| w == word).then_some(())
        })
        .await;
    }

    /// What a job was refused with.
    pub(crate) fn refusal(&self, job: JobId) -> Option<String> {
        self.state().reports.iter().find_map(|report| match report {
            Report::Job {
                job: about,
                saw: Observation::Refused { message },
                ..
            } if *about == job => Some(message.clone()),
            _ => None,
        })
    }

    pub(crate) async fn end(&self) {
        assert_eq!(self.state().wrong, [] as [String; 0]);
        let _ = self.0.tasks.drain(Duration::ZERO).await;
    }
}

impl State {
    /// As when the view-server ends the desired feeds.
    pub(crate) fn end_feeds(&mut self) {
        self.feeds.clear();
    }

    fn story(&self, job: JobId) -> Vec<String> {
        self.reports
            .iter()
            .filter_map(|report| word(report, job))
            .collect()
    }

    fn check(&mut self, request: &Request) -> Result<(), Problem> {
        if self.away {
            return Err(Problem::new(Code::Unavailable, "away"));
        }
        let epoch = request
            .header(EPOCH_HEADER)
            .and_then(|epoch| epoch.parse().ok());
        if epoch != Some(self.epoch) {
            return Err(Problem::new(Code::Superseded, "another agent"));
        }
        Ok(())
    }
}

fn word(report: &Report, wanted: JobId) -> Option<String> {
    let Report::Job { job, saw, .. } = report else {
        return None;
    };
    let word = match saw {
        Observation::Released { scheduler_id, .. } => format!("released {scheduler_id}"),
        Observation::Refused { .. } => "refused".into(),
        // Reasons come and go; they are no step.
        Observation::Waiting { .. } => return None,
        Observation::Started { .. } => "started".into(),
        Observation::Ending => "ending".into(),
        Observation::Requeued => "requeued".into(),
        Observation::Ended { end, .. } => format!("{end:?}").to_lowercase(),
        Observation::Vanished { .. } => "vanished".into(),
        Observation::Tasks { .. } => "tasks".into(),
        Observation::Freshness { freshness, .. } => format!("{freshness:?}").to_lowercase(),
    };
    (*job == wanted).then_some(word)
}

fn routes(server: &ViewServer) -> Table {
    let mut table = Table::new();
    let open = Access::Public;
    table.extend([
        Route::with(server, Method::POST, "/link/v1/enrol", open, enrol),
        Route::with(server, Method::POST, "/link/v1/session", open, session),
        Route::with(server, Method::GET, "/link/v1/open", open, open_jobs),
        Route::with(server, Method::POST, "/link/v1/claim", open, claim),
        Route::with(server, Method::GET, "/link/v1/desired", open, desired),
        Route::with(server, Method::POST, "/link/v1/reports", open, reports),
    ]);
    table
}

async fn enrol(server: ViewServer, mut request: Request) -> Result<Response, Problem> {
    let enrol: Enrol = request.json(64 << 10).await?;
    server.change(|state| {
        state.public_key = hex::decode(&enrol.public_key).expect("a key");
        Ok(reply::ok(&Enrolled {
            site: "here".parse().expect("a name"),
            key: KeyId::from_uuid(Uuid::from_u128(1)),
            installation: state.installation,
        }))
    })
}

async fn session(server: ViewServer, mut request: Request) -> Result<Response, Problem> {
    let assertion: Assertion = request.json(64 << 10).await?;
    let statement: Statement = serde_json::from_str(&assertion.statement).expect("a statement");
    server.change(|state| {
        let signed = [ASSERTION_CONTEXT, &assertion.statement].concat();
        let signature = hex::decode(&assertion.signature).expect("a signature");
        let key = UnparsedPublicKey::new(&ED25519, &state.public_key);
        if key.verify(signed.as_bytes(), &signature).is_err() {
            state.wrong.push("a signature".into());
        }
        if statement.aud != state.installation || !state.statements.insert(statement.jti) {
            state.wrong.push(format!("a statement: {statement:?}"));
        }
        let open = statement.open;
        if open.again && open.process != state.process {
            return Err(Problem::new(Code::Superseded, "another agent"));
        }
        state.process = open.process;
        if open
            .installation
            .is_some_and(|pinned| pinned != state.installation)
        {
            state.wrong.push("another installation".into());
        }
        state.epoch += 1;
        state.sessions += 1;
        Ok(reply::ok(&Session {
            token: "token".into(),
            expires_in_s: state.session_s,
            epoch: state.epoch,
            version: open.version_max,
            installation: state.installation,
            site: "here".parse().expect("a name"),
            acked_seq: i64::try_from(state.reports.len()).expect("few"),
            desired_after: "1.2.3".into(),
        }))
    })
}

async fn open_jobs(server: ViewServer, request: Request) -> Result<Response, Problem> {
    let mut state = server.state();
    state.check(&request)?;
    // A page of all, and an empty one behind it.
    let first = !request
        .uri()
        .query()
        .is_some_and(|query| query.contains("after="));
    let of = |work: &Work<Value>| {
        let mut open = json!(work);
        open["state"] = json!("submitting");
        open
    };
    let jobs: Vec<_> = state.held.values().filter(|_| first).map(of).collect();
    let next = state.held.keys().max().filter(|_| first);
    Ok(reply::ok(&json!({"jobs": jobs, "next": next})))
}

async fn claim(server: ViewServer, mut request: Request) -> Result<Response, Problem> {
    server.state().check(&request)?;
    let claim: Claim = request.json(64 << 10).await?;
    server.change(|state| {
        let jobs = match state.claims.get(&claim.request_id) {
            // As the real one: without those that have ended.
            Some(known) => known
                .iter()
                .filter(|work| !state.ended.contains(&work.job))
                .cloned()
                .collect(),
            None => {
                let count = state.queued.len().min(claim.free as usize);
                let jobs: Vec<Work<Value>> = state.queued.drain(..count).collect();
                state
                    .held
                    .extend(jobs.iter().map(|work| (work.job, work.clone())));
                state.claims.insert(claim.request_id, jobs.clone());
                jobs
            }
        };
        if state.lose_claims > 0 {
            state.lose_claims -= 1;
            return Err(Problem::new(Code::Unavailable, "the answer is lost"));
        }
        Ok(reply::ok(&Claimed {
            jobs,
            more: !state.queued.is_empty(),
        }))
    })
}

async fn desired(server: ViewServer, request: Request) -> Result<Response, Problem> {
    let mut state = server.state();
    state.check(&request)?;
    let (feed, mut items) = mpsc::unbounded_channel();
    state.feeds.push(feed);
    let items = stream::poll_fn(move |context| items.poll_recv(context));
    Ok(ndjson::reply(
        items,
        CancellationToken::new(),
        Duration::from_secs(5),
    ))
}

async fn reports(server: ViewServer, mut request: Request) -> Result<Response, Problem> {
    let reports: Reports = request.json(1 << 20).await?;
    while server.state().reports_hang {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.change(|state| {
        if state.away {
            return Err(Problem::new(Code::Unavailable, "away"));
        }
        if reports.epoch != state.epoch {
            return Err(Problem::new(Code::Superseded, "another agent"));
        }
        if let Some(code) = state.refuse_reports {
            return Err(Problem::new(code, "not these"));
        }
        let known = state.reports.len();
        let Some(repeated) =
            (known + 1).checked_sub(usize::try_from(reports.from_seq).unwrap_or(0))
        else {
            state
                .wrong
                .push(format!("reports from {} after {known}", reports.from_seq));
            return Err(Problem::new(Code::Conflict, "a gap"));
        };
        for report in reports.items.into_iter().skip(repeated) {
            if let Report::Job { job, saw, .. } = &report {
                let ends = matches!(
                    saw,
                    Observation::Ended { .. }
                        | Observation::Refused { .. }
                        | Observation::Vanished { .. }
                );
                if state.ended.contains(job) {
                    state.wrong.push(format!("{job} had ended: {saw:?}"));
                }
                if ends {
                    state.ended.insert(*job);
                    state.held.remove(job);
                }
            }
            state.reports.push(report);
        }
        let acked_seq = i64::try_from(state.reports.len()).expect("few");
        Ok(reply::ok(&ReportsApplied { acked_seq }))
    })
}
