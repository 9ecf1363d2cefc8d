//! What handing a job in means, apart from HTTP.

use std::collections::BTreeMap;

use forebay_central::{Actor, Caller, NewJob};
use forebay_http::{Code, Problem, Request};
use forebay_wire::api::{CreateJob, Job};
use sha2::{Digest as _, Sha256};

use crate::{
    spec_check::{Facts, check},
    view::{View, told},
};

/// The header that makes a submission safe to repeat.
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A job that somebody hands in.
pub(crate) struct Submission<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) actor: &'a Actor,
    pub(crate) key: Option<String>,
    pub(crate) body: CreateJob,
}

impl Submission<'_> {
    /// Checks it and stores it.
    pub(crate) async fn create(self, view: &View) -> Result<Job, Problem> {
        let known = view.clusters().with(&self.body.spec.cluster, view.store());
        let known = known.await.map_err(told)?;
        let facts = Facts {
            clusters: known
                .iter()
                .map(|(name, integration)| (name.as_str(), integration.as_str()))
                .collect::<BTreeMap<_, _>>(),
            script_bytes_max: view.limits().script_bytes,
        };
        check(&self.body.spec, &facts)?;
        let key = match &self.key {
            Some(key) => Some((key.as_str(), digest(&self.body)?)),
            None => None,
        };
        let new = NewJob {
            spec: &self.body.spec,
            key,
        };
        let created = view
            .store()
            .job_create(self.caller, &new, self.actor)
            .await
            .map_err(told)?;
        Ok(created.job)
    }
}

/// The same request, however its JSON is laid out, has the same digest.
fn digest(body: &CreateJob) -> Result<[u8; 32], Problem> {
    let text = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "a request cannot be written as JSON");
        Problem::new(Code::Internal, "Something failed on our side.")
    })?;
    let mut hash = Sha256::new();
    hash.update(b"POST /api/v1/jobs\n");
    hash.update(&text);
    Ok(hash.finalize().into())
}

/// The request's key: 1 to 255 visible ASCII characters, given once.
pub(crate) fn idempotency_key(request: &Request) -> Result<Option<String>, Problem> {
    let mut values = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let visible = |byte: &u8| (0x21..=0x7e).contains(byte);
    let bytes = value.as_bytes();
    let good =
        (1..=255).contains(&bytes.len()) && bytes.iter().all(visible) && values.next().is_none();
    match value.to_str() {
        Ok(text) if good => Ok(Some(text.to_owned())),
        _ => {
            let message =
                "An Idempotency-Key has 1 to 255 visible ASCII characters, and is given once.";
            Err(Problem::new(Code::Malformed, message).with_detail("Idempotency-Key", message))
        }
    }
}
