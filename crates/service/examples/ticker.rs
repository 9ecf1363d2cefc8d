//! A small service: a supervised task that fails now and then, and a periodic one.

use forebay_service::{Backoff, Every, Nudge, logs};
use std::{io, process::ExitCode, time::Duration};

#[allow(clippy::print_stderr, reason = "logging is what failed")]
fn main() -> ExitCode {
    if let Err(error) = logs::init(logs::Format::Pretty, "info") {
        eprintln!("{}", logs::chain(&error));
        return ExitCode::FAILURE;
    }
    forebay_service::main("ticker", Duration::from_secs(5), |service| async move {
        let tasks = service.tasks.clone();
        let every = Every::new(Duration::from_secs(3));
        tasks
            .clone()
            .periodic("status", every, Nudge::new(), move || {
                let status = tasks.status();
                async move {
                    tracing::info!(?status, "looked");
                    Ok::<_, io::Error>(())
                }
            });
        service.tasks.supervise("flaky", Backoff::default(), |stop| async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                () = tokio::time::sleep(Duration::from_secs(4)) => Err(io::Error::other("gave up")),
            }
        });
        Ok::<_, io::Error>(())
    })
}
