//! The accept loop.

use crate::{
    app::App,
    connection::{self, Context},
    io::GuardedStream,
    limits::Limits,
    listener::Listener,
    peer::OVERFLOW_UID,
};
use forebay_service::{Backoff, Tasks, backoff::Retry};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Serve `app` on `listener` until `tasks` stop, then drain.
///
/// Returns once every connection has ended, at the latest shortly after
/// [`Limits::drain_deadline`]: what is open then, event streams and upgraded connections included,
/// is cut. To be started as a task of the service, whose own deadline should be longer:
/// `tasks.spawn_essential("http", serve(listener, app, limits, tasks.clone()))`.
pub async fn serve(listener: Listener, app: impl Into<App>, limits: Limits, tasks: Tasks) {
    let address = listener.address().to_string();
    let limits = Arc::new(limits);
    let app = app.into();
    let connections_max = limits.connections_max.max(1);
    let slots = Arc::new(Semaphore::new(connections_max as usize));
    let stop = tasks.stopping();
    let cut = CancellationToken::new();
    let mut trouble = Backoff::new(Duration::from_millis(10), Duration::from_secs(1)).retry();
    tracing::info!(%address, "listening");

    loop {
        // First a slot, then the connection: those beyond the limit wait in the kernel's queue.
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned() => match slot {
                Ok(slot) => slot,
                // Never closed; a server without slots could only wait for the end.
                Err(_) => return stop.cancelled().await,
            },
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let checked = accepted.and_then(|stream| stream.peer().map(|peer| (stream, peer)));
        let (stream, peer) = match checked {
            Ok(accepted) => accepted,
            Err(error) => {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = pause(&error, &mut trouble) => continue,
                }
            }
        };
        trouble.reset();
        if limits.refuse_overflow_uid && peer.uid == Some(OVERFLOW_UID) {
            tracing::warn!(%address, "refused a peer with the overflow uid");
            continue;
        }
        let stream = GuardedStream::new(stream, &cut, limits.write_timeout, slot);
        let context = Context {
            app: app.clone(),
            limits: limits.clone(),
            peer,
            tasks: tasks.clone(),
        };
        // The handshake is the connection's own: a slow one delays nobody.
        #[cfg(feature = "tls")]
        if let Some(acceptor) = listener.tls() {
            tasks.spawn("connection", connection::run_tls(acceptor, stream, context));
            continue;
        }
        tasks.spawn("connection", connection::run(stream, context));
    }

    listener.close();
    // Every slot back means every connection gone, upgraded ones too.
    let all_gone = || slots.acquire_many(connections_max);
    if timeout(limits.drain_deadline, all_gone()).await.is_err() {
        let open = connections_max as usize - slots.available_permits();
        tracing::warn!(%address, open, "connections were cut at the drain's deadline");
        cut.cancel();
        // Who owns an upgraded connection has to notice; that is not worth waiting long for.
        let _ = timeout(Duration::from_secs(1), all_gone()).await;
    }
    tracing::debug!(%address, "no longer listening");
}

/// After a failed accept: a peer that is gone already needs none; out of descriptors or memory
/// does, or the loop would spin until something is closed.
async fn pause(error: &io::Error, trouble: &mut Retry) {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    let gone = [
        ConnectionAborted,
        ConnectionReset,
        Interrupted,
        InvalidInput,
        NotConnected,
    ];
    if gone.contains(&error.kind()) {
        return;
    }
    if trouble.failures().is_power_of_two() || trouble.failures() == 0 {
        tracing::error!(%error, failures = trouble.failures(), "cannot accept connections");
    }
    // Not less than a little, or full jitter would still spin now and then.
    sleep(trouble.next_delay().max(Duration::from_millis(5))).await;
}
