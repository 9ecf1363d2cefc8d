//! The routes of a service as a table: dispatched by method and path, listed with who may call.
//!
//! Paths are matched here, segment by segment, and each route is a warp service of its own, so the
//! cost of compiling and of dispatching does not grow with a chain of `or`s, and a failure inside
//! one route cannot fall through into another.

mod table;
mod tree;

pub(crate) use table::Found;
pub use table::Table;
pub(crate) use tree::percent_decode;

use crate::{
    app::{BoxFuture, Endpoint, endpoint},
    reply::{self, Response},
    request::{Request, request},
};
use forebay_service::Tasks;
use forebay_wire::Problem;
use http::Method;
use std::{fmt, future::Future, sync::Arc, time::Duration};
use warp::{Filter as _, Reply, filters::BoxedFilter};

/// Who may call a route. Enforced by its handler; a test walks the table and checks that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Whoever has signed in.
    Authenticated,
    /// Whoever the service's own rule of this name lets in.
    Rule(&'static str),
}

/// One method on one path.
#[derive(Clone)]
pub struct Route {
    method: Method,
    template: String,
    access: Access,
    endpoint: Endpoint,
    deadline: Option<Duration>,
    shield: Option<Tasks>,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:?})", self.method, self.template, self.access)
    }
}

impl Route {
    /// A route answered by `handler`.
    ///
    /// `template` is an absolute path whose segments are literal or `{name}`, which matches one
    /// segment ([`Request::param`]); the last may be `{*name}`, which matches all that remain, at
    /// least one.
    pub fn new<H, F, R>(method: Method, template: &str, access: Access, handler: H) -> Self
    where
        H: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, Problem>> + Send + 'static,
        R: Reply + 'static,
    {
        // Boxed here, so that the filters below are compiled once and not for each handler.
        let handler: Handler = Arc::new(move |request| Box::pin(reply::respond(handler(request))));
        Self::filter(method, template, access, handled_by(handler))
    }

    /// A route whose handler takes a clone of `state` as its first argument: the form in which a
    /// service's handlers are plain functions.
    pub fn with<S, H, F, R>(
        state: &S,
        method: Method,
        template: &str,
        access: Access,
        handler: H,
    ) -> Self
    where
        S: Clone + Send + Sync + 'static,
        H: Fn(S, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, Problem>> + Send + 'static,
        R: Reply + 'static,
    {
        let state = state.clone();
        Self::new(method, template, access, move |request| {
            handler(state.clone(), request)
        })
    }

    /// A route answered by any warp filter, which sees the whole path. The path has been matched
    /// already; the filter need not.
    pub fn filter(
        method: Method,
        template: &str,
        access: Access,
        filter: BoxedFilter<(Response,)>,
    ) -> Self {
        Self {
            method,
            template: template.to_owned(),
            access,
            endpoint: endpoint(filter),
            deadline: None,
            shield: None,
        }
    }

    /// Answered within `deadline`, instead of [`Limits::request_timeout`](crate::Limits).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// A change: the handler runs to its end even when the client disconnects or the deadline
    /// passes, and a drain waits for it.
    #[must_use]
    pub fn shielded(mut self, tasks: &Tasks) -> Self {
        self.shield = Some(tasks.clone());
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path with its `{names}`.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// A path that the template matches, with each name for its own value: for tests that walk the
    /// table.
    pub fn example_path(&self) -> String {
        self.template.replace("{*", "").replace(['{', '}'], "")
    }

    /// Who may call it.
    pub fn access(&self) -> Access {
        self.access
    }
}

type Handler = Arc<dyn Fn(Request) -> BoxFuture<Response> + Send + Sync>;

fn handled_by(handler: Handler) -> BoxedFilter<(Response,)> {
    request().then(move |request| handler(request)).boxed()
}
