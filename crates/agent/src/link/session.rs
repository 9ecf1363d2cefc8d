//! Opens the link, and settles at its start what both sides know.

use forebay_http::ClientError;
use forebay_wire::{
    JobId,
    link::{
        ClusterDeclaration, EPOCH_HEADER, OpenJobs, OpenSession, Session, VERSION, VERSION_MIN,
    },
};
use http::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{CALL, Link, LinkError, Site};

/// A token file holds one line.
const TOKEN_BYTES_MAX: usize = 1_024;

impl Link {
    pub(super) async fn open_session(&self) -> Result<Session, LinkError> {
        // Read each time, so that a new token needs no restart.
        let token = forebay_service::secrets::read(&self.0.token_file, TOKEN_BYTES_MAX)
            .map_err(LinkError::Token)?;
        let open = OpenSession {
            version_min: VERSION_MIN,
            version_max: VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            installation: *self.0.installation.borrow(),
            clusters: self
                .0
                .clusters
                .iter()
                .map(|(name, integration)| ClusterDeclaration {
                    name: name.clone(),
                    integration: (*integration).to_owned(),
                })
                .collect(),
        };
        let failed = |source| LinkError::Call {
            call: "session",
            source,
        };
        let client = self.0.client.with_bearer(&token).map_err(failed)?;
        let session: Session = client
            .post("/link/v1/session", &open)
            .await
            .map_err(failed)?;
        self.0.store.pin_installation(session.installation).await?;
        self.0.store.continue_after(session.acked_seq).await?;
        self.0.store.forget_reports(session.acked_seq).await?;
        self.0.installation.send_replace(Some(session.installation));
        Ok(session)
    }

    /// Asks for every job that this site holds, and takes up what is missing.
    pub(super) async fn reconcile(&self, session: &Session, site: &Site) -> Result<(), LinkError> {
        let failed = |source| LinkError::Call {
            call: "open",
            source,
        };
        let mut after = None;
        loop {
            let mut call = self
                .call(session, Method::GET, "/link/v1/open")
                .map_err(failed)?;
            if let Some(after) = after {
                call = call.query("after", &JobId::to_string(&after));
            }
            let answer = call.send().await.and_then(|answer| answer.json());
            let open: OpenJobs<Value> = answer.map_err(failed)?;
            after = open.next;
            site.reconcile(open).await?;
            if after.is_none() {
                break;
            }
        }
        site.all_work_waits();
        Ok(())
    }

    /// A call that speaks for this session.
    pub(super) fn call(
        &self,
        session: &Session,
        method: Method,
        path: &str,
    ) -> Result<forebay_http::client::Call, ClientError> {
        let client = self.0.client.with_bearer(&session.token.clone().into())?;
        client
            .call(method, path)
            .deadline(CALL)
            .header(EPOCH_HEADER, &session.epoch.to_string())
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        session: &Session,
        call: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, LinkError> {
        let answer = async {
            self.call(session, Method::POST, path)?
                .json(body)?
                .send()
                .await?
                .json()
        };
        answer
            .await
            .map_err(|source| LinkError::Call { call, source })
    }
}
