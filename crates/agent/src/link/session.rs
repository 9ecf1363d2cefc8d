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

use super::{CALL, Link, LinkError, Open, Site};
use crate::enrolment::Enrolment;

impl Link {
    /// `again`: this process has had a link before.
    pub(super) async fn open_session(&self, again: bool) -> Result<Open, LinkError> {
        // Read each time, so that a new enrolment needs no restart.
        let enrolment = Enrolment::load(&self.0.enrolment)?;
        let client = enrolment.client(self.0.strictness)?;
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
            process: Some(self.0.process),
            again,
        };
        let assertion = enrolment.assertion(open).map_err(LinkError::Statement)?;
        let failed = |source| LinkError::Call {
            call: "session",
            source,
        };
        self.0.calls.count("session");
        let session: Session = client
            .post("/link/v1/session", &assertion)
            .await
            .map_err(failed)?;
        self.0.store.pin_installation(session.installation).await?;
        self.0.store.continue_after(session.acked_seq).await?;
        self.0.store.forget_reports(session.acked_seq).await?;
        self.0.installation.send_replace(Some(session.installation));
        let token = session.token.clone().into();
        let client = client.with_bearer(&token).map_err(failed)?;
        Ok(Open { session, client })
    }

    /// Asks for every job that this site holds, and takes up what is missing.
    pub(super) async fn reconcile(&self, link: &Open, site: &Site) -> Result<(), LinkError> {
        let failed = |source| LinkError::Call {
            call: "open",
            source,
        };
        let mut after = None;
        loop {
            let mut call = self
                .call(link, "open", Method::GET, "/link/v1/open")
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
        open: &Open,
        call: &'static str,
        method: Method,
        path: &str,
    ) -> Result<forebay_http::client::Call, ClientError> {
        self.0.calls.count(call);
        open.client
            .call(method, path)
            .deadline(CALL)
            .header(EPOCH_HEADER, &open.session.epoch.to_string())
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        open: &Open,
        call: &'static str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, LinkError> {
        let answer = async {
            self.call(open, call, Method::POST, path)?
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
