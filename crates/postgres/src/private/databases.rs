//! Roles and databases of an instance that has just started.

use std::time::Duration;

use super::config::{Config, Database};
use super::error::Error;
use crate::pool::{self, Pool};

/// Making a database copies a template.
const STATEMENT_MAX: Duration = Duration::from_secs(120);

/// Waits until the server accepts connections, then makes what is missing. Changes nothing that is there.
///
/// While the server replays its log it says so, and the wait goes on until `start_max`.
pub(super) async fn ensure(config: &Config, admin: pool::Config) -> Result<(), Error> {
    let admin = pool::Config {
        connections_max: 1,
        wait_max: config.start_max,
        statement_timeout: STATEMENT_MAX,
        ..admin
    };
    let pool = Pool::new(admin).map_err(Error::Database)?;
    let client = match pool.get().await {
        Ok(client) => client,
        Err(error) if error.sqlstate().is_none() => {
            return Err(Error::NotReady {
                waited: config.start_max,
            });
        }
        Err(error) => return Err(Error::Database(error)),
    };
    for Database { name, role, .. } in &config.databases {
        // The names were checked: they need no quoting.
        let known = client
            .named("private.role")
            .query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[role])
            .await
            .map_err(Error::Database)?;
        if known.is_none() {
            let sql = format!("CREATE ROLE {role} LOGIN");
            client
                .named("private.create_role")
                .batch(&sql)
                .await
                .map_err(Error::Database)?;
        }
        let known = client
            .named("private.database")
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[name])
            .await
            .map_err(Error::Database)?;
        if known.is_none() {
            let sql = format!("CREATE DATABASE {name} OWNER {role}");
            client
                .named("private.create_database")
                .batch(&sql)
                .await
                .map_err(Error::Database)?;
            tracing::info!(database = name, "made a database");
        }
        // By default every role may connect to every database.
        let sql = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC");
        client
            .named("private.close_database")
            .batch(&sql)
            .await
            .map_err(Error::Database)?;
    }
    Ok(())
}
