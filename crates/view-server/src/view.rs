//! What every handler works with, and how callers become known.

use std::{future::Future, sync::Arc};

use forebay_central::{Actor, Caller, Error, Link, Store};
use forebay_http::{Code, Problem, Request};
use forebay_service::{Metrics, Tasks, logs};
use forebay_wire::link::EPOCH_HEADER;

use crate::{config::Limits, known::Clusters, tunnels::Tunnels, ways::Ways};

/// The service's own state: clones are cheap and the same.
#[derive(Clone, Debug)]
pub struct View(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    limits: Limits,
    clusters: Clusters,
    ways: Ways,
    tasks: Tasks,
    metrics: Metrics,
}

impl View {
    /// Of these parts.
    pub fn new(store: Store, limits: Limits, tasks: Tasks, metrics: Metrics) -> Self {
        let ways = Ways::new(store.clone(), Tunnels::new(limits.site_return));
        Self(Arc::new(Inner {
            store,
            limits,
            clusters: Clusters::default(),
            ways,
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

    /// The service's tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// The service's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Who calls the public API.
    pub(crate) async fn caller(&self, request: &Request) -> Result<Caller, Problem> {
        let token = request.bearer().ok_or_else(no_token)?;
        self.0.store.authenticate(&token).await.map_err(told)
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
        "Send `Authorization: Bearer <token>`.",
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
