//! From our errors to what a caller reads.

use std::time::Duration;

use forebay_wire::{Code, Problem};

use crate::dir::DirError;

/// A directory or file that could not be had. The caller acts for the user, so the user's own
/// paths may be told.
pub fn of_dir(error: &DirError) -> Problem {
    match error {
        DirError::Link { .. } | DirError::Kind { .. } | DirError::Owner { .. } => Problem::new(
            Code::Conflict,
            format!("{error}. Put it right and try again."),
        ),
        DirError::Absent { .. } => Problem::new(
            Code::NotFound,
            format!("There is no such directory: {error}."),
        ),
        DirError::Large { .. } => Problem::new(Code::TooLarge, format!("{error}.")),
        DirError::Io { .. } => Problem::new(
            Code::Unavailable,
            format!("{}.", forebay_service::logs::chain(error)),
        ),
    }
}

/// Runs something that may block (a file system may hang) apart from the connections, with a
/// deadline. When the deadline passes the thread stays with the call until the system answers.
pub async fn blocking<T, F>(deadline: Duration, what: &'static str, work: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Problem> + Send + 'static,
{
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => {
            tracing::error!(%error, what, "a call failed unexpectedly");
            Err(Problem::new(
                Code::Internal,
                "This call failed unexpectedly; the log says more.",
            ))
        }
        Err(_) => Err(Problem::new(
            Code::Deadline,
            format!(
                "To {what} took longer than {} s; the file system may hang.",
                deadline.as_secs()
            ),
        )),
    }
}
