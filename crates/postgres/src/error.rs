//! What can go wrong with the database, classified by what the caller can do about it.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use tokio_postgres::error::SqlState;

/// An error of the database. The variant says what is known about the outcome:
///
/// * [`Unavailable`](Error::Unavailable), [`Busy`](Error::Busy), [`Invalid`](Error::Invalid): nothing was sent.
/// * [`Timeout`](Error::Timeout), [`Query`](Error::Query), [`Aborted`](Error::Aborted): the server answered, and
///   nothing of the statement (or transaction) was kept.
/// * [`Lost`](Error::Lost): no answer came; see [`Error::outcome_unknown`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used: a bad URL, or a setting that is not supported.
    #[error("the database configuration cannot be used: {reason}")]
    Config {
        /// What is wrong and what to write instead. Never holds the password.
        reason: String,
    },
    /// No connection could be made. Nothing was sent.
    #[error("the database cannot be reached")]
    Unavailable {
        /// Why, when the attempt got as far as an error; `None` when it ran into its time limit.
        #[source]
        source: Option<tokio_postgres::Error>,
    },
    /// Every connection of the pool stayed in use for the whole wait. Nothing was sent.
    #[error("no database connection became free within {waited:?}")]
    Busy {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The server stopped the statement at its time limit. Nothing of it was kept.
    #[error("query {query} was stopped at its time limit")]
    Timeout {
        /// The query's name.
        query: &'static str,
        /// The server's words.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The connection ended, or gave no sign of life, while the query ran.
    #[error("the database connection was lost during query {query}")]
    Lost {
        /// The query's name; `commit` for the end of a transaction.
        query: &'static str,
        /// Whether the change may have been kept all the same: true for a commit and for a statement outside a
        /// transaction, false inside one, which the server then rolls back.
        outcome_unknown: bool,
        /// The connection's error; `None` when the client stopped waiting.
        #[source]
        source: Option<tokio_postgres::Error>,
    },
    /// The server refused the statement, or a value could not be converted.
    #[error("query {query} failed")]
    Query {
        /// The query's name.
        query: &'static str,
        /// The server's words.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The query gave another number of rows than one (or none, where that was allowed).
    #[error("query {query} gave {found} rows")]
    RowCount {
        /// The query's name.
        query: &'static str,
        /// How many.
        found: usize,
    },
    /// A commit was asked for although a statement of the transaction had failed, so it was rolled back.
    #[error("the transaction was rolled back because query {query} had failed in it")]
    Aborted {
        /// The query that failed.
        query: &'static str,
    },
    /// A value was refused before anything was sent.
    #[error("{what} was refused: {reason}")]
    Invalid {
        /// The value's name.
        what: &'static str,
        /// The limit that it breaks.
        reason: String,
    },
}

impl Error {
    /// For `map_err` where a row is taken apart: `row.try_get("id").map_err(Error::in_query("jobs.get"))`.
    pub fn in_query(query: &'static str) -> impl Fn(tokio_postgres::Error) -> Error {
        move |source| Error::classify(query, false, source)
    }

    /// Sorts an error of the driver. `keeps` says that losing the answer leaves the outcome unknown.
    pub(crate) fn classify(
        query: &'static str,
        keeps: bool,
        source: tokio_postgres::Error,
    ) -> Error {
        if source.code() == Some(&SqlState::QUERY_CANCELED) {
            return Error::Timeout { query, source };
        }
        if is_connection_error(&source) {
            return Error::Lost {
                query,
                outcome_unknown: keeps,
                source: Some(source),
            };
        }
        Error::Query { query, source }
    }

    /// The database is away or overloaded: answer "unavailable, try later" rather than "your request is bad".
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Error::Unavailable { .. }
                | Error::Busy { .. }
                | Error::Lost { .. }
                | Error::Timeout { .. }
        ) || self.sqlstate() == Some(&SqlState::TOO_MANY_CONNECTIONS)
    }

    /// The same work, begun again from the start of its transaction, may succeed, and this attempt certainly kept
    /// nothing. False where the outcome is unknown: look first.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Unavailable { .. } | Error::Busy { .. } => true,
            Error::Lost {
                outcome_unknown, ..
            } => !outcome_unknown,
            Error::Query { source, .. } => self.is_serialization() || is_stale_statement(source),
            _ => false,
        }
    }

    /// Whether the change may have been kept although this error came back.
    pub fn outcome_unknown(&self) -> bool {
        matches!(
            self,
            Error::Lost {
                outcome_unknown: true,
                ..
            }
        )
    }

    /// Two transactions stood in each other's way (serialization failure or deadlock) and this one gave way.
    pub fn is_serialization(&self) -> bool {
        matches!(
            self.sqlstate(),
            Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED)
        )
    }

    /// The name of the constraint that was violated, if one was.
    pub fn constraint(&self) -> Option<&str> {
        self.driver()
            .and_then(tokio_postgres::Error::as_db_error)?
            .constraint()
    }

    /// A unique constraint or primary key already holds this value; [`constraint`](Error::constraint) names it.
    pub fn is_unique_violation(&self) -> bool {
        self.sqlstate() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    /// A row that is referred to does not exist; [`constraint`](Error::constraint) names the reference.
    pub fn is_foreign_key_violation(&self) -> bool {
        self.sqlstate() == Some(&SqlState::FOREIGN_KEY_VIOLATION)
    }

    /// The server's five-character code, if the server answered.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        self.driver()?.code()
    }

    fn driver(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Error::Query { source, .. } | Error::Timeout { source, .. } => Some(source),
            Error::Unavailable { source } | Error::Lost { source, .. } => source.as_ref(),
            _ => None,
        }
    }
}

/// The connection is gone, or the server is on its way down or up.
pub(crate) fn is_connection_error(error: &tokio_postgres::Error) -> bool {
    if let Some(code) = error.code() {
        return code.code().starts_with("08")
            || [
                SqlState::ADMIN_SHUTDOWN,
                SqlState::CRASH_SHUTDOWN,
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ]
            .contains(code);
    }
    error.is_closed() || io_source(error).is_some()
}

/// Worth another attempt to connect within the caller's wait: the server is away, coming up, or full.
pub(crate) fn is_worth_reconnecting(error: &tokio_postgres::Error) -> bool {
    if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) || is_connection_error(error) {
        return io_source(error).is_none_or(|io| io.kind() != io::ErrorKind::PermissionDenied);
    }
    // The driver has no question for "the connect timeout passed", and it carries neither code nor source.
    error.as_db_error().is_none() && error.source().is_none()
}

/// A cached statement no longer fits because the schema changed under it.
pub(crate) fn is_stale_statement(error: &tokio_postgres::Error) -> bool {
    let Some(db) = error.as_db_error() else {
        return false;
    };
    *db.code() == SqlState::INVALID_SQL_STATEMENT_NAME
        || (*db.code() == SqlState::FEATURE_NOT_SUPPORTED
            && db.routine() == Some("RevalidateCachedQuery"))
}

fn io_source(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref::<io::Error>()
}
