//! `forebay db`: the private Postgres of an installation without one.

use std::{
    io, os::unix::process::CommandExt as _, path::PathBuf, process::Command, time::Duration,
};

use forebay_postgres::private::{Config, Database, Private};
use forebay_service::{Outcome, Service, logs};

use super::{Context, block_on};
use crate::{
    args::{DbCommand, DbPlace, DbPsql, DbRun, DbUrl},
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
