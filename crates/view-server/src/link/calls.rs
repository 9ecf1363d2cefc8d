//! The calls that end with their answer, and the tunnel.

use std::time::Duration;

use forebay_central::{AssertionError, Error, Link, versions_overlap};
use forebay_http::{
    Code, Problem, Request, Response,
    client::ClientLimits,
    link::{KeepAlive, Link as Tunnel},
    reply,
};
use forebay_service::logs;
use forebay_wire::link::{
    Assertion, Claim, REPORT_BYTES_MAX, REPORT_ITEMS_MAX, Reports, UPGRADE, VERSION, VERSION_MIN,
};

use crate::view::{View, actor, told};

/// Bodies other than reports are small.
pub(super) const BODY_BYTES: usize = 64 << 10;
/// How often it is checked that a site may still speak to us.
const RIGHTS: Duration = Duration::from_secs(5);

pub(super) async fn session(view: View, mut request: Request) -> Result<Response, Problem> {
    // What cannot be a signed statement is no way to say who one is.
    let body = request.bytes(BODY_BYTES).await?;
    let assertion: Assertion = serde_json::from_slice(&body).map_err(|_| {
        Problem::new(
            Code::Unauthenticated,
            "Send a statement that is signed with the site's key.",
        )
    })?;
    let (site, open) = match view.store().authenticate_site(&assertion).await {
        Ok(known) => known,
        // A stranger's call is not audited: anybody could fill the table.
        Err(error @ Error::Assertion(AssertionError::Unknown)) => return Err(told(error)),
        Err(error) => {
            let key = assertion.key.to_string();
            let who = actor(format!("key:{key}"), &request);
            let refused = async { Err(told(error)) };
            return view.audited(&who, "link.open", &key, refused).await;
        }
    };
    let actor = actor(format!("site:{}", site.name), &request);
    let open = async {
        if !versions_overlap(&open) {
            let message = format!(
                "This side speaks versions {VERSION_MIN} to {VERSION} of the link, the agent {} to {}. Upgrade the older one.",
                open.version_min, open.version_max
            );
            return Err(Problem::new(Code::Version, message));
        }
        view.store()
            .link_open(&site, &open, &actor)
            .await
            .map_err(told)
    };
    let session = view
        .audited(&actor, "link.open", site.name.as_str(), open)
        .await?;
    tracing::info!(site = %session.site, epoch = session.epoch, "a link was opened");
    Ok(reply::ok(&session))
}

#[derive(serde::Deserialize)]
struct OpenQuery {
    after: Option<forebay_wire::JobId>,
}

pub(super) async fn open(view: View, request: Request) -> Result<Response, Problem> {
    let link = view.link(&request).await?;
    let query: OpenQuery = request.query()?;
    let open = view.store().open_jobs(&link, query.after).await;
    Ok(reply::ok(&open.map_err(told)?))
}

pub(super) async fn claim(view: View, mut request: Request) -> Result<Response, Problem> {
    let link = view.link(&request).await?;
    let claim: Claim = request.json_of_peer(BODY_BYTES).await?;
    Ok(reply::ok(
        &view.store().claim(&link, &claim).await.map_err(told)?,
    ))
}

pub(super) async fn reports(view: View, mut request: Request) -> Result<Response, Problem> {
    // The epoch is in the body, and is checked with it.
    let token = request
        .bearer()
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "Send the link's token."))?;
    let link = view.store().authenticate_link(&token).await.map_err(told)?;
    let reports: Reports = request.json_of_peer(REPORT_BYTES_MAX).await?;
    if reports.items.len() > REPORT_ITEMS_MAX {
        let message = format!("At most {REPORT_ITEMS_MAX} items at once.");
        return Err(Problem::new(Code::TooLarge, message.clone()).with_detail("items", message));
    }
    Ok(reply::ok(
        &view
            .store()
            .apply_reports(&link, reports)
            .await
            .map_err(told)?,
    ))
}

/// Turns the connection around: from here on this side calls, and the agent serves.
pub(super) async fn tunnel(view: View, request: Request) -> Result<Response, Problem> {
    let link = view.link(&request).await?;
    view.store().link_current(&link).await.map_err(told)?;
    let tasks = view.tasks().clone();
    request.upgrade(&tasks.clone(), UPGRADE, move |io| async move {
        match Tunnel::connect(io, &tasks, ClientLimits::default(), KeepAlive::default()).await {
            Ok(tunnel) => {
                let revoked = revoked(&view, &link);
                let site = link.site.clone();
                view.tunnels().keep(site, link.epoch, tunnel, revoked).await;
            }
            Err(error) => tracing::warn!(site = %link.site, error = logs::chain(&error), "a tunnel could not be used"),
        }
    })
}

/// Returns when the site may no longer speak to us: its token was revoked. A
/// link's own end is no reason; the next one brings a tunnel of its own.
async fn revoked(view: &View, link: &Link) {
    loop {
        tokio::time::sleep(RIGHTS).await;
        match view.store().link_revoked(link).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => {
                tracing::warn!(site = %link.site, error = logs::chain(&error), "the site could not be checked");
            }
        }
    }
}
