//! Runs a private Postgres until Ctrl-C, with one table of feed rows in it:
//!
//! ```text
//! cargo run -p forebay-postgres --example private -- /var/tmp/my-postgres
//! ```
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::PathBuf;

use forebay_postgres::feed::{Reader, Row, SCHEMA_SQL, Topics, append};
use forebay_postgres::private::{Config, Database, Private};
use forebay_postgres::{Pool, migrate};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let dir = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .ok_or("name a directory for it")?,
    );
    let database = Database {
        name: "demo".to_owned(),
        role: "demo".to_owned(),
        os_users: Vec::new(),
    };
    let private = Private::new(Config::new(
        dir.join("state"),
        dir.join("run"),
        vec![database],
    ))?;

    let stop = CancellationToken::new();
    let ready = CancellationToken::new();
    let client = async {
        ready.cancelled().await;
        use_it(&private).await?;
        println!(
            "psql '{}'    (Ctrl-C stops the server)",
            private.url("demo").unwrap_or_default()
        );
        tokio::signal::ctrl_c().await?;
        stop.cancel();
        Ok::<(), Box<dyn Error>>(())
    };
    let server = async {
        private
            .run(stop.clone(), || ready.cancel())
            .await
            .map_err(Into::into)
    };
    tokio::try_join!(server, client)?;
    Ok(())
}

async fn use_it(private: &Private) -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(
        private
            .pool_config("demo", "example")
            .ok_or("it is configured")?,
    )?;
    migrate::run(&pool, &migrate::runner(&[("V1__feed", SCHEMA_SQL)])?).await?;
    let reader = Reader::new(pool.clone());
    let before = reader.now().await?;

    let mut client = pool.get().await?;
    let tx = client.transaction().await?;
    let body = serde_json::value::to_raw_value("hello")?;
    let row = Row {
        topic: "job:1".into(),
        kind: "greeting".into(),
        key: "1".into(),
        rev: 1,
        body,
    };
    append(&tx, &[row]).await?;
    tx.commit().await?;

    for delta in reader.read_after(&before, &Topics::All, 10).await?.rows {
        println!(
            "{} {} {} {}",
            delta.cursor, delta.topic, delta.kind, delta.body
        );
    }
    Ok(())
}
