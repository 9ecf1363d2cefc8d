//! How sites become known: one-time tokens, keys, and the statements that keys sign.

use std::time::Duration;

use forebay_wire::{
    KeyId, Retry, SiteName, Timestamp,
    link::{
        ASSERTION_CONTEXT, ASSERTION_S, Assertion, CLOCK_SKEW_S, Enrolled, OpenSession, Statement,
    },
};
use ring::signature::{ED25519, UnparsedPublicKey};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{
    Store,
    audit::Actor,
    error::Error,
    secret::{Kind, NewToken, Presented},
    sql::{get, moment, moment_opt, parsed},
    users::{no_randomness, record},
};

/// How long an enrolment token is good, unless somebody says otherwise.
pub const ENROLMENT: Duration = Duration::from_secs(3_600);
/// How long it may be good at most.
pub const ENROLMENT_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A site whose key signed a statement, and which may open a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownSite {
    /// The site.
    pub name: SiteName,
    pub(crate) key: KeyId,
}

/// A key of a site, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteKey {
    /// Its name.
    pub id: KeyId,
    /// Whose it is.
    pub site: SiteName,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub revoked_at: Option<Timestamp>,
}

/// Why a statement is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    /// Nobody has enrolled this key, or it did not sign this.
    #[error("The key is not enrolled, or did not sign this statement. Enrol the site.")]
    Unknown,
    /// The key was revoked.
    #[error("The site's key was revoked. Enrol the site anew.")]
    Revoked,
    /// What was signed is no statement.
    #[error("What the key signed is not a statement of this version.")]
    Malformed,
    /// The key is another site's.
    #[error("The key belongs to another site than the one the statement names.")]
    OtherSite,
    /// It was made for another installation.
    #[error("The statement was made for installation {said}; this is {ours}.")]
    OtherAudience {
        /// For which one.
        said: Uuid,
        /// This one.
        ours: Uuid,
    },
    /// It is good for longer than allowed, or for no time.
    #[error("A statement is good for at most {ASSERTION_S} s.")]
    Lifetime,
    /// The two clocks are too far apart, or it is an old statement.
    #[error(
        "The clocks are {skew_s} s apart: the agent says {agent}, this side {ours}. A statement may be at most \
         {ASSERTION_S} s old and {CLOCK_SKEW_S} s ahead. Set the clocks, for example by NTP."
    )]
    Clock {
        /// The agent's time, as it signed.
        agent: Timestamp,
        /// The database's.
        ours: Timestamp,
        /// By how much the agent's is ahead; negative if it is behind.
        skew_s: i64,
    },
    /// It was used before.
    #[error("The statement was used before: each is good once.")]
    Replayed,
}

impl AssertionError {
    /// The answer to the caller.
    pub(crate) fn problem(&self) -> forebay_wire::Problem {
        let problem =
            forebay_wire::Problem::new(forebay_wire::Code::Unauthenticated, self.to_string());
        let Self::Clock {
            agent,
            ours,
            skew_s,
        } = self
        else {
            return problem;
        };
        let mut problem = problem
            .with_detail("agent_time", agent.to_string())
            .with_detail("central_time", ours.to_string())
            .with_detail("skew_s", skew_s.to_string());
        problem.retry = Retry::After;
        problem
    }
}

/// Whether a statement that a key of `site` signed is for us and of now.
pub fn check_statement(
    statement: &Statement,
    site: &SiteName,
    installation: Uuid,
    now: Timestamp,
) -> Result<(), AssertionError> {
    if statement.site != *site {
        return Err(AssertionError::OtherSite);
    }
    if statement.aud != installation {
        return Err(AssertionError::OtherAudience {
            said: statement.aud,
            ours: installation,
        });
    }
    let seconds = |s: u64| i64::try_from(s).unwrap_or(i64::MAX);
    let (issued, ends, ours) = (
        statement.issued_at.unix(),
        statement.expires_at.unix(),
        now.unix(),
    );
    if ends <= issued || ends - issued > seconds(ASSERTION_S) {
        return Err(AssertionError::Lifetime);
    }
    let skew_s = issued - ours;
    if ours >= ends || skew_s > seconds(CLOCK_SKEW_S) {
        return Err(AssertionError::Clock {
            agent: statement.issued_at,
            ours: now,
            skew_s,
        });
    }
    Ok(())
}

impl Store {
    /// Adds a site if it is new, and makes a one-time token for it, good for `lives`; the
    /// answer holds the only copy of its secret.
    pub async fn site_enrol(
        &self,
        site: &SiteName,
        lives: Duration,
        actor: &Actor,
    ) -> Result<NewToken, Error> {
        let new = NewToken::generate(Kind::Enrolment).map_err(no_randomness)?;
        let lives = lives.min(ENROLMENT_MAX).as_secs_f64();
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        tx.named("sites.add")
            .execute(
                "INSERT INTO sites (name) VALUES ($1) ON CONFLICT DO NOTHING",
                &[&site.as_str()],
            )
            .await?;
        tx.named("enrolment_tokens.create")
            .execute(
                "INSERT INTO enrolment_tokens (id, site, secret_sha256, expires_at)
                 VALUES ($1, $2, $3, now() + make_interval(secs => $4))",
                &[
                    &new.id.uuid(),
                    &site.as_str(),
                    &new.digest.as_slice(),
                    &lives,
                ],
            )
            .await?;
        record(&tx, actor, "site.enrol", site.as_str()).await?;
        tx.commit().await?;
        Ok(new)
    }

    /// Registers a key by a one-time token. The same token and key again get the same answer,
    /// because the first may have been lost; the token and another key are refused.
    pub async fn enrol(
        &self,
        token: &SecretString,
        public_key: &[u8; 32],
        actor: &Actor,
    ) -> Result<Enrolled, Error> {
        let presented = Presented::parse(Kind::Enrolment, token).ok_or(Error::Unauthenticated)?;
        let installation = self.installation().await?;
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let row = tx
            .named("enrolment_tokens.take")
            .query_opt(
                "SELECT site, secret_sha256, used_at, used_for, revoked_at IS NOT NULL OR expires_at <= now() AS over
                 FROM enrolment_tokens WHERE id = $1 FOR UPDATE",
                &[&presented.id.uuid()],
            )
            .await?
            .ok_or(Error::Unauthenticated)?;
        if !presented.matches(get(&row, "secret_sha256")?) {
            return Err(Error::Unauthenticated);
        }
        if get(&row, "over")? {
            return Err(Error::EnrolmentOver);
        }
        let site: SiteName = parsed("enrolment_tokens", &row, "site")?;
        if let Some(at) = moment_opt(&row, "used_at")? {
            let same = get::<Option<&[u8]>>(&row, "used_for")? == Some(public_key.as_slice());
            if !same {
                return Err(Error::EnrolmentUsed { at });
            }
        }
        let made = tx
            .named("site_keys.create")
            .query_opt(
                "INSERT INTO site_keys AS k (id, site, public_key) VALUES ($1, $2, $3)
                 ON CONFLICT (public_key) DO UPDATE SET site = k.site WHERE k.site = $2 AND k.revoked_at IS NULL
                 RETURNING id",
                &[
                    &KeyId::new().uuid(),
                    &site.as_str(),
                    &public_key.as_slice(),
                ],
            )
            .await?;
        let Some(made) = made else {
            return Err(Error::Conflict(
                "This key is another site's, or was revoked. Make a new one.".into(),
            ));
        };
        let key = KeyId::from_uuid(get(&made, "id")?);
        tx.named("enrolment_tokens.used")
            .execute(
                "UPDATE enrolment_tokens SET used_at = coalesce(used_at, now()), used_for = $2 WHERE id = $1",
                &[&presented.id.uuid(), &public_key.as_slice()],
            )
            .await?;
        record(&tx, actor, "site.enrolled", &key.to_string()).await?;
        tx.commit().await?;
        Ok(Enrolled {
            site,
            key,
            installation,
        })
    }

    /// For which site a one-time token was made. Whether it is still good, [`Self::enrol`] says.
    pub async fn enrolment_site(&self, token: &SecretString) -> Result<SiteName, Error> {
        let presented = Presented::parse(Kind::Enrolment, token).ok_or(Error::Unauthenticated)?;
        let client = self.client().await?;
        let row = client
            .named("enrolment_tokens.site")
            .query_opt(
                "SELECT site, secret_sha256 FROM enrolment_tokens WHERE id = $1",
                &[&presented.id.uuid()],
            )
            .await?
            .ok_or(Error::Unauthenticated)?;
        if !presented.matches(get(&row, "secret_sha256")?) {
            return Err(Error::Unauthenticated);
        }
        parsed("enrolment_tokens", &row, "site")
    }

    /// Revokes a site's keys, or one of them, and what tokens it has left. Links that they opened
    /// end, and nothing of theirs is accepted any more. Returns how many keys it were.
    pub async fn site_revoke(
        &self,
        site: &SiteName,
        key: Option<KeyId>,
        actor: &Actor,
    ) -> Result<u64, Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let only = key.map(KeyId::uuid);
        let revoked = tx
            .named("site_keys.revoke")
            .execute(
                "UPDATE site_keys SET revoked_at = now()
                 WHERE site = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR id = $2)",
                &[&site.as_str(), &only],
            )
            .await?;
        let mut tokens = 0;
        if key.is_none() {
            tokens = tx
                .named("enrolment_tokens.revoke")
                .execute(
                    "UPDATE enrolment_tokens SET revoked_at = now()
                     WHERE site = $1 AND revoked_at IS NULL AND used_at IS NULL AND expires_at > now()",
                    &[&site.as_str()],
                )
                .await?;
        }
        if revoked == 0 && tokens == 0 {
            return Err(Error::NotFound("key of this site that is still good"));
        }
        let object = key.map_or_else(|| site.to_string(), |key| format!("{site} {key}"));
        record(&tx, actor, "site.revoke", &object).await?;
        tx.commit().await?;
        Ok(revoked)
    }

    /// The keys of all sites, by site and age.
    pub async fn site_keys(&self) -> Result<Vec<SiteKey>, Error> {
        let client = self.client().await?;
        let rows = client
            .named("site_keys.list")
            .query(
                "SELECT id, site, created_at, revoked_at FROM site_keys ORDER BY site, id",
                &[],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(SiteKey {
                    id: KeyId::from_uuid(get(row, "id")?),
                    site: parsed("site_keys", row, "site")?,
                    created_at: moment(row, "created_at")?,
                    revoked_at: moment_opt(row, "revoked_at")?,
                })
            })
            .collect()
    }

    /// Who signed this, and what they say of themselves. The statement is used up by this.
    pub async fn authenticate_site(
        &self,
        assertion: &Assertion,
    ) -> Result<(KnownSite, OpenSession), Error> {
        let unknown = || Error::Assertion(AssertionError::Unknown);
        let installation = self.installation().await?;
        let client = self.client().await?;
        let row = client
            .named("site_keys.authenticate")
            .query_opt(
                "SELECT site, public_key, revoked_at IS NOT NULL AS revoked, clock_timestamp() AS now
                 FROM site_keys WHERE id = $1",
                &[&assertion.key.uuid()],
            )
            .await?
            .ok_or_else(unknown)?;
        let signature = forebay_wire::hex::decode(&assertion.signature).ok_or_else(unknown)?;
        let signed = [ASSERTION_CONTEXT, &assertion.statement].concat();
        UnparsedPublicKey::new(&ED25519, get::<&[u8]>(&row, "public_key")?)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| unknown())?;
        // From here on it is the key's holder who is told what is wrong.
        if get(&row, "revoked")? {
            return Err(Error::Assertion(AssertionError::Revoked));
        }
        let statement: Statement = serde_json::from_str(&assertion.statement)
            .map_err(|_| Error::Assertion(AssertionError::Malformed))?;
        let site = parsed("site_keys", &row, "site")?;
        check_statement(&statement, &site, installation, moment(&row, "now")?)
            .map_err(Error::Assertion)?;
        let taken = client
            .named("link_statements.take")
            .execute(
                "INSERT INTO link_statements (key, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                &[
                    &assertion.key.uuid(),
                    &statement.jti,
                    &statement.expires_at.get(),
                ],
            )
            .await?;
        if taken == 0 {
            return Err(Error::Assertion(AssertionError::Replayed));
        }
        let known = KnownSite {
            name: site,
            key: assertion.key,
        };
        Ok((known, statement.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds).expect("a time")
    }

    fn statement(issued: i64, lives: i64) -> Statement {
        Statement {
            site: "here".parse().expect("a name"),
            aud: Uuid::from_u128(1),
            issued_at: at(issued),
            expires_at: at(issued + lives),
            jti: Uuid::from_u128(2),
            open: OpenSession {
                version_min: 1,
                version_max: 1,
                agent_version: String::new(),
                installation: None,
                clusters: vec![],
                process: None,
                again: false,
            },
        }
    }

    fn check(statement: &Statement) -> Result<(), AssertionError> {
        check_statement(
            statement,
            &"here".parse().expect("a name"),
            Uuid::from_u128(1),
            at(0),
        )
    }

    #[test]
    fn statements_are_for_us_and_of_now() {
        for good in [(0, 60), (-59, 60), (30, 60), (-1, 2)] {
            assert_eq!(check(&statement(good.0, good.1)), Ok(()), "{good:?}");
        }
        for (issued, lives) in [(-60, 60), (31, 60), (-3_600, 60), (3_600, 60), (-1, 1)] {
            let refused = check(&statement(issued, lives)).expect_err("another time");
            assert!(
                matches!(refused, AssertionError::Clock { skew_s, .. } if skew_s == issued),
                "{refused:?}"
            );
        }
        for lives in [0, -5, 61, i64::from(u32::MAX)] {
            assert_eq!(check(&statement(0, lives)), Err(AssertionError::Lifetime));
        }
        let other = Statement {
            site: "there".parse().expect("a name"),
            ..statement(0, 60)
        };
        assert_eq!(check(&other), Err(AssertionError::OtherSite));
        let other = Statement {
            aud: Uuid::from_u128(3),
            ..statement(0, 60)
        };
        assert!(matches!(
            check(&other),
            Err(AssertionError::OtherAudience { .. })
        ));
    }

    #[test]
    fn a_skew_is_told_with_both_times_and_its_size() {
        let problem = check(&statement(3_600, 60))
            .expect_err("an hour ahead")
            .problem();
        for part in [&at(0).to_string(), &at(3_600).to_string(), "3600 s apart"] {
            assert!(problem.message.contains(part), "{problem:?}");
        }
        assert_eq!(problem.details[2].message, "3600");
        assert_eq!(problem.retry, Retry::After);
    }
}
