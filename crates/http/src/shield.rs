//! A client that goes away does not undo half a change.

use forebay_service::{Ended, Tasks};
use forebay_wire::{Code, Problem};
use std::future::Future;

/// Run a change to its end even when the client disconnects, and await it.
///
/// The future of a request is dropped when its connection breaks; what runs inside `shielded` is a
/// task of the service instead, which a drain waits for. [`Route::shielded`](crate::routes::Route::shielded)
/// does this for a whole handler.
pub async fn shielded<T: Send + 'static>(
    tasks: &Tasks,
    name: &'static str,
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tasks.spawn(name, change).await.unwrap_or_else(|ended| {
        Err(match ended {
            Ended::Panicked(_) => {
                Problem::new(Code::Internal, "Something went wrong here; it is logged.")
            }
            Ended::Cut => Problem::new(Code::Unavailable, "The service is stopping."),
        })
    })
}
