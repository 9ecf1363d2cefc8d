//! All routes of a server, found by method and path.

use super::{Handler, Route, handled_by, tree::Node};
use crate::{
    app::{Endpoint, endpoint},
    problem::{method_not_allowed, not_found},
    reply::{self, Response},
    request::Request,
};
use forebay_service::Tasks;
use forebay_wire::Problem;
use http::Method;
use std::{fmt, future::Future, sync::Arc, time::Duration};
use warp::{Reply, filters::BoxedFilter};

/// All routes of a server.
#[derive(Debug, Default)]
pub struct Table {
    routes: Vec<Route>,
    tree: Node,
    fallback: Option<Fallback>,
}

struct Fallback(Endpoint);

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fallback")
    }
}

/// A route that was found for a request.
pub(crate) struct Found<'t> {
    pub(crate) endpoint: &'t Endpoint,
    pub(crate) template: &'t str,
    /// Names and decoded values, in the order of the path.
    pub(crate) params: Vec<(String, String)>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) shield: Option<&'t Tasks>,
}

/// Why no route answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoRoute {
    Path,
    /// The methods that the path has.
    Method(String),
}

impl NoRoute {
    pub(crate) fn response(&self) -> Response {
        match self {
            Self::Path => reply::problem(not_found()),
            Self::Method(allowed) => method_not_allowed(allowed),
        }
    }
}

impl Table {
    /// No routes: every request is `not_found`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add a route.
    ///
    /// # Panics
    ///
    /// On a template that is not in the form [`Route::new`] describes, and when there is such a
    /// route already: both are mistakes of the program that any start of it shows.
    pub fn add(&mut self, route: Route) -> &mut Self {
        let number = self.routes.len();
        let added = self.tree.insert(route.template(), route.method(), number);
        if let Err(mistake) = added {
            panic!("{route:?}: {mistake}");
        }
        self.routes.push(route);
        self
    }

    /// Add all of these; see [`add`](Self::add).
    pub fn extend(&mut self, routes: impl IntoIterator<Item = Route>) -> &mut Self {
        for route in routes {
            self.add(route);
        }
        self
    }

    /// What answers a request to a path that no route has, instead of `not_found`: static files.
    pub fn fallback(&mut self, filter: BoxedFilter<(Response,)>) -> &mut Self {
        self.fallback = Some(Fallback(endpoint(filter)));
        self
    }

    /// The same with a handler as [`Route::with`] takes it. It gets requests of every method.
    pub fn otherwise<S, H, F, R>(&mut self, state: &S, handler: H) -> &mut Self
    where
        S: Clone + Send + Sync + 'static,
        H: Fn(S, Request) -> F + Send + Sync + 'static,
        F: Future<Output = Result<R, Problem>> + Send + 'static,
        R: Reply + 'static,
    {
        let state = state.clone();
        let handler: Handler =
            Arc::new(move |request| Box::pin(reply::respond(handler(state.clone(), request))));
        self.fallback(handled_by(handler))
    }

    /// The routes in the order in which they were added.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// The route for a request; or why there is none.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<Found<'_>, NoRoute> {
        let Some((ends, values)) = self.tree.find(path) else {
            let fallback = self.fallback.as_ref().ok_or(NoRoute::Path)?;
            return Ok(Found {
                endpoint: &fallback.0,
                template: "(other)",
                params: Vec::new(),
                deadline: None,
                shield: None,
            });
        };
        let by_method = |wanted: &Method| ends.iter().find(|(method, _)| method == wanted);
        // hyper sends no body in answer to HEAD, whatever the handler returns.
        let instead = || {
            (*method == Method::HEAD)
                .then(|| by_method(&Method::GET))
                .flatten()
        };
        let Some((_, number)) = by_method(method).or_else(instead) else {
            let allowed: Vec<_> = ends.iter().map(|(method, _)| method.as_str()).collect();
            return Err(NoRoute::Method(allowed.join(", ")));
        };
        let route = &self.routes[*number];
        let names = super::tree::names(&route.template).map(str::to_owned);
        Ok(Found {
            endpoint: &route.endpoint,
            template: &route.template,
            params: names.zip(values).collect(),
            deadline: route.deadline,
            shield: route.shield.as_ref(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Access;

    fn table(templates: &[(Method, &str)]) -> Table {
        let mut table = Table::new();
        table.extend(templates.iter().map(|(method, template)| {
            Route::new(method.clone(), template, Access::Public, |_request| async {
                Ok::<_, Problem>(reply::no_content())
            })
        }));
        table
    }

    fn found(table: &Table, method: &Method, path: &str) -> String {
        match table.find(method, path) {
            Ok(found) => {
                let params: Vec<_> = found
                    .params
                    .iter()
                    .map(|(name, value)| format!(" {name}={value}"))
                    .collect();
                found.template.to_owned() + &params.concat()
            }
            Err(none) => format!("{none:?}"),
        }
    }

    #[test]
    fn finds_by_method_and_path() {
        let table = table(&[
            (Method::GET, "/"),
            (Method::GET, "/jobs"),
            (Method::POST, "/jobs"),
            (Method::GET, "/jobs/{id}"),
            (Method::GET, "/jobs/mine"),
            (Method::GET, "/jobs/{job}/logs/{stream}"),
            (Method::DELETE, "/jobs/{other}"),
            (Method::GET, "/files/{*path}"),
            (Method::GET, "/files/list"),
        ]);
        for (method, path, expected) in [
            (Method::GET, "/", "/"),
            (Method::GET, "/jobs", "/jobs"),
            (Method::HEAD, "/jobs", "/jobs"),
            (Method::POST, "/jobs", "/jobs"),
            (Method::GET, "/jobs/mine", "/jobs/mine"),
            (Method::GET, "/jobs/j1", "/jobs/{id} id=j1"),
            (Method::DELETE, "/jobs/j1", "/jobs/{other} other=j1"),
            (
                Method::GET,
                "/jobs/mine/logs/stdout",
                "/jobs/{job}/logs/{stream} job=mine stream=stdout",
            ),
            (Method::GET, "/jobs/a%20b%2Fc", "/jobs/{id} id=a b/c"),
            (Method::GET, "/files/list", "/files/list"),
            (Method::GET, "/files/list/x", "/files/{*path} path=list/x"),
            (Method::GET, "/files/a//b/", "/files/{*path} path=a//b/"),
            (Method::GET, "/files/", "Path"),
            (Method::GET, "/files", "Path"),
            (Method::GET, "/jobs/", "Path"),
            (Method::GET, "/jobs//logs/stdout", "Path"),
            (Method::GET, "/jobs/j1/logs", "Path"),
            (Method::GET, "//jobs", "Path"),
            (Method::GET, "*", "Path"),
            (Method::GET, "", "Path"),
            (Method::GET, "/jobs/%ff", "Path"),
            (Method::GET, "/jobs/%zz", "Path"),
            (Method::GET, "/jobs/%2", "Path"),
            (Method::PUT, "/jobs", "Method(\"GET, POST\")"),
        ] {
            assert_eq!(found(&table, &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    #[should_panic(expected = "GET /a/{y} (Public): there is such a route already")]
    fn the_same_route_twice_is_a_mistake() {
        table(&[(Method::GET, "/a/{x}"), (Method::GET, "/a/{y}")]);
    }

    #[test]
    #[should_panic(expected = "nothing can follow a rest")]
    fn a_rest_is_the_last() {
        table(&[(Method::GET, "/a/{*x}/b")]);
    }
}
