//! From start to end of a service: build, ready, wait for a signal, drain, exit code.

use crate::{logs, metrics::Metrics, notify::notify, tasks::Tasks};
use std::{
    error::Error,
    future::Future,
    io,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a service is built with.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Its tasks; they are drained at the end.
    pub tasks: Tasks,
    /// Its metrics; restarts of its tasks are among them.
    pub metrics: Metrics,
}

/// How a service ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything ended in time after a signal. Exit code 0.
    Drained,
    /// Something could not be built, or [`Tasks::fatal`] was called. Exit code 1.
    Failed(String),
    /// Asked to stop, but this many tasks were cut at the deadline. Exit code 2.
    Cut(usize),
    /// A second signal came while it drained. Exit code 130.
    Interrupted,
}

impl Outcome {
    /// The exit code that tells a service manager.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::Failed(_) => 1,
            Self::Cut(_) => 2,
            Self::Interrupted => 130,
        }
    }
}

/// SIGTERM and SIGINT, as one.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Run the service `name` until a signal or a fatal failure.
///
/// Signals are handled from the start on. `build` connects, binds and starts tasks on the
/// [`Service`] it is given; once it returns `Ok`, the service manager is told `READY=1`. SIGTERM
/// or SIGINT (also during `build`), or [`Tasks::fatal`], stops all tasks and waits for them for at
/// most `drain_deadline`. A second signal ends the wait at once.
pub async fn run<B, Fut, E>(name: &str, drain_deadline: Duration, build: B) -> Outcome
where
    B: FnOnce(Service) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let started = Instant::now();
    let mut signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return failed(format!("cannot handle signals: {error}")),
    };
    let service = Service::default();
    service.tasks.publish(&service.metrics);
    let tasks = service.tasks.clone();

    let stopping = tasks.stopping();
    let ready = tokio::select! {
        result = build(service) => Some(result),
        signal = signals.next() => {
            tracing::info!(service = name, signal, "stopping before being ready");
            None
        }
    };
    let mut failure = None;
    match ready {
        Some(Ok(())) => {
            notify("READY=1");
            tracing::info!(service = name, after = ?started.elapsed(), "ready");
            tokio::select! {
                signal = signals.next() => tracing::info!(service = name, signal, "stopping"),
                () = stopping.cancelled() => {}
            }
        }
        Some(Err(error)) => failure = Some(logs::chain(error.into().as_ref())),
        None => {}
    }

    notify("STOPPING=1");
    let drained = tokio::select! {
        drained = tasks.drain(drain_deadline) => drained,
        signal = signals.next() => {
            tracing::warn!(service = name, signal, "second signal: ending at once");
            return Outcome::Interrupted;
        }
    };
    let failure = failure.or_else(|| tasks.fatal_reason().map(str::to_owned));
    match (failure, drained) {
        (Some(reason), _) => failed(reason),
        (None, Ok(())) => {
            tracing::info!(service = name, "stopped");
            Outcome::Drained
        }
        (None, Err(cut)) => {
            tracing::warn!(
                service = name,
                tasks = cut.tasks,
                "tasks were cut at the deadline"
            );
            Outcome::Cut(cut.tasks)
        }
    }
}

fn failed(reason: String) -> Outcome {
    tracing::error!(reason, "the service failed");
    Outcome::Failed(reason)
}

/// [`run`] on a runtime of its own, for `fn main() -> ExitCode`.
///
/// Blocking work that is still under way at the end is left behind, not waited for.
pub fn main<B, Fut, E>(name: &str, drain_deadline: Duration, build: B) -> ExitCode
where
    B: FnOnce(Service) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(name, drain_deadline, build));
    runtime.shutdown_background();
    ExitCode::from(outcome.exit_code())
}
