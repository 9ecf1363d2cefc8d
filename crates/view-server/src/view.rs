//! What every handler works with, and how callers become known.

use std::{future::Future, sync::Arc};

use forebay_central::{Actor, Caller, Error, Link, Store};
use forebay_http::{Code, Problem, Request};
use forebay_service::{Metrics, Tasks, logs};
use forebay_wire::link::EPOCH_HEADER;
use http::header::AUTHORIZATION;

use crate::{
    config::Limits,
    known::Clusters,
    page::{Page, cookie, origin},
    tunnels::Tunnels,
    ways::Ways,
};

/// The service's own state: clones are cheap and the same.
#[derive(Clone, Debug)]
pub struct View(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    limits: Limits,
    clusters: Clusters,
    ways: Ways,
    page: Page,
    tasks: Tasks,
    metrics: Metrics,
}

impl View {
    /// Of these parts.
    pub fn new(store: Store, limits: Limits, page: Page, tasks: Tasks, metrics: Metrics) -> Self {
        let ways = Ways::new(store.clone(), Tunnels::new(limits.site_return));
        Self(Arc::new(Inner {
            store,
            limits,
            clusters: Clusters::default(),
            ways,
            page,
            tasks,
            metrics,
        }))
    }

    /// The central store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The public side's bounds.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// The clusters that there are.
    pub(crate) fn clusters(&self) -> &Clusters {
        &self.0.clusters
    }

    /// The ways to the sites.
    pub fn ways(&self) -> &Ways {
        &self.0.ways
    }

    /// The tunnels that end here.
    pub fn tunnels(&self) -> &Tunnels {
        self.0.ways.tunnels()
    }

    /// What concerns the page.
    pub(crate) fn page(&self) -> &Page {
        &self.0.page
    }

    /// The service's tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// The service's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Who calls the public API: by a token, else by the page's cookie.
    pub(crate) async fn caller(&self, request: &Request) -> Result<Caller, Problem> {
        if !request.headers().contains_key(AUTHORIZATION) {
            return self.session(request).await;
        }
        let token = request.bearer().ok_or_else(no_token)?;
        self.0.store.authenticate(&token).await.map_err(told)
    }

    /// Who calls from the page. A browser sends its cookie whoever made it call, so a change must
    /// come from the page itself.
    pub(crate) async fn session(&self, request: &Request) -> Result<Caller, Problem> {
        let secure = self.0.page.is_secure(request.headers());
        let secret = cookie::session(request, secure).ok_or_else(no_token)?;
        if !request.method().is_safe() {
            origin::check(request, secure)?;
        }
        let caller = self.0.store.authenticate_session(&secret).await;
        caller.map_err(|error| match error {
            Error::Unauthenticated => Problem::new(
                Code::Unauthenticated,
                "The session has ended. Sign in again.",
            ),
            other => told(other),
        })
    }

    /// Whose link this is: the token says, and the header says of which number
    /// the caller believes to be.
    pub(crate) async fn link(&self, request: &Request) -> Result<Link, Problem> {
        let token = request.bearer().ok_or_else(no_token)?;
        let link = self.0.store.authenticate_link(&token).await.map_err(told)?;
        let Some(header) = request.header(EPOCH_HEADER) else {
            return Err(Problem::new(
                Code::Malformed,
                format!("The header {EPOCH_HEADER} is missing."),
            ));
        };
        let epoch: i64 = header.parse().map_err(|_| {
            Problem::new(
                Code::Malformed,
                format!("The header {EPOCH_HEADER} is not a number."),
            )
        })?;
        if epoch != link.epoch {
            return Err(told(Error::Superseded { epoch: link.epoch }));
        }
        Ok(link)
    }

    /// Does something that is audited. Its success is recorded by the store in
    /// the same transaction; a refusal, which changes nothing, is recorded here.
    pub(crate) async fn audited<T>(
        &self,
        actor: &Actor,
        action: &str,
        object: &str,
        act: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let done = act.await;
        if let Err(problem) = &done {
            let recorded = self
                .0
                .store
                .audit_refused(actor, action, object, problem.code)
                .await;
            if let Err(error) = recorded {
                let (actor, error) = (&actor.name, logs::chain(&error));
                tracing::error!(actor, action, object, code = ?problem.code, error, "a refusal could not be audited");
            }
        }
        done
    }
}

/// Who acts, for the audit.
pub(crate) fn actor(name: String, request: &Request) -> Actor {
    Actor {
        name,
        request_id: request.id().to_string(),
        peer: request.peer().to_string(),
    }
}

fn no_token() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "Send `Authorization: Bearer <token>`, or sign in on the page.",
    )
}

/// What the caller is told of an error; the log gets its causes.
pub(crate) fn told(error: Error) -> Problem {
    let problem = error.problem();
    match problem.code {
        Code::Internal => tracing::error!(error = logs::chain(&error), "a call failed"),
        Code::Unavailable => {
            tracing::warn!(error = logs::chain(&error), "a call could not be served");
        }
        _ => {}
    }
    problem
}
