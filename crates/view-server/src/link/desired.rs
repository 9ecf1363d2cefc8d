//! `GET /link/v1/desired`: what is wanted of a site, for as long as its link lives.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use forebay_central::{Again, DesiredCursor, Error, Link};
use forebay_http::{Code, Problem, Request, Response, ndjson};
use forebay_postgres::doorbell::Bell;
use forebay_service::logs;
use forebay_wire::{
    Timestamp,
    link::{Desired, HEARTBEAT_S, Want},
};
use futures_util::stream;
use serde::Deserialize;

use crate::view::{View, told};

/// Without the doorbell, look this often.
const LOOK: Duration = Duration::from_secs(1);
/// What is wanted within so long is read together: a busy queue rings often.
const GATHER: Duration = Duration::from_millis(15);
/// From one read to the next at least, however often the bell rings.
const GAP: Duration = Duration::from_millis(60);
/// How often the link is checked, and the site noted as heard.
const CHECK: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(HEARTBEAT_S);

/// What it takes.
#[derive(Debug, Deserialize)]
pub(super) struct DesiredQuery {
    after: String,
}

pub(super) async fn desired(view: View, request: Request) -> Result<Response, Problem> {
    let link = view.link(&request).await?;
    let query: DesiredQuery = request.query()?;
    let after = query.after.parse().map_err(|_| {
        Problem::new(Code::Malformed, "The cursor is not one of this feed.")
            .with_detail("after", "not a cursor")
    })?;
    view.store().link_heard(&link).await.map_err(told)?;
    let feed = Feed {
        bell: view.store().bell(),
        view: view.clone(),
        link,
        read: after,
        said_to: after,
        wants: VecDeque::new(),
        said: Instant::now(),
        checked: Instant::now(),
    };
    let lines = stream::unfold(
        feed,
        |mut feed| async move { Some((feed.next().await?, feed)) },
    );
    // The heartbeats are lines of our own, with a cursor.
    Ok(ndjson::reply(lines, view.tasks().stopping(), 2 * HEARTBEAT))
}

/// The feed of one site for one link.
struct Feed {
    view: View,
    link: Link,
    /// Everything up to here has been read.
    read: DesiredCursor,
    /// Everything up to here has been said as well: where the site may go on.
    said_to: DesiredCursor,
    /// Read, and not yet said.
    wants: VecDeque<Want>,
    bell: Bell,
    said: Instant,
    checked: Instant,
}

impl Feed {
    /// The next line; none when the link is over.
    async fn next(&mut self) -> Option<Desired> {
        loop {
            if self.checked.elapsed() >= CHECK && !self.link_lives().await {
                return None;
            }
            if let Some(want) = self.wants.pop_front() {
                return Some(self.line(want));
            }
            if self.said.elapsed() >= HEARTBEAT {
                return Some(self.line(Want::Heartbeat));
            }
            let read_at = Instant::now();
            match self.view.store().desired(&self.link.site, self.read).await {
                Ok(page) => {
                    self.read = page.next;
                    self.wants.extend(page.wants);
                    if self.wants.is_empty() {
                        match page.again {
                            Again::Now => {}
                            // Rows that another transaction holds back are readable soon.
                            Again::Soon => tokio::time::sleep(GATHER).await,
                            Again::No => {
                                self.bell.wait(LOOK).await;
                                let rest = GAP.saturating_sub(read_at.elapsed());
                                tokio::time::sleep(rest.max(GATHER)).await;
                            }
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(site = %self.link.site, error = logs::chain(&error), "the desired feed could not be read");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Of several that were read together only the last carries the new cursor: a
    /// site that goes on behind one of them hears the others, some of them again.
    fn line(&mut self, want: Want) -> Desired {
        self.said = Instant::now();
        if self.wants.is_empty() {
            self.said_to = self.read;
        }
        Desired {
            cursor: self.said_to.to_string(),
            want,
        }
    }

    async fn link_lives(&mut self) -> bool {
        if self.link.expires_at <= Timestamp::now() {
            return false;
        }
        self.checked = Instant::now();
        match self.view.store().link_heard(&self.link).await {
            Ok(()) => true,
            Err(Error::Superseded { .. } | Error::Unauthenticated) => {
                tracing::info!(site = %self.link.site, epoch = self.link.epoch, "the link is over");
                false
            }
            Err(error) => {
                tracing::warn!(site = %self.link.site, error = logs::chain(&error), "the link could not be checked");
                true
            }
        }
    }
}
