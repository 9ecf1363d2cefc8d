//! Sites, and the links by which their agents speak.

use forebay_wire::{
    ClusterName, SiteName, Timestamp, TokenId,
    link::{OpenSession, Session, VERSION, VERSION_MIN},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    KnownSite, Store,
    audit::Actor,
    error::Error,
    secret::{Kind, NewToken, Presented},
    sql::{get, moment_opt, parsed, plain},
    users::{no_randomness, record},
};

/// How long a link's token lives, seconds.
pub const LINK_TOKEN_S: u64 = 600;
/// The most clusters that one site may have.
pub const CLUSTERS_MAX: usize = 100;

/// An open link: whose calls these are. The site is the token's, never the body's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The site.
    pub site: SiteName,
    /// The link's number.
    pub epoch: i64,
    /// When its token ends.
    pub expires_at: Timestamp,
    /// The token's public part.
    pub session: TokenId,
}

/// A site as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: SiteName,
    /// The number of its newest link.
    pub epoch: i64,
    /// Its agent's version.
    pub agent_version: Option<String>,
    /// When its agent was last heard.
    pub seen_at: Option<Timestamp>,
}

impl Store {
    /// All sites by name.
    pub async fn sites(&self) -> Result<Vec<Site>, Error> {
        let client = self.client().await?;
        let rows = client
            .named("sites.list")
            .query(
                "SELECT name, epoch, agent_version, seen_at FROM sites ORDER BY name",
                &[],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Site {
                    name: parsed("sites", row, "name")?,
                    epoch: get(row, "epoch")?,
                    agent_version: get(row, "agent_version")?,
                    seen_at: moment_opt(row, "seen_at")?,
                })
            })
            .collect()
    }

    /// Whose link this token belongs to. Revoking the key that opened it ends it,
    /// too. A superseded link is refused by what it calls, not here.
    pub async fn authenticate_link(&self, token: &SecretString) -> Result<Link, Error> {
        let presented = Presented::parse(Kind::Link, token).ok_or(Error::Unauthenticated)?;
        let client = self.client().await?;
        let row = client
            .named("link_sessions.authenticate")
            .query_opt(
                "SELECT l.site, l.epoch, l.secret_sha256, l.expires_at
                 FROM link_sessions l JOIN site_keys k ON k.id = l.site_key
                 WHERE l.id = $1 AND l.expires_at > now() AND k.revoked_at IS NULL",
                &[&presented.id.uuid()],
            )
            .await?
            .ok_or(Error::Unauthenticated)?;
        if !presented.matches(get(&row, "secret_sha256")?) {
            return Err(Error::Unauthenticated);
        }
        Ok(Link {
            site: parsed("link_sessions", &row, "site")?,
            epoch: get(&row, "epoch")?,
            expires_at: crate::sql::moment(&row, "expires_at")?,
            session: presented.id,
        })
    }

    /// Opens a link: all earlier ones of the site are superseded. The caller has
    /// checked that the versions overlap.
    pub async fn link_open(
        &self,
        site: &KnownSite,
        open: &OpenSession,
        actor: &Actor,
    ) -> Result<Session, Error> {
        let new = NewToken::generate(Kind::Link).map_err(no_randomness)?;
        let name = site.name.as_str();
        if open.clusters.len() > CLUSTERS_MAX {
            return Err(Error::Conflict(format!(
                "A site has at most {CLUSTERS_MAX} clusters."
            )));
        }
        let installation = self.installation().await?;
        if open
            .installation
            .is_some_and(|pinned| pinned != installation)
        {
            return Err(Error::Conflict(format!(
                "This site belongs to another installation than this one, {installation}."
            )));
        }
        // Before the transaction: what happens from here on is in the feed.
        let desired_after = self.feed.now().await?;
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let mut version = open.agent_version.clone();
        plain(&mut version, 100);
        let row = tx
            .named("sites.open")
            .query_opt(
                "UPDATE sites SET epoch = epoch + 1, agent_version = $2, process = $3, seen_at = now()
                 WHERE name = $1 AND (NOT $4 OR process IS NOT DISTINCT FROM $3)
                 RETURNING epoch, acked_seq",
                &[&name, &version, &open.process, &open.again],
            )
            .await?;
        let Some(row) = row else {
            // Another process of this site has opened a link since: it stays that one's.
            let row = tx
                .named("sites.epoch_of")
                .query_one("SELECT epoch FROM sites WHERE name = $1", &[&name])
                .await?;
            return Err(Error::Superseded {
                epoch: get(&row, "epoch")?,
            });
        };
        let epoch: i64 = get(&row, "epoch")?;
        let acked_seq = get(&row, "acked_seq")?;
        let clusters: Vec<_> = open
            .clusters
            .iter()
            .map(|cluster| cluster.name.clone())
            .collect();
        self.declare(&tx, &site.name, open).await?;
        tx.named("clusters.withdraw")
            .execute(
                "UPDATE clusters SET withdrawn_at = now(), rev = rev + 1
                 WHERE site = $1 AND withdrawn_at IS NULL AND name <> ALL($2)",
                &[
                    &name,
                    &clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>(),
                ],
            )
            .await?;
        tx.named("link_sessions.create")
            .execute(
                "INSERT INTO link_sessions (id, site, site_key, epoch, secret_sha256, expires_at)
                 VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))",
                #[expect(clippy::cast_precision_loss, reason = "600 fits")]
                &[
                    &new.id.uuid(),
                    &name,
                    &site.key.uuid(),
                    &epoch,
                    &new.digest.as_slice(),
                    &(LINK_TOKEN_S as f64),
                ],
            )
            .await?;
        record(&tx, actor, "link.open", &format!("{name}#{epoch}")).await?;
        tx.commit().await?;
        self.ring();
        Ok(Session {
            token: new.token.expose_secret().to_owned(),
            expires_in_s: LINK_TOKEN_S,
            epoch,
            version: VERSION.min(open.version_max),
            installation,
            site: site.name.clone(),
            acked_seq,
            desired_after: desired_after.to_string(),
        })
    }

    /// Takes the clusters that a site declares, unless another site has them.
    async fn declare(
        &self,
        tx: &forebay_postgres::Transaction<'_>,
        site: &SiteName,
        open: &OpenSession,
    ) -> Result<(), Error> {
        for cluster in &open.clusters {
            let mut integration = cluster.integration.clone();
            plain(&mut integration, 100);
            let row = tx
                .named("clusters.declare")
                .query_opt(
                    "INSERT INTO clusters AS c (name, site, integration, status) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (name) DO UPDATE SET integration = excluded.integration, withdrawn_at = NULL,
                         rev = c.rev + (c.withdrawn_at IS NOT NULL OR c.integration <> excluded.integration)::int
                     WHERE c.site = $2
                     RETURNING name",
                    &[
                        &cluster.name.as_str(), &site.as_str(), &integration,
                        &serde_json::json!({
                            "freshness": "stale",
                            "message": "Its site has not told about it yet.",
                            "partitions": [],
                        }),
                    ],
                )
                .await?;
            if row.is_none() {
                return Err(Error::Conflict(format!(
                    "The cluster name `{}` belongs to another site.",
                    cluster.name
                )));
            }
        }
        Ok(())
    }

    /// Refuses a link that is not its site's newest; notes that the site was heard.
    pub async fn link_heard(&self, link: &Link) -> Result<(), Error> {
        let client = self.client().await?;
        let row = client
            .named("sites.heard")
            .query_opt(
                "UPDATE sites s SET seen_at = now() FROM link_sessions l JOIN site_keys k ON k.id = l.site_key
                 WHERE s.name = $1 AND s.epoch = $2 AND l.id = $3 AND l.site = s.name
                   AND l.expires_at > now() AND k.revoked_at IS NULL
                 RETURNING s.epoch",
                &[&link.site.as_str(), &link.epoch, &link.session.uuid()],
            )
            .await?;
        if row.is_some() {
            return Ok(());
        }
        drop(client);
        self.link_current(link).await
    }

    /// Whether the key that a link was opened with has been revoked since.
    pub async fn link_revoked(&self, link: &Link) -> Result<bool, Error> {
        let client = self.client().await?;
        let row = client
            .named("site_keys.revoked")
            .query_opt(
                "SELECT FROM link_sessions l JOIN site_keys k ON k.id = l.site_key
                 WHERE l.id = $1 AND k.revoked_at IS NULL",
                &[&link.session.uuid()],
            )
            .await?;
        Ok(row.is_none())
    }

    /// Refuses a link that is not its site's newest, or whose key was revoked or whose token has ended.
    pub async fn link_current(&self, link: &Link) -> Result<(), Error> {
        let client = self.client().await?;
        let row = client
            .named("sites.epoch")
            .query_opt(
                "SELECT s.epoch FROM sites s JOIN link_sessions l ON l.site = s.name
                 JOIN site_keys k ON k.id = l.site_key
                 WHERE s.name = $1 AND l.id = $2 AND l.expires_at > now() AND k.revoked_at IS NULL",
                &[&link.site.as_str(), &link.session.uuid()],
            )
            .await?
            .ok_or(Error::Unauthenticated)?;
        check_epoch(link, get(&row, "epoch")?)
    }
}

/// `superseded` unless the link is the site's newest.
pub(crate) fn check_epoch(link: &Link, epoch: i64) -> Result<(), Error> {
    if link.epoch == epoch {
        Ok(())
    } else {
        Err(Error::Superseded { epoch })
    }
}

/// Whether an agent that speaks these versions and this program understand each other.
pub fn versions_overlap(open: &OpenSession) -> bool {
    open.version_min <= VERSION
        && open.version_max >= VERSION_MIN
        && open.version_min <= open.version_max
}
