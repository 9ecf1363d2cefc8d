//! The central side of the links: what agents call.

mod calls;
mod desired;
mod enrol;

use std::time::Duration;

use forebay_http::routes::{Access, Route};
use http::Method;

use crate::view::View;

/// Whoever has a token that an operator made for a site.
const ENROLMENT: Access = Access::Rule("enrolment");
/// Whoever signs a statement with a site's key.
const KEY: Access = Access::Rule("site's key");
/// Whoever has the token of an open link.
const LINK: Access = Access::Rule("link");
/// A batch of a thousand reports is applied in one transaction; agents wait longer than this.
const REPORTS: Duration = Duration::from_secs(18);

/// The links' routes.
pub(crate) fn routes(view: &View) -> Vec<Route> {
    use Method as M;
    let tasks = view.tasks();
    vec![
        Route::with(view, M::POST, "/link/v1/enrol", ENROLMENT, enrol::enrol).shielded(tasks),
        Route::with(view, M::POST, "/link/v1/session", KEY, calls::session).shielded(tasks),
        Route::with(view, M::GET, "/link/v1/open", LINK, calls::open),
        Route::with(view, M::POST, "/link/v1/claim", LINK, calls::claim).shielded(tasks),
        Route::with(view, M::POST, "/link/v1/reports", LINK, calls::reports)
            .shielded(tasks)
            .deadline(REPORTS),
        Route::with(view, M::GET, "/link/v1/desired", LINK, desired::desired),
        Route::with(view, M::GET, "/link/v1/tunnel", LINK, calls::tunnel),
    ]
}
