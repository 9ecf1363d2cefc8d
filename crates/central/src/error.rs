//! What can go wrong in the store, and what the caller is told of it.

use forebay_wire::{Code, Problem};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed or is away.
    #[error("the central database failed")]
    Database(#[source] forebay_postgres::Error),
    /// The feed could not be read.
    #[error("the feed could not be read")]
    Feed(#[source] forebay_postgres::feed::ReadError),
    /// A row holds what this program cannot read.
    #[error("a row of {table} cannot be read: {reason}")]
    Row {
        /// Which table.
        table: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody with these credentials, or not any more.
    #[error("the credentials are not good")]
    Unauthenticated,
    /// A site's statement is not believed.
    #[error("a site's statement was refused")]
    Assertion(#[source] crate::AssertionError),
    /// An enrolment token that has ended, or was revoked.
    #[error("the enrolment token is over")]
    EnrolmentOver,
    /// An enrolment token that was used for another key.
    #[error("the enrolment token was used at {at}")]
    EnrolmentUsed {
        /// When.
        at: forebay_wire::Timestamp,
    },
    /// No such thing, or not the caller's.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The thing's state does not allow it; the sentence is for people.
    #[error("{0}")]
    Conflict(String),
    /// The key came before with another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    /// Another link has taken over the site.
    #[error("the link has been superseded by epoch {epoch}")]
    Superseded {
        /// The site's present epoch.
        epoch: i64,
    },
    /// The reports begin behind what is due.
    #[error("reports up to {acked_seq} are known, and these begin later than the next")]
    Gap {
        /// The newest report that was applied.
        acked_seq: i64,
    },
    /// The job's cluster does not exist; these do.
    #[error("no such cluster")]
    UnknownCluster {
        /// The clusters that exist, by name.
        known: Vec<String>,
    },
    /// The cursor is not one that this list gave out.
    #[error("the cursor does not belong to this list")]
    Cursor,
}

impl From<forebay_postgres::Error> for Error {
    fn from(error: forebay_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<forebay_postgres::feed::ReadError> for Error {
    fn from(error: forebay_postgres::feed::ReadError) -> Self {
        match error {
            forebay_postgres::feed::ReadError::Database(error) => Self::Database(error),
            other => Self::Feed(other),
        }
    }
}

impl Error {
    /// The answer to the caller. What only concerns us is in the error's chain, for the log.
    pub fn problem(&self) -> Problem {
        match self {
            Self::Database(error) if error.is_unavailable() => {
                let message = if error.outcome_unknown() {
                    "The database went away during the call, whose outcome is unknown. Look before you repeat it."
                } else {
                    "The database does not answer at present. Try again in a moment."
                };
                Problem::new(Code::Unavailable, message)
            }
            Self::Database(_) | Self::Feed(_) | Self::Row { .. } => Problem::new(
                Code::Internal,
                "Something failed on our side; the log has it under this request id.",
            ),
            Self::Unauthenticated => Problem::new(
                Code::Unauthenticated,
                "The token is unknown, expired or revoked. Send `Authorization: Bearer <token>`.",
            ),
            Self::Assertion(error) => error.problem(),
            Self::EnrolmentOver => Problem::new(
                Code::Unauthenticated,
                "This enrolment token is too old, or was revoked. Make another one with `forebay-view-server site enrol NAME`.",
            ),
            Self::EnrolmentUsed { at } => Problem::new(
                Code::Unauthenticated,
                format!(
                    "This enrolment token was used at {at}, and is good once. If that was not you, run \
                     `forebay-view-server site revoke NAME`; make another one with `forebay-view-server site enrol NAME`."
                ),
            ),
            Self::NotFound(what) => Problem::not_found(what),
            Self::Conflict(message) => Problem::new(Code::Conflict, message),
            Self::IdempotencyMismatch => Problem::new(
                Code::IdempotencyMismatch,
                "This Idempotency-Key came with another request within 24 hours. Use a new key.",
            ),
            Self::Superseded { epoch } => Problem::new(
                Code::Superseded,
                format!("A newer link of this site is open, number {epoch}."),
            ),
            Self::Gap { acked_seq } => Problem::new(
                Code::Conflict,
                format!(
                    "Reports up to {acked_seq} are known: report from {}.",
                    acked_seq + 1
                ),
            )
            .with_detail("from_seq", format!("expected at most {}", acked_seq + 1)),
            Self::UnknownCluster { known } => {
                let message = match known.as_slice() {
                    [] => "There is no such cluster; no cluster is known yet.".to_owned(),
                    known => format!("There is no such cluster. Known are: {}.", known.join(", ")),
                };
                Problem::invalid("spec.cluster", message)
            }
            Self::Cursor => Problem::new(
                Code::Malformed,
                "The cursor belongs to another list, sort or filter. Begin again without it.",
            )
            .with_detail("cursor", "not a cursor of this list"),
        }
    }
}
