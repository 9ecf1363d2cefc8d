//! Supervises a private Postgres below a directory until SIGTERM, as a service does:
//!
//! ```text
//! cargo run -p forebay-postgres --example supervise -- /var/tmp/my-postgres DATABASE…
//! ```
//!
//! Prints `READY` once the server answers. This account, and root, may be the role of each
//! database. Nothing is flushed to disk: it is for trying things out and for tests.
#![allow(clippy::print_stdout)]

use std::{error::Error, path::PathBuf, time::Duration};

use forebay_postgres::private::{Config, Database, Private};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let dir = PathBuf::from(args.next().ok_or("name a directory for it")?);
    let databases = args
        .map(|name| name.into_string().map_err(|_| "a name is text"))
        .map(|name| {
            name.map(|name| Database {
                role: name.clone(),
                name,
                os_users: Vec::new(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let private = Private::new(Config {
        fsync: false,
        start_max: Duration::from_secs(60),
        os_users: vec!["root".to_owned()],
        ..Config::new(dir.join("state"), dir.join("run"), databases)
    })?;

    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut serve = std::pin::pin!(private.run(stop.clone(), || println!("READY")));
    tokio::select! {
        result = &mut serve => return Ok(result?),
        _ = terminated.recv() => stop.cancel(),
    }
    Ok(serve.await?)
}
