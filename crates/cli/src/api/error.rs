//! What can go wrong between us and the server, and what to do about it.

use std::{error::Error, io, time::Duration};

use forebay_http::ClientError;
use forebay_service::logs;
use forebay_wire::{Code, Problem};

use crate::failure::Failure;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The call failed.
    #[error("{}", with_cause(.0))]
    Call(ClientError),
    /// The answer broke off.
    #[error("the answer broke off: {}", logs::chain(.0))]
    Broken(io::Error),
    /// A stream ended before it said so.
    #[error("the server ended the stream")]
    Cut,
    /// Not even a heartbeat came.
    #[error("nothing came from the server for {} s", .0.as_secs())]
    Silent(Duration),
    /// The answer is not what was expected.
    #[error("the server's answer cannot be read: {0}")]
    Unread(String),
}

/// The error and what is at the bottom of it; the layers between say nothing
/// that helps whoever typed the command.
fn with_cause(error: &ClientError) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        Self::Call(error)
    }
}

impl ApiError {
    /// Whether the same call may succeed later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Call(error) => error.may_pass(),
            Self::Broken(_) | Self::Cut | Self::Silent(_) => true,
            Self::Unread(_) => false,
        }
    }

    /// Whether the call may have had its effect all the same.
    pub fn leaves_open(&self) -> bool {
        match self {
            // The server says that it did not do it, unless something of its own failed.
            Self::Call(ClientError::Problem(problem)) => {
                matches!(problem.code, Code::Internal | Code::Deadline)
            }
            Self::Call(ClientError::Status { status, .. }) => *status >= 500,
            Self::Call(error) => error.may_have_arrived(),
            _ => true,
        }
    }

    /// Whether a range lies behind the end.
    pub fn is_out_of_range(&self) -> bool {
        match self {
            Self::Call(ClientError::Problem(problem)) => problem.code == Code::RangeNotSatisfiable,
            Self::Call(ClientError::Status { status, .. }) => *status == 416,
            _ => false,
        }
    }
}

const ADDRESS: &str =
    "Is the address right, and is the server running? Another one: forebay login --url URL";

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let ApiError::Call(call) = &error else {
            return Self::new(error.to_string());
        };
        match call {
            ClientError::Problem(problem) => of_problem(problem),
            ClientError::Unreachable { .. } => Self::new(error.to_string()).hint(ADDRESS),
            ClientError::WrongKey { .. } => Self::new(error.to_string()).hint(
                "Somebody else answers there, or the server has a new key. Ask whoever runs it, then: forebay login --pin PIN",
            ),
            ClientError::Status { .. } => Self::new(error.to_string())
                .detail("the answer is not in the form of a Forebay server's")
                .hint(ADDRESS),
            ClientError::Malformed { .. } => Self::new(error.to_string())
                .hint("Is this command (forebay --version) as new as the server?"),
            _ => Self::new(error.to_string()),
        }
    }
}

fn of_problem(problem: &Problem) -> Failure {
    let mut failure = Failure::new(&problem.message);
    for detail in &problem.details {
        let said = detail.message == problem.message;
        failure = failure.detail(if said {
            format!("field {}", detail.field)
        } else {
            format!("{}: {}", detail.field, detail.message)
        });
    }
    if !problem.request_id.is_empty() {
        failure = failure.detail(format!("request {}", problem.request_id));
    }
    match problem.code {
        Code::Unauthenticated => failure.hint("Sign in again: forebay login"),
        Code::Version => failure.hint("Install the forebay command of the server's version."),
        Code::IdempotencyMismatch => {
            failure.hint("That key was used for another job: use a new one.")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(problem: Problem) -> ApiError {
        ApiError::Call(ClientError::Problem(Box::new(problem)))
    }

    #[test]
    fn problems_are_told_with_their_fields_and_a_remedy() {
        let mut problem = Problem::invalid("spec.resources.nodes", "At most 4 nodes.")
            .with_detail("spec.name", "Too long.");
        problem.request_id = "r1".to_owned();
        let expired = Problem::new(Code::Unauthenticated, "The token has expired.\x1b[2J");
        let told = [problem, expired].map(|problem| Failure::from(refused(problem)).to_string());
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn what_happened_is_not_guessed() {
        for (code, open) in [
            (Code::Invalid, false),
            (Code::Unavailable, false),
            (Code::Internal, true),
            (Code::Deadline, true),
        ] {
            assert_eq!(
                refused(Problem::new(code, "x")).leaves_open(),
                open,
                "{code:?}"
            );
        }
        assert!(ApiError::Cut.leaves_open());
    }
}
