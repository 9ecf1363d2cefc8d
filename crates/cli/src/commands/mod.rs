//! What each command does, one module a command.

mod cancel;
mod clusters;
mod db;
mod jobs;
mod login;
mod logs;
mod output;
mod prompt;
mod show;
mod submit;
mod wait;

use std::io;

use clap::CommandFactory as _;
use forebay_wire::{
    JobId,
    api::{Job, Page},
};
use serde_json::Value;

use crate::{
    access::Access,
    api::Api,
    args::{Cli, Command, JobRef},
    console::Console,
    environment::Environment,
    exit,
    failure::Failure,
    view,
};

/// What a command has to work with.
pub struct Context {
    /// Where output goes.
    pub console: Console,
    /// The variables.
    pub environment: Environment,
}

impl Context {
    /// The API, as the user who is signed in.
    pub fn api(&self) -> Result<Api, Failure> {
        Api::new(Access::find(&self.environment)?)
    }
}

/// Runs one command; answers the exit code.
pub fn run(command: Command, context: &Context) -> Result<u8, Failure> {
    match command {
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "forebay", &mut script);
            context.console.out(script)?;
        }
        Command::Login(args) => {
            // The prompt comes before the runtime: it blocks.
            let wanted = login::ask(&args, context)?;
            block_on(login::run(wanted, context))?;
        }
        Command::Logout => login::forget(context)?,
        Command::Whoami(args) => block_on(login::whoami(&args, context))?,
        Command::Submit(args) => {
            let script = submit::read_script(&args)?;
            return block_on(submit::run(&args, script, context));
        }
        Command::Jobs(args) => block_on(jobs::run(&args, context))?,
        Command::Show(args) => block_on(show::run(&args, context))?,
        Command::Logs(args) => block_on(logs::run(&args, context))?,
        Command::Cancel(args) => return block_on(cancel::run(&args, context)),
        Command::Clusters(args) => block_on(clusters::run(&args, context))?,
        Command::Db(args) => return db::run(args.command, context),
    }
    Ok(exit::OK)
}

/// One thread is enough for a command that mostly waits.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error: io::Error| Failure::caused("cannot start the runtime", &error))?;
    runtime.block_on(work)
}

/// The id that is meant.
async fn resolve(job: JobRef, api: &Api) -> Result<JobId, Failure> {
    match job {
        JobRef::Id(id) => Ok(id),
        JobRef::Last => {
            let page: Page<Value> = api.get("/api/v1/jobs?limit=1&sort=-created_at").await?;
            let (jobs, _) = view::read_items::<Job>(&page);
            let job = jobs.first().ok_or_else(|| {
                Failure::new("you have no job yet")
                    .hint("Hand one in with: forebay submit -- hostname")
            })?;
            Ok(job.id)
        }
    }
}

/// `1 job`, `3 jobs`.
fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Says that some objects could not be shown.
fn note_unread(console: &Console, unread: usize, noun: &str) {
    if unread > 0 {
        let what = count(unread, noun);
        console.note(&format!(
            "{what} could not be read; the server may be newer than this command (see --json)"
        ));
    }
}
