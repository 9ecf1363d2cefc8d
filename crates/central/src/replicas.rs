//! The view-servers that run, and how one knows another.

use std::time::Duration;

use forebay_wire::{Pin, SiteName};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{
    Store,
    error::Error,
    secret::{Kind, NewToken, Presented},
    sql::get,
    users::no_randomness,
};

/// Who was not heard for so long does not count any more, seconds.
const SILENT_S: f64 = 20.0;
/// How long a replica's token is good.
pub const REPLICA_TOKEN: Duration = Duration::from_secs(600);

/// Where a view-server can be reached by the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its own id, another one each time it starts.
    pub id: Uuid,
    /// Its address.
    pub url: String,
    /// Its certificate's key, if it has one.
    pub pin: Option<Pin>,
}

impl Store {
    /// Says that a view-server runs, and whose tunnels end there.
    pub async fn replica_heard(&self, me: &Replica, sites: &[SiteName]) -> Result<(), Error> {
        let client = self.client().await?;
        let sites: Vec<_> = sites.iter().map(SiteName::as_str).collect();
        client
            .named("replicas.heard")
            .execute(
                "INSERT INTO replicas (id, url, pin, sites) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (id) DO UPDATE SET url = $2, pin = $3, sites = $4, seen_at = now()",
                &[&me.id, &me.url, &me.pin.map(|pin| pin.to_string()), &sites],
            )
            .await?;
        Ok(())
    }

    /// Says that a view-server ends.
    pub async fn replica_gone(&self, id: Uuid) -> Result<(), Error> {
        let client = self.client().await?;
        client
            .named("replicas.gone")
            .execute("DELETE FROM replicas WHERE id = $1", &[&id])
            .await?;
        Ok(())
    }

    /// Another view-server than `me` where this site's tunnel ends.
    pub async fn replica_of(&self, site: &SiteName, me: Uuid) -> Result<Option<Replica>, Error> {
        let client = self.client().await?;
        let row = client
            .named("replicas.of_site")
            .query_opt(
                "SELECT id, url, pin FROM replicas
                 WHERE seen_at > now() - make_interval(secs => $3) AND id <> $2 AND $1 = ANY (sites)
                 ORDER BY seen_at DESC LIMIT 1",
                &[&site.as_str(), &me, &SILENT_S],
            )
            .await?;
        row.map(|row| {
            let pin: Option<&str> = get(&row, "pin")?;
            let pin = pin.map(str::parse).transpose();
            Ok(Replica {
                id: get(&row, "id")?,
                url: get(&row, "url")?,
                pin: pin.map_err(|error: forebay_wire::PinError| Error::Row {
                    table: "replicas",
                    reason: error.to_string(),
                })?,
            })
        })
        .transpose()
    }

    /// A token by which this view-server calls the others, good for [`REPLICA_TOKEN`].
    pub async fn replica_token(&self) -> Result<SecretString, Error> {
        let new = NewToken::generate(Kind::Replica).map_err(no_randomness)?;
        let client = self.client().await?;
        client
            .named("replica_tokens.create")
            .execute(
                "INSERT INTO replica_tokens (id, secret_sha256, expires_at)
                 VALUES ($1, $2, now() + make_interval(secs => $3))",
                &[
                    &new.id.uuid(),
                    &new.digest.as_slice(),
                    &REPLICA_TOKEN.as_secs_f64(),
                ],
            )
            .await?;
        Ok(new.token)
    }

    /// Refuses whoever is no view-server of this installation.
    pub async fn authenticate_replica(&self, token: &SecretString) -> Result<(), Error> {
        let presented = Presented::parse(Kind::Replica, token).ok_or(Error::Unauthenticated)?;
        let client = self.client().await?;
        let row = client
            .named("replica_tokens.authenticate")
            .query_opt(
                "SELECT secret_sha256 FROM replica_tokens WHERE id = $1 AND expires_at > now()",
                &[&presented.id.uuid()],
            )
            .await?
            .ok_or(Error::Unauthenticated)?;
        if presented.matches(get(&row, "secret_sha256")?) {
            Ok(())
        } else {
            Err(Error::Unauthenticated)
        }
    }
}
