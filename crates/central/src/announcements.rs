//! What the operators have to say to everybody who has signed in.

use forebay_postgres::{Transaction, feed};
use forebay_wire::{
    AnnouncementId, Timestamp,
    feed::{Announcement, Item, Level, Object},
};
use tokio_postgres::Row;

use crate::{
    Store,
    audit::Actor,
    error::Error,
    jobs::raw,
    sql::{get, moment, moment_opt, parsed, time_of},
    users::record,
};

/// Characters of an announcement.
pub const ANNOUNCEMENT_CHARS_MAX: usize = 2_000;
/// How many can be in force at once: all of them are in each snapshot.
pub const ANNOUNCEMENTS_MAX: i64 = 50;

pub(crate) const TOPIC: &str = "announcements";
pub(crate) const COLUMNS: &str = "id, rev, created_at, level, body, until";
/// Those in force.
pub(crate) const IN_FORCE: &str = "withdrawn_at IS NULL AND (until IS NULL OR until > now())";

impl Store {
    /// Makes an announcement, in force at once.
    pub async fn announce(
        &self,
        text: &str,
        level: Level,
        until: Option<Timestamp>,
        actor: &Actor,
    ) -> Result<AnnouncementId, Error> {
        let text = text.trim();
        let chars = text.chars().count();
        let odd = |c: char| c.is_control() && c != '\n';
        if !(1..=ANNOUNCEMENT_CHARS_MAX).contains(&chars) || text.contains(odd) {
            return Err(Error::Conflict(format!(
                "An announcement is plain text of 1 to {ANNOUNCEMENT_CHARS_MAX} characters."
            )));
        }
        let id = AnnouncementId::new();
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let made = tx
            .named("announcements.add")
            .execute(
                &format!(
                    "INSERT INTO announcements (id, level, body, until) SELECT $1, $2, $3, $4
                     WHERE (SELECT count(*) FROM announcements WHERE {IN_FORCE}) < $5"
                ),
                &[
                    &id.uuid(),
                    &level.as_str(),
                    &text,
                    &time_of(until),
                    &ANNOUNCEMENTS_MAX,
                ],
            )
            .await?;
        if made == 0 {
            return Err(Error::Conflict(format!(
                "{ANNOUNCEMENTS_MAX} announcements are in force. Withdraw some first."
            )));
        }
        tell(&tx, id, 1).await?;
        record(&tx, actor, "announcement.add", &id.to_string()).await?;
        tx.commit().await?;
        self.ring();
        Ok(id)
    }

    /// Those in force, the newest first.
    pub async fn announcements(&self) -> Result<Vec<Announcement>, Error> {
        let client = self.client().await?;
        let rows = client
            .named("announcements.list")
            .query(&list_sql(), &[])
            .await?;
        rows.iter().map(announcement).collect()
    }

    /// Takes an announcement back. Doing so again is fine.
    pub async fn announcement_withdraw(
        &self,
        id: AnnouncementId,
        actor: &Actor,
    ) -> Result<(), Error> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let row = tx
            .named("announcements.withdraw")
            .query_opt(
                "UPDATE announcements SET rev = rev + 1, withdrawn_at = coalesce(withdrawn_at, now())
                 WHERE id = $1 RETURNING rev",
                &[&id.uuid()],
            )
            .await?
            .ok_or(Error::NotFound("announcement"))?;
        tell(&tx, id, get(&row, "rev")?).await?;
        record(&tx, actor, "announcement.withdraw", &id.to_string()).await?;
        tx.commit().await?;
        self.ring();
        Ok(())
    }
}

async fn tell(tx: &Transaction<'_>, id: AnnouncementId, rev: i64) -> Result<(), Error> {
    let row = feed::Row {
        topic: TOPIC.into(),
        kind: "announcement".into(),
        key: id.to_string(),
        rev,
        body: raw(&serde_json::json!({}))?,
    };
    Ok(feed::append(tx, &[row]).await?)
}

pub(crate) fn list_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM announcements WHERE {IN_FORCE} ORDER BY created_at DESC, id DESC LIMIT {ANNOUNCEMENTS_MAX}"
    )
}

pub(crate) fn announcement(row: &Row) -> Result<Announcement, Error> {
    Ok(Announcement {
        id: AnnouncementId::from_uuid(get(row, "id")?),
        rev: get(row, "rev")?,
        created_at: moment(row, "created_at")?,
        level: parsed("announcements", row, "level")?,
        text: get(row, "body")?,
        until: moment_opt(row, "until")?,
    })
}

pub(crate) fn item(announcement: Announcement) -> Item {
    Item {
        key: announcement.id.to_string(),
        rev: announcement.rev,
        object: Object::Announcement(Some(Box::new(announcement))),
    }
}
