//! `forebay-testbed up`, which `cargo xtask up` hands over to: the whole of Forebay on this
//! machine, one job to be seen, and then whatever its user wants to try, until Ctrl-C.
//!
//! Everything it starts is below guards (see [`crate::guard`]): the end of this process, however
//! it comes, is the end of all of it, and of nothing else.

mod args;
mod need;
mod progress;
mod sample;
mod scheduler;
mod table;

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::accounts::{self, Account};
use crate::programs;
use crate::site::{self, Options, Site};
use args::Args;
pub use args::USAGE;
use progress::Progress;
use scheduler::Running;

/// Names of the two accounts that everything is shown with, where we are root.
const USERS: [&str; 2] = ["fbdemo1", "fbdemo2"];
/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Why it came to an end before its time.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Programs are missing and could not be installed; what to do was printed.
    #[error("{0}")]
    Missing(String),
    /// Slurm was asked for by name and cannot be had.
    #[error("there is no Slurm here: {0}")]
    NoSlurm(String),
    #[error("no accounts to show it with")]
    Accounts(#[source] accounts::Error),
    #[error("the services do not run")]
    Site(#[source] site::Error),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
}

/// Everything that runs.
struct Stack {
    site: Site,
    scheduler: Running,
    users: Vec<Account>,
}

/// Does it; the words are those after `up`.
pub async fn run(words: &[&str]) -> ExitCode {
    let args = match Args::parse(words) {
        Ok(args) => args,
        Err(complaint) => {
            progress::line(&complaint);
            return ExitCode::from(2);
        }
    };
    if args.help {
        progress::line(USAGE);
        return ExitCode::SUCCESS;
    }
    let progress = Progress::new();
    match up(&args, &progress).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            progress.failed(&error);
            ExitCode::FAILURE
        }
    }
}

async fn up(args: &Args, progress: &Progress) -> Result<u8, Error> {
    let mut stop = Stop::new().map_err(Error::Signals)?;
    // What has started when it is interrupted ends as its values are dropped.
    let started = tokio::select! {
        started = start(args, progress) => Some(started?),
        () = stop.wait() => None,
    };
    let Some(stack) = started else {
        progress.say("interrupted; everything that had started has ended");
        return Ok(INTERRUPTED);
    };
    let shown = tokio::select! {
        shown = show(args, &stack, progress) => shown,
        () = stop.wait() => Ok(INTERRUPTED),
    };
    if shown.is_ok() && !args.once {
        stop.wait_unless_past().await;
    }
    progress.say("stopping everything that was started");
    // A second signal cuts it short: the guards do the rest.
    let result = tokio::select! {
        result = end(stack) => result,
        () = stop.wait_again() => Ok(()),
    };
    progress.say("all ended");
    let code = shown?;
    result?;
    // Ctrl-C is how it is meant to end.
    Ok(if args.once { code } else { 0 })
}

async fn start(args: &Args, progress: &Progress) -> Result<Stack, Error> {
    let scheduler = need::check(args, progress).await?;
    let users = users()?;
    let names: Vec<String> = users.iter().map(|user| user.name.clone()).collect();
    let scheduler = scheduler::start(scheduler, &names, progress).await?;
    let options = Options {
        scheduler: scheduler.of_site(),
        users: names,
        poll_ms: None,
        log_filter: args.log.clone(),
        ui_dir: programs::page().filter(|_| !args.once),
        ..Options::default()
    };
    let mut tell = |line: &str| progress.say(line);
    let site = Site::start_telling(options, &mut tell).await;
    let site = site.map_err(Error::Site)?;
    Ok(Stack {
        site,
        scheduler,
        users,
    })
}

fn users() -> Result<Vec<Account>, Error> {
    if rustix::process::geteuid().is_root() {
        let made = USERS.iter().map(|name| accounts::ensure(name));
        return made.collect::<Result<_, _>>().map_err(Error::Accounts);
    }
    let own = accounts::current().map_err(Error::Accounts)?;
    Ok(vec![own])
}

/// The sample job, then what there is to use; answers the job's exit code.
async fn show(args: &Args, stack: &Stack, progress: &Progress) -> Result<u8, Error> {
    let code = match stack.users.first() {
        Some(user) => sample::run(&stack.site, user, progress).await?,
        None => 0,
    };
    if !args.once {
        table::print(stack);
    }
    Ok(code)
}

async fn end(stack: Stack) -> Result<(), Error> {
    // The agent first: it would report each job that the end of Slurm cancels.
    let stopped = stack.site.stop().await;
    stack.scheduler.stop().await;
    stopped.map_err(Error::Site)
}

/// The ways in which a person or a supervisor says that it is enough.
struct Stop {
    signals: [Signal; 3],
    past: bool,
}

impl Stop {
    fn new() -> std::io::Result<Self> {
        let signals = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self {
            signals,
            past: false,
        })
    }

    /// Returns at the next signal.
    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        self.past = true;
    }

    /// The same, but at once if there was one before.
    async fn wait_unless_past(&mut self) {
        if !self.past {
            self.wait().await;
        }
    }

    async fn wait_again(&mut self) {
        self.wait().await;
    }
}
