//! What every refused or failed call answers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, for programs. The HTTP status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Code {
    /// 400: not JSON, not HTTP, an unknown or missing field, a wrong type.
    Malformed,
    /// 401: no credentials, or none that we know.
    Unauthenticated,
    /// 403: known, but not allowed.
    Forbidden,
    /// 404: no such thing, or somebody else's.
    NotFound,
    /// 405: the thing exists, the method does not.
    MethodNotAllowed,
    /// 409: the thing's state does not allow it.
    Conflict,
    /// 409: the same `Idempotency-Key` came with another request.
    IdempotencyMismatch,
    /// 409: another agent has taken over the site.
    Superseded,
    /// 413: the body is over the limit.
    TooLarge,
    /// 416: the range lies outside the log.
    RangeNotSatisfiable,
    /// 422: well formed, but a value is not allowed.
    Invalid,
    /// 426: the two sides share no protocol version.
    Version,
    /// 429: too many at once.
    Busy,
    /// 500: our fault.
    Internal,
    /// 502: the scheduler answered with an error.
    SchedulerError,
    /// 503: something that is needed does not answer.
    Unavailable,
    /// 504: it took longer than allowed.
    Deadline,
}

impl Code {
    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict | Self::IdempotencyMismatch | Self::Superseded => 409,
            Self::TooLarge => 413,
            Self::RangeNotSatisfiable => 416,
            Self::Invalid => 422,
            Self::Version => 426,
            Self::Busy => 429,
            Self::Internal => 500,
            Self::SchedulerError => 502,
            Self::Unavailable => 503,
            Self::Deadline => 504,
        }
    }

    /// Whether the same call may succeed when repeated.
    pub const fn retry(self) -> Retry {
        match self {
            Self::Busy | Self::Unavailable | Self::Deadline | Self::SchedulerError => Retry::After,
            _ => Retry::No,
        }
    }
}

/// Whether repeating the call unchanged can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Retry {
    /// Not without a change.
    No,
    /// At once.
    Now,
    /// After a pause.
    After,
}

/// One field that is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Detail {
    /// The path of the field in the request, `spec.resources.nodes`.
    pub field: String,
    /// What is wrong with it and what is allowed.
    pub message: String,
}

/// The body of every answer with a status of 400 or more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people: a sentence that says what to do. No paths of ours, no SQL.
    pub message: String,
    /// Whether repeating the call can help.
    pub retry: Retry,
    /// The fields at fault, if it was fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
    /// Names the call in the logs and the audit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

impl Problem {
    /// A problem with the code's usual retry.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry: code.retry(),
            details: Vec::new(),
            request_id: String::new(),
        }
    }

    /// 422 for one field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(Code::Invalid, message.clone()).with_detail(field, message)
    }

    /// 404 for a kind of thing: `not_found("job")`.
    pub fn not_found(what: &str) -> Self {
        Self::new(
            Code::NotFound,
            format!("There is no such {what}, or it is not yours."),
        )
    }

    /// Adds a field at fault.
    #[must_use]
    pub fn with_detail(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.details.push(Detail {
            field: field.into(),
            message: message.into(),
        });
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for detail in &self.details {
            if detail.message != self.message {
                write!(f, "\n  {}: {}", detail.field, detail.message)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
