//! `forebay db`: the private Postgres of an installation without one.

use std::{
    io, os::unix::process::CommandExt as _, path::PathBuf, process::Command, time::Duration,
};

use forebay_postgres::private::{Config, Database, Error, Private, Step, Upgrade, socket_path};
use forebay_service::{CancellationToken, Outcome, Service, logs};
use tokio::signal::unix::{SignalKind, signal};

use super::{Context, block_on};
use crate::{
    args::{DbCommand, DbPlace, DbPsql, DbRun, DbUpgrade, DbUrl},
    exit,
    failure::Failure,
};

/// The database of view-server and realtime, and its role.
const CENTRAL: &str = "forebay";
/// The database of the agent, and its role.
const SITE: &str = "forebay_site";
/// Beyond the instance's own limits for an orderly and a disorderly stop.
const DRAIN: Duration = Duration::from_secs(90);

/// Runs one command; answers the exit code.
pub(super) fn run(command: DbCommand, context: &Context) -> Result<u8, Failure> {
    match command {
        DbCommand::Run(args) => serve(args, context),
        DbCommand::Upgrade(args) => upgrade(args, context),
        DbCommand::Url(args) => context.console.line(&url(&args)?).map(|()| exit::OK),
        DbCommand::Psql(args) => Err(psql(&args)?),
    }
}

/// The instance as every command means it.
fn config(place: &DbPlace) -> Result<Config, Failure> {
    let absolute = |path: PathBuf| {
        std::path::absolute(&path)
            .map_err(|error| Failure::caused(format!("cannot use {}", path.display()), &error))
    };
    let state_dir = absolute(place.state_dir.clone())?;
    let socket_dir = match &place.socket_dir {
        Some(dir) => absolute(dir.clone())?,
        None => state_dir.join("socket"),
    };
    let database = |name: &str| Database {
        name: name.to_owned(),
        role: name.to_owned(),
        os_users: Vec::new(),
    };
    Ok(Config::new(
        state_dir,
        socket_dir,
        vec![database(CENTRAL), database(SITE)],
    ))
}

fn serve(args: DbRun, context: &Context) -> Result<u8, Failure> {
    let filter = context.environment.text("FOREBAY_LOG")?;
    logs::init(logs::Format::Pretty, filter.as_deref().unwrap_or("info"))
        .map_err(|error| Failure::caused("cannot log", &error))?;
    let mut config = config(&args.place)?;
    config.bin_dir = args.bin_dir;
    config.run_as = args.run_as;
    config.os_users = args.allow;
    let private =
        Private::new(config).map_err(|error| Failure::caused("cannot run the database", &error))?;
    let url = private.url(CENTRAL).unwrap_or_default();
    let build = |service: Service| async move {
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let stop = service.tasks.stopping();
        let running = service.tasks.spawn("postgres", async move {
            // Whoever waited for it may have gone away.
            private.run(stop, || _ = ready.send(())).await
        });
        if is_ready.await.is_err() {
            // It ended before it was ready; being told to stop is no error.
            running.await??;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    let announce = |service: Service| async move {
        let stopping = service.tasks.stopping();
        build(service).await?;
        if !stopping.is_cancelled() {
            // For whoever started us and waits for it; nobody has to read it.
            context.console.line(&format!("ready: {url}")).ok();
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    };
    let outcome: Outcome =
        block_on(async { Ok(forebay_service::run("db", DRAIN, announce).await) })?;
    Ok(outcome.exit_code())
}

fn upgrade(args: DbUpgrade, context: &Context) -> Result<u8, Failure> {
    let console = &context.console;
    let mut config = config(&args.place)?;
    config.run_as = args.run_as;
    let absolute = |dir: Option<PathBuf>| {
        dir.map(std::path::absolute)
            .transpose()
            .map_err(|error| Failure::caused("cannot use that directory", &error))
    };
    let how = Upgrade {
        old_bin_dir: absolute(args.old_bin_dir)?,
        new_bin_dir: absolute(args.new_bin_dir)?,
        link: args.link,
    };
    let failed = |error: Error| {
        let failure = Failure::new(logs::chain(&error));
        match error {
            Error::AlreadyRunning { .. } => {
                failure.hint("Stop `forebay db run` first; the services wait for it to come back.")
            }
            _ => failure,
        }
    };
    // As many directories would be made for a slip of the finger.
    let data = config.state_dir.join("cluster/data");
    if !config.state_dir.is_dir() {
        let message = format!("there is no database in {}", config.state_dir.display());
        return Err(Failure::new(message)
            .hint("--state-dir names the directory that `forebay db run` was given."));
    }
    let private = Private::new(config).map_err(failed)?;
    let progress = |step: Step| {
        console.note(match step {
            Step::Settle => "starting and stopping the old server in order",
            Step::Make => "making the new data's frame",
            Step::Check => "checking that the data can be upgraded (pg_upgrade --check)",
            Step::Upgrade if how.link => "upgrading; old and new share files (pg_upgrade --link)",
            Step::Upgrade => "upgrading; this copies all data (pg_upgrade)",
            Step::Switch => "switching to the new data",
            Step::Analyse => "counting what is in the tables (ANALYZE)",
            _ => "going on",
        });
    };
    let upgraded = block_on(async {
        let stop = CancellationToken::new();
        let work = private.upgrade(&how, &stop, progress);
        tokio::pin!(work);
        let interrupted = async {
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                _ = terminate.recv() => {}
                done = tokio::signal::ctrl_c() => done?,
            }
            Ok::<_, io::Error>(())
        };
        tokio::select! {
            done = &mut work => return done.map_err(failed),
            // Where signals cannot be heard, they do what they do by themselves.
            Ok(()) = interrupted => {}
        }
        console.note("stopping; the old data stays");
        stop.cancel();
        work.await.map_err(failed)
    })?;
    if args.json {
        console.json(&serde_json::json!({
            "from": upgraded.from,
            "to": upgraded.to,
            "data": data,
            "old": upgraded.old,
        }))?;
    } else if let Some(old) = &upgraded.old {
        console.line(&format!(
            "upgraded from PostgreSQL {} to {}; the old data is in {}: remove it when all is well",
            upgraded.from,
            upgraded.to,
            old.display()
        ))?;
    } else {
        console.line(&format!(
            "nothing to do: the data is of PostgreSQL {}, and nothing newer is installed in the usual places \
             (another place: --new-bin-dir DIR)",
            upgraded.from
        ))?;
    }
    Ok(exit::OK)
}

fn url(args: &DbUrl) -> Result<String, Failure> {
    let private = Private::new(config(&args.place)?)
        .map_err(|error| Failure::caused("cannot name the database", &error))?;
    let name = if args.site { SITE } else { CENTRAL };
    private
        .url(name)
        .ok_or_else(|| Failure::new(format!("there is no database {name}")))
}

/// Becomes psql; returns only if that fails.
fn psql(args: &DbPsql) -> Result<Failure, Failure> {
    let config = config(&args.database.place)?;
    if !socket_path(&config.socket_dir).exists() {
        let message = format!("no database runs in {}", config.state_dir.display());
        return Err(Failure::new(message).hint(
            "Start it with `forebay db run` and the same --state-dir (and --socket-dir, if it was given).",
        ));
    }
    let program = match &args.bin_dir {
        Some(dir) => dir.join("psql"),
        None => PathBuf::from("psql"),
    };
    let error = Command::new(&program)
        .args(&args.arguments)
        .arg(url(&args.database)?)
        .exec();
    let failure = Failure::caused(format!("cannot run {}", program.display()), &error);
    Ok(match error.kind() {
        io::ErrorKind::NotFound => failure.hint("Install it (Debian, Ubuntu: postgresql-client; Fedora, RHEL: postgresql), or say where it is: --bin-dir DIR"),
        _ => failure,
    })
}
