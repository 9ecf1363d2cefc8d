//! slurmdbd and its `MariaDB`.

use std::time::Duration;

use super::layout::{DBD_PORT, make_dir};
use super::start::{failed, is_open, system_account};
use super::{DEADLINE, Error, Slurm};
use crate::process::Exit;

impl Slurm {
    pub(super) async fn start_mariadb(&self) -> Result<(), Error> {
        let layout = &self.layout;
        let mysql = system_account("mysql")?;
        make_dir(&layout.mysql_run, 0o755, Some(&mysql)).map_err(Error::Place)?;
        make_dir(&layout.mysql, 0o700, Some(&mysql)).map_err(Error::Place)?;
        let datadir = format!("--datadir={}", layout.mysql.display());
        let install = [
            "--no-defaults",
            "--user=mysql",
            &datadir,
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
        ];
        self.text("mariadb-install-db", &install, None).await?;

        let socket = layout.mysql_socket.display().to_string();
        let command = self
            .daemon_command("mariadbd", "mariadbd", Some(&mysql))?
            .args([
                "--no-defaults",
                &datadir,
                &format!("--socket={socket}"),
                &format!("--pid-file={}/m.pid", layout.mysql_run.display()),
                "--skip-networking",
                "--innodb-buffer-pool-size=128M",
                "--innodb-lock-wait-timeout=900",
                "--innodb-flush-log-at-trx-commit=2",
                "--skip-log-bin",
            ]);
        let daemon = self.start_daemon("mariadbd", command).await?;
        let ping = ["--no-defaults", "-S", &socket, "-u", "root", "ping"];
        let is_ready = || self.succeeds("mariadb-admin", &ping);
        daemon
            .wait_ready(DEADLINE, is_ready)
            .await
            .map_err(failed("mariadbd does not come up"))?;

        // By standard input, because the password is in it: arguments can be read by everybody.
        let password = self.storage_password()?;
        let sql = format!(
            "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n\
             CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED BY '{password}';\n\
             GRANT ALL ON slurm_acct_db.* TO slurm@localhost;\n"
        );
        let command =
            self.command("mariadb", None)?
                .args(["--no-defaults", "-S", &socket, "-u", "root"]);
        let output = self.run(command, sql.as_bytes(), DEADLINE).await?;
        if output.exit.success() {
            return Ok(());
        }
        Err(Error::Command {
            command: "mariadb".to_owned(),
            exit: output.exit,
            stderr: output.stderr(),
        })
    }

    fn storage_password(&self) -> Result<String, Error> {
        let text = std::fs::read_to_string(&self.layout.dbd_conf).map_err(Error::Place)?;
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix("StoragePass="));
        Ok(found.unwrap_or_default().to_owned())
    }

    /// Starts slurmdbd, also again after it was stopped, and waits until it answers.
    pub async fn start_dbd(&self) -> Result<(), Error> {
        let slurm = system_account("slurm")?;
        // MariaDB's client library takes the path of its socket from this variable.
        let command = self
            .daemon_command("slurmdbd", "slurmdbd", Some(&slurm))?
            .arg("-D");
        let command = command.env(
            "MYSQL_UNIX_PORT",
            self.layout.mysql_socket.display().to_string(),
        );
        let daemon = self.start_daemon("slurmdbd", command).await?;
        // Its port opens only after its tables are made.
        let port = self.ports.get(DBD_PORT).unwrap_or_default();
        daemon
            .wait_ready(DEADLINE, || is_open(port))
            .await
            .map_err(failed("slurmdbd does not come up"))
    }

    /// Stops slurmdbd; `MariaDB` goes on.
    pub async fn stop_dbd(&self) -> Result<Exit, Error> {
        self.named("slurmdbd")?
            .stop(Duration::from_secs(20))
            .await
            .map_err(failed("slurmdbd does not stop"))
    }

    /// Kills slurmdbd as a crash would.
    pub async fn kill9_dbd(&self) -> Result<Exit, Error> {
        self.named("slurmdbd")?
            .kill9()
            .await
            .map_err(failed("slurmdbd cannot be killed"))
    }

    /// Puts existing Unix accounts into accounting, under the cluster's account.
    pub async fn add_users(&self, users: &[String]) -> Result<(), Error> {
        let mut tries = 3;
        loop {
            let added = self.try_add_users(users).await;
            tries -= 1;
            if added.is_ok() || tries == 0 {
                return added;
            }
            // On a busy machine slurmdbd's database may not take it at the first moment.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }

    async fn try_add_users(&self, users: &[String]) -> Result<(), Error> {
        let account = &self.options.account;
        // One session, because each call of sacctmgr costs about a second.
        let mut lines = vec![
            format!("add cluster {}", self.cluster_name),
            format!("add account {account} Description={account} Organization=test"),
        ];
        lines.extend(
            users
                .iter()
                .map(|user| format!("add user {user} Account={account}")),
        );
        lines.push("quit\n".to_owned());
        let command = self.command("sacctmgr", None)?.arg("-i");
        let output = self
            .run(command, lines.join("\n").as_bytes(), DEADLINE)
            .await?;
        // Its exit code says nothing of single lines, and what exists already is a complaint.
        let filter = format!("account={account}");
        let made = self
            .text(
                "sacctmgr",
                &["-nP", "show", "assoc", &filter, "format=user"],
                None,
            )
            .await?;
        let is_made = |user: &String| made.lines().any(|line| line == user);
        if users.iter().all(is_made) && self.has_account(account).await? {
            return Ok(());
        }
        let stderr = format!("{}\n{}", output.stdout(), output.stderr());
        Err(Error::Command {
            command: "sacctmgr".to_owned(),
            exit: output.exit,
            stderr,
        })
    }

    async fn has_account(&self, account: &str) -> Result<bool, Error> {
        if !self.options.users.is_empty() {
            return Ok(true); // an association proves it, and a call costs a second
        }
        let text = self
            .text(
                "sacctmgr",
                &["-nP", "show", "account", account, "format=account"],
                None,
            )
            .await?;
        Ok(text.lines().any(|line| line == account))
    }
}
