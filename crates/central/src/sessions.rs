//! Sign-ins of the page: a secret in a cookie stands for the token that was shown once.
//!
//! A session is never worth more than its token: it ends when that is revoked or expires, when
//! its user is disabled, when nobody used it for [`SESSION_IDLE`], and after [`SESSION_MAX`] in
//! any case.

use std::{fmt, time::Duration};

use forebay_wire::{Timestamp, TokenId, UserId};
use secrecy::SecretString;

use crate::{
    Store,
    audit::Actor,
    error::Error,
    secret::{Kind, NewToken, Presented},
    sql::{get, moment},
    users::{Caller, TOKEN_IS_GOOD, no_randomness, record},
};

/// Nobody came for so long: it has ended.
pub const SESSION_IDLE: Duration = Duration::from_secs(12 * 3600);
/// It ends after so long, used or not.
pub const SESSION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Sessions of one token at once; a new one ends the oldest.
pub const SESSIONS_MAX: u32 = 32;

/// 12 hours is [`SESSION_IDLE`]; a test compares.
pub(crate) const SESSION_IS_GOOD: &str =
    "s.expires_at > now() AND s.used_at > now() - interval '43200 seconds'";

/// A session just opened: the only time that its secret is known here.
pub struct NewSession {
    /// Who signed in.
    pub caller: Caller,
    /// What the cookie holds.
    pub secret: SecretString,
    /// When it ends in any case.
    pub expires_at: Timestamp,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a session for whoever holds this token.
    pub async fn session_open(
        &self,
        token: &SecretString,
        request_id: &str,
        peer: &str,
    ) -> Result<NewSession, Error> {
        let caller = self.authenticate(token).await?;
        let new = NewToken::generate(Kind::Page).map_err(no_randomness)?;
        let actor = Actor {
            name: format!("user:{}", caller.name),
            request_id: request_id.to_owned(),
            peer: peer.to_owned(),
        };
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let row = tx
            .named("page_sessions.open")
            .query_one(
                "INSERT INTO page_sessions (id, token, secret_sha256, expires_at)
                 VALUES ($1, $2, $3, now() + make_interval(secs => $4)) RETURNING expires_at",
                &[
                    &new.id.uuid(),
                    &caller.token.uuid(),
                    &new.digest.as_slice(),
                    &SESSION_MAX.as_secs_f64(),
                ],
            )
            .await?;
        let expires_at = moment(&row, "expires_at")?;
        tx.named("page_sessions.crowd_out")
            .execute(
                "DELETE FROM page_sessions WHERE id IN (
                     SELECT id FROM page_sessions WHERE token = $1
                     ORDER BY created_at DESC, id DESC OFFSET $2)",
                &[&caller.token.uuid(), &i64::from(SESSIONS_MAX)],
            )
            .await?;
        record(&tx, &actor, "session.open", &new.id.to_string()).await?;
        tx.commit().await?;
        Ok(NewSession {
            caller: Caller {
                session: Some(new.id),
                ..caller
            },
            secret: new.token,
            expires_at,
        })
    }

    /// Whose session this is, by the secret in the cookie. Unknown, wrong and ended sessions, and
    /// those of tokens and users that are no longer good, are all refused alike.
    pub async fn authenticate_session(&self, secret: &SecretString) -> Result<Caller, Error> {
        let presented = Presented::parse(Kind::Page, secret).ok_or(Error::Unauthenticated)?;
        let client = self.client().await?;
        let row = client
            .named("page_sessions.authenticate")
            .query_opt(
                &format!(
                    "SELECT s.secret_sha256, s.used_at < now() - interval '1 minute' AS stale,
                            t.id AS token, u.id, u.name
                     FROM page_sessions s JOIN tokens t ON t.id = s.token JOIN users u ON u.id = t.user_id
                     WHERE s.id = $1 AND {SESSION_IS_GOOD} AND {TOKEN_IS_GOOD}"
                ),
                &[&presented.id.uuid()],
            )
            .await?
            .ok_or(Error::Unauthenticated)?;
        if !presented.matches(get(&row, "secret_sha256")?) {
            return Err(Error::Unauthenticated);
        }
        if get(&row, "stale")? {
            client
                .named("page_sessions.used")
                .execute(
                    "UPDATE page_sessions SET used_at = now()
                     WHERE id = $1 AND used_at < now() - interval '1 minute'",
                    &[&presented.id.uuid()],
                )
                .await?;
        }
        Ok(Caller {
            user: UserId::from_uuid(get(&row, "id")?),
            name: get(&row, "name")?,
            token: TokenId::from_uuid(get(&row, "token")?),
            session: Some(presented.id),
        })
    }

    /// Ends the session that the caller came with; streams opened with it end within seconds.
    pub async fn session_close(&self, caller: &Caller, actor: &Actor) -> Result<(), Error> {
        let session = caller.session.ok_or(Error::Unauthenticated)?;
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        tx.named("page_sessions.close")
            .execute(
                "DELETE FROM page_sessions WHERE id = $1 AND token = $2",
                &[&session.uuid(), &caller.token.uuid()],
            )
            .await?;
        record(&tx, actor, "session.close", &session.to_string()).await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_the_same_in_both_places() {
        let seconds = format!("'{} seconds'", SESSION_IDLE.as_secs());
        assert!(SESSION_IS_GOOD.contains(&seconds), "{SESSION_IS_GOOD}");
    }
}
