//! `forebay-user-agent serve`: from the command line to the end.

use std::process::ExitCode;
use std::time::Duration;

use forebay_http::{ListenError, Listener};
use forebay_service::{Service, logs};
use rustix::fs::Mode;
use rustix::io::Errno;

use crate::account::{Account, AccountError};
use crate::calls::{Calls, limits};
use crate::cli::ServeArgs;
use crate::descriptors;
use crate::idle::Activity;
use crate::local::{Local, LocalConfig};
use crate::log::Logs;
use crate::place::Place;
use crate::run::{Programs, RunConfig};

/// So many calls may wait for logs at once.
const WAITING: usize = 256;
/// Threads that serve.
const THREADS: usize = 2;
/// Threads that wait for the disk or hold a program that runs, made when needed.
const BLOCKING_THREADS: usize = 128;
/// How long calls under way have at the end.
const DRAIN: Duration = Duration::from_secs(15);

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("cannot serve this account")]
    Account(#[from] AccountError),
    #[error("cannot listen")]
    Listen(#[from] ListenError),
    #[error("descriptor {fd} cannot be served")]
    Descriptor {
        fd: i32,
        #[source]
        source: Errno,
    },
    #[error("cannot enter /")]
    Root(#[source] std::io::Error),
    #[error("give --socket or --listen-fd")]
    NoSocket,
}

/// Serves until it is told to end or nobody has called for long.
pub fn main(args: &ServeArgs) -> ExitCode {
    let format = if args.log_json {
        logs::Format::Json
    } else {
        logs::Format::Pretty
    };
    if let Err(error) = logs::init(format, &args.log) {
        // There is no log yet.
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{}\n", logs::chain(&error)).as_bytes(),
        );
        return ExitCode::FAILURE;
    }
    descriptors::seal();
    // What sbatch and jobs expect; it would be handed on. Files of ours get their mode by name.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    // Not a thread a core: a login node may have a hundred cores, and a hundred of us.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let deadline = DRAIN + Duration::from_secs(5);
    let outcome = runtime.block_on(forebay_service::run(
        "user-agent",
        deadline,
        |service| async { serve(service, args) },
    ));
    // A file system that hangs must not keep us.
    runtime.shutdown_background();
    ExitCode::from(outcome.exit_code())
}

fn serve(service: Service, args: &ServeArgs) -> Result<(), ServeError> {
    let account = Account::own()?;
    let listener = listener(args, &account)?;
    // Not to keep a file system busy, and not to depend on one.
    std::env::set_current_dir("/").map_err(ServeError::Root)?;
    let place = match &args.state_dir {
        Some(directory) => Place::in_directory(directory, &args.environment),
        None => Place::in_home(&account.home, &args.environment),
    };
    let run = RunConfig {
        bin_dir: args.bin_dir.clone(),
        slurm_conf: args.slurm_conf.clone(),
        ..RunConfig::default()
    };
    let programs = Programs::new(run, &account);
    let local = Local::new(
        LocalConfig::default(),
        &account,
        place.clone(),
        args.slurm_conf.as_deref(),
    );
    let activity = Activity::new();
    let tasks = service.tasks;
    let logs = Logs::new(WAITING, tasks.stopping());
    let calls = Calls::new(
        account,
        args.agent_uid,
        place,
        programs,
        logs,
        local,
        activity.clone(),
    );

    let limits = forebay_http::Limits {
        drain_deadline: DRAIN,
        ..limits()
    };
    // The tracker holds both.
    let serving = forebay_http::serve(listener, calls.table(&tasks), limits, tasks.clone());
    drop(tasks.spawn("http", serving));
    if !args.idle_exit.is_zero() {
        let (long, stop) = (args.idle_exit, tasks.clone());
        let idle = async move {
            tokio::select! {
                () = activity.idle(long) => {
                    tracing::info!(?long, "nobody called; ending");
                    stop.stop();
                }
                () = stop.stopping().cancelled_owned() => {}
            }
        };
        drop(tasks.spawn("idle", idle));
    }
    Ok(())
}

fn listener(args: &ServeArgs, account: &Account) -> Result<Listener, ServeError> {
    if let Some(fd) = args.listen_fd {
        let fd = descriptors::take(fd).map_err(|source| ServeError::Descriptor { fd, source })?;
        return Ok(Listener::from_fd(fd)?);
    }
    let path = args.socket.as_ref().ok_or(ServeError::NoSocket)?;
    // Where another account must reach it, anybody may knock: the kernel says who does, and the
    // directory that it is in can be closed.
    let others = args.agent_uid.is_some_and(|agent| agent != account.uid);
    Ok(Listener::unix(path, if others { 0o666 } else { 0o600 })?)
}
