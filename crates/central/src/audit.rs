//! Who did what to which object, and how it went.

use forebay_wire::{Code, Timestamp};

use crate::{
    Store,
    error::Error,
    sql::{get, moment},
};

/// Who acts, and in which call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `user:<name>`, `site:<name>`, or `operator`.
    pub name: String,
    /// The call's id in logs and answers.
    pub request_id: String,
    /// Where it came from: an address, or `uid:<n>`.
    pub peer: String,
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: [`Actor::name`].
    pub actor: String,
    /// What: `job.create`, `job.cancel`, `token.create`.
    pub action: String,
    /// On what: an id or a name; empty where it was refused before there was one.
    pub object: String,
    /// `ok`, or the code of the problem.
    pub result: String,
    /// The call's id.
    pub request_id: String,
    /// Where it came from.
    pub peer: String,
}

/// The result of what succeeded.
pub(crate) const OK: &str = "ok";

/// Writes one line; in CTEs of other statements its columns are repeated.
pub(crate) const INSERT: &str = "INSERT INTO audit (actor, action, object, result, request_id, peer) \
     VALUES ($1, $2, $3, $4, $5, $6)";

impl Store {
    /// Records a call that was refused, and so changed nothing.
    pub async fn audit_refused(
        &self,
        actor: &Actor,
        action: &str,
        object: &str,
        code: Code,
    ) -> Result<(), Error> {
        let client = self.client().await?;
        let code = serde_json::to_value(code).ok();
        let result = code
            .as_ref()
            .and_then(serde_json::Value::as_str)
            .unwrap_or("internal");
        client
            .named("audit.refused")
            .execute(
                INSERT,
                &[
                    &actor.name,
                    &action,
                    &object,
                    &result,
                    &actor.request_id,
                    &actor.peer,
                ],
            )
            .await?;
        Ok(())
    }

    /// The newest lines first, at most `limit`, of one actor or of all.
    pub async fn audit_list(
        &self,
        actor: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, Error> {
        let client = self.client().await?;
        let rows = client
            .named("audit.list")
            .query(
                "SELECT at, actor, action, object, result, request_id, peer FROM audit
                 WHERE $1::text IS NULL OR actor = $1 ORDER BY at DESC, id DESC LIMIT $2",
                &[&actor, &i64::from(limit)],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(AuditEntry {
                    at: moment(row, "at")?,
                    actor: get(row, "actor")?,
                    action: get(row, "action")?,
                    object: get(row, "object")?,
                    result: get(row, "result")?,
                    request_id: get(row, "request_id")?,
                    peer: get(row, "peer")?,
                })
            })
            .collect()
    }
}
