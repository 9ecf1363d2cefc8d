//! Users, and the tokens by which they are known.

use std::time::Duration;

use forebay_wire::{Timestamp, TokenId, UserId};
use secrecy::SecretString;
use time::OffsetDateTime;

use crate::{
    Store,
    audit::{self, Actor},
    error::Error,
    secret::{Kind, NewToken, Presented},
    sessions::SESSION_IS_GOOD,
    sql::{get, moment, moment_opt},
};

/// Who is calling, as their token says. Every read of a job takes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user: UserId,
    /// The user's name.
    pub name: String,
    /// The token they came with, or signed in with.
    pub token: TokenId,
    /// The session of the page they came with, if it was one.
    pub session: Option<TokenId>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its public part.
    pub id: TokenId,
    /// Whose it is.
    pub user: String,
    /// What it is for.
    pub note: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

pub(crate) const TOKEN_IS_GOOD: &str = "t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now()) AND u.disabled_at IS NULL";

impl Store {
    /// Adds a user. The name is one Unix account's: letters, digits, `_`, `-`, `.`.
    pub async fn user_add(&self, name: &str, actor: &Actor) -> Result<UserId, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty()
            || name.len() > 64
            || !name.chars().all(plain)
            || name.starts_with(['-', '.'])
        {
            return Err(Error::Conflict(format!(
                "`{name}` is not the name of an account."
            )));
        }
        let id = UserId::new();
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let added = tx
            .named("users.add")
            .execute(
                "INSERT INTO users (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                &[&id.uuid(), &name],
            )
            .await?;
        if added == 0 {
            return Err(Error::Conflict(format!(
                "There is already a user `{name}`."
            )));
        }
        record(&tx, actor, "user.add", name).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Makes a token for a user; the answer holds the only copy of its secret.
    pub async fn token_create(
        &self,
        user: &str,
        note: &str,
        expires_in: Option<Duration>,
        actor: &Actor,
    ) -> Result<NewToken, Error> {
        let new = NewToken::generate(Kind::User).map_err(no_randomness)?;
        let expires_at = match expires_in {
            Some(time) => Some(
                time::Duration::try_from(time)
                    .ok()
                    .and_then(|time| OffsetDateTime::now_utc().checked_add(time))
                    .ok_or_else(|| Error::Conflict("No calendar reaches that far.".into()))?,
            ),
            None => None,
        };
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let made = tx
            .named("tokens.create")
            .execute(
                "INSERT INTO tokens (id, user_id, secret_sha256, note, expires_at)
                 SELECT $1, id, $3, $4, $5 FROM users WHERE name = $2 AND disabled_at IS NULL",
                &[
                    &new.id.uuid(),
                    &user,
                    &new.digest.as_slice(),
                    &note,
                    &expires_at,
                ],
            )
            .await?;
        if made == 0 {
            return Err(Error::NotFound("user"));
        }
        record(&tx, actor, "token.create", &new.id.to_string()).await?;
        tx.commit().await?;
        Ok(new)
    }

    /// The tokens of a user, or of all, oldest first; at most 1,000.
    pub async fn token_list(&self, user: Option<&str>) -> Result<Vec<Token>, Error> {
        let client = self.client().await?;
        let rows = client
            .named("tokens.list")
            .query(
                "SELECT t.id, u.name, t.note, t.created_at, t.expires_at, t.revoked_at
                 FROM tokens t JOIN users u ON u.id = t.user_id
                 WHERE $1::text IS NULL OR u.name = $1 ORDER BY t.created_at, t.id LIMIT 1000",
                &[&user],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Token {
                    id: TokenId::from_uuid(get(row, "id")?),
                    user: get(row, "name")?,
                    note: get(row, "note")?,
                    created_at: moment(row, "created_at")?,
                    expires_at: moment_opt(row, "expires_at")?,
                    revoked_at: moment_opt(row, "revoked_at")?,
                })
            })
            .collect()
    }

    /// Revokes a token; it is refused from the next call on. Revoking it again is fine.
    pub async fn token_revoke(&self, id: TokenId, actor: &Actor) -> Result<(), Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let found = tx
            .named("tokens.revoke")
            .execute(
                "UPDATE tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1",
                &[&id.uuid()],
            )
            .await?;
        if found == 0 {
            return Err(Error::NotFound("token"));
        }
        record(&tx, actor, "token.revoke", &id.to_string()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Disables a user: all of their tokens are refused from the next call on.
    pub async fn user_disable(&self, name: &str, actor: &Actor) -> Result<(), Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let found = tx
            .named("users.disable")
            .execute(
                "UPDATE users SET disabled_at = coalesce(disabled_at, now()) WHERE name = $1",
                &[&name],
            )
            .await?;
        if found == 0 {
            return Err(Error::NotFound("user"));
        }
        record(&tx, actor, "user.disable", name).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whose token this is. Unknown, wrong, revoked and expired tokens, and those
    /// of disabled users, are all refused alike.
    pub async fn authenticate(&self, token: &SecretString) -> Result<Caller, Error> {
        let presented = Presented::parse(Kind::User, token).ok_or(Error::Unauthenticated)?;
        let client = self.client().await?;
        let row = client
            .named("tokens.authenticate")
            .query_opt(
                &format!(
                    "SELECT t.secret_sha256, u.id, u.name FROM tokens t JOIN users u ON u.id = t.user_id
                     WHERE t.id = $1 AND {TOKEN_IS_GOOD}"
                ),
                &[&presented.id.uuid()],
            )
            .await?
            .ok_or(Error::Unauthenticated)?;
        if !presented.matches(get(&row, "secret_sha256")?) {
            return Err(Error::Unauthenticated);
        }
        Ok(Caller {
            user: UserId::from_uuid(get(&row, "id")?),
            name: get(&row, "name")?,
            token: presented.id,
            session: None,
        })
    }

    /// Whether a caller's token, and their session if they came with one, are still good: for
    /// streams that outlive a call.
    pub async fn still_good(&self, caller: &Caller) -> Result<bool, Error> {
        let client = self.client().await?;
        let row = client
            .named("tokens.still_good")
            .query_opt(
                &format!(
                    "SELECT FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.id = $1 AND {TOKEN_IS_GOOD}
                     AND ($2::uuid IS NULL OR EXISTS (
                         SELECT FROM page_sessions s WHERE s.id = $2 AND s.token = t.id AND {SESSION_IS_GOOD}))"
                ),
                &[
                    &caller.token.uuid(),
                    &caller.session.map(TokenId::uuid),
                ],
            )
            .await?;
        Ok(row.is_some())
    }

    /// The same for many callers at once, in their order.
    pub async fn all_still_good(&self, callers: &[Caller]) -> Result<Vec<bool>, Error> {
        let tokens: Vec<_> = callers.iter().map(|caller| caller.token.uuid()).collect();
        let sessions: Vec<_> = callers
            .iter()
            .map(|caller| caller.session.map(TokenId::uuid))
            .collect();
        let client = self.client().await?;
        let rows = client
            .named("tokens.all_still_good")
            .query(
                &format!(
                    "SELECT (t.id IS NOT NULL) AS good
                     FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (token, session, place)
                     LEFT JOIN (tokens t JOIN users u ON u.id = t.user_id)
                         ON t.id = asked.token AND {TOKEN_IS_GOOD}
                         AND (asked.session IS NULL OR EXISTS (
                             SELECT FROM page_sessions s
                             WHERE s.id = asked.session AND s.token = t.id AND {SESSION_IS_GOOD}))
                     ORDER BY asked.place"
                ),
                &[&tokens, &sessions],
            )
            .await?;
        rows.iter().map(|row| get(row, "good")).collect()
    }
}

/// The operating system gives no randomness: nothing of ours can go on.
pub(crate) fn no_randomness(error: getrandom::Error) -> Error {
    Error::Row {
        table: "tokens",
        reason: format!("no randomness for a secret: {error}"),
    }
}

/// One line of audit within the transaction of what it tells.
pub(crate) async fn record(
    tx: &forebay_postgres::Transaction<'_>,
    actor: &Actor,
    action: &str,
    object: &str,
) -> Result<(), Error> {
    tx.named("audit.ok")
        .execute(
            audit::INSERT,
            &[
                &actor.name,
                &action,
                &object,
                &audit::OK,
                &actor.request_id,
                &actor.peer,
            ],
        )
        .await?;
    Ok(())
}
