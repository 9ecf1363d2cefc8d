//! Starts a user-agent, or finds one that is already there.
//!
//! The socket is bound here and handed over as the child's standard input; the
//! child calls `listen` itself, so that the kernel shows us its uid as the
//! server's. As root the child sheds root through `setpriv`; the launcher will
//! take this over.

use std::{
    fs::{DirBuilder, OpenOptions, Permissions},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use forebay_wire::ipc;
use nix::unistd::Uid;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use super::{CallError, Config};
use crate::accounts::Account;

/// How long a started user-agent may take until it answers.
const READY_MAX: Duration = Duration::from_secs(5);
/// The socket's name in its directory.
const SOCKET: &str = "http.sock";
/// How long one may take to end before it is killed.
const END_MAX: Duration = Duration::from_secs(3);

pub(super) async fn adopt_or_start(
    config: &Config,
    account: &Account,
) -> Result<(forebay_http::Client, Option<Child>), CallError> {
    let failed = |what: &str, error: &dyn std::error::Error| CallError::Start {
        account: account.name.clone(),
        message: format!("{what}: {error}"),
    };
    let socket = socket_path(config, account).map_err(|error| failed("its directory", &error))?;
    let client = forebay_http::Client::unix(&socket, Some(account.uid));
    if hello(&client).await.is_ok() {
        tracing::info!(account = account.name, "found its user-agent");
        return Ok((client, None));
    }
    let listener = bind(&socket).map_err(|error| failed("its socket", &error))?;
    let mut child =
        spawn(config, account, listener).map_err(|error| failed("starting it", &error))?;
    let until = Instant::now() + READY_MAX;
    loop {
        match hello(&client).await {
            Ok(()) => break,
            Err(error) => {
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(CallError::Start {
                        account: account.name.clone(),
                        message: format!("it ended at once with {status}"),
                    });
                }
                if Instant::now() >= until {
                    let _ = child.start_kill();
                    return Err(failed("it does not answer", &error));
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tracing::info!(
        account = account.name,
        pid = child.id(),
        "started its user-agent"
    );
    Ok((client, Some(child)))
}

async fn hello(client: &forebay_http::Client) -> Result<(), forebay_http::ClientError> {
    let hello: ipc::Hello = client.get("/v1/hello").await?;
    tracing::trace!(?hello, "user-agent");
    Ok(())
}

/// The socket's path, in a directory that only we can write.
fn socket_path(config: &Config, account: &Account) -> std::io::Result<PathBuf> {
    let directory = config.run_dir.join("users").join(account.uid.to_string());
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&config.run_dir)?;
    for directory in [config.run_dir.join("users"), directory.clone()] {
        match DirBuilder::new().mode(0o750).create(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        check_ours(&directory)?;
    }
    Ok(directory.join(SOCKET))
}

fn check_ours(directory: &Path) -> std::io::Result<()> {
    let found = std::fs::symlink_metadata(directory)?;
    let own = Uid::effective().as_raw();
    if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
        return Err(std::io::Error::other(format!(
            "{} is not a directory that only the agent can write",
            directory.display()
        )));
    }
    Ok(())
}

/// The sockets that are there, with whose they are: also those of user-agents that an earlier
/// agent left.
pub(super) fn sockets(config: &Config) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let users = config.run_dir.join("users");
    match check_ours(&users) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    }
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir(&users)? {
        let directory = entry?.path();
        let uid = directory
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let socket = directory.join(SOCKET);
        if let Some(uid) = uid
            && check_ours(&directory).is_ok()
            && std::fs::symlink_metadata(&socket).is_ok()
        {
            sockets.push((uid, socket));
        }
    }
    Ok(sockets)
}

/// Ends one that another process started. By its socket, where the kernel says whose it is: of a
/// pid nobody could say whether it is still the same process.
pub(super) async fn end_by_socket(uid: u32, socket: &Path) {
    let client = forebay_http::Client::unix(socket, Some(uid));
    let ended = async {
        let call = client.call(http::Method::POST, "/v1/end").json(&())?;
        call.deadline(END_MAX).send().await
    };
    match ended.await {
        Ok(_) => {}
        // Nobody is there.
        Err(error) if !error.may_have_arrived() => return,
        Err(error) => {
            let error = forebay_service::logs::chain(&error);
            tracing::warn!(uid, error, "a user-agent does not end; it is left");
            return;
        }
    }
    let until = Instant::now() + END_MAX;
    while Instant::now() < until && hello(&client).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Binds without listening. A socket that nobody answers on is replaced.
fn bind(path: &Path) -> std::io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &address)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(socket)
}

fn spawn(config: &Config, account: &Account, listener: OwnedFd) -> std::io::Result<Child> {
    let own = Uid::effective();
    let mut command = if own.is_root() {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", account.uid))
            .arg(format!("--regid={}", account.gid))
            .args([
                "--init-groups",
                "--inh-caps=-all",
                "--ambient-caps=-all",
                "--bounding-set=-all",
            ])
            .args(["--no-new-privs", "--"])
            .arg(&config.program);
        command
    } else {
        Command::new(&config.program)
    };
    command
        .args(["serve", "--listen-fd", "0"])
        .arg("--agent-uid")
        .arg(own.to_string())
        .arg("--environment")
        .arg(&config.environment);
    if let Some(directory) = &config.bin_dir {
        command.arg("--bin-dir").arg(directory);
    }
    if let Some(file) = &config.slurm_conf {
        command.arg("--slurm-conf").arg(file);
    }
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::from(listener))
        .stdout(Stdio::null())
        .stderr(log(config, account)?)
        .process_group(0)
        .spawn()
}

fn log(config: &Config, account: &Account) -> std::io::Result<Stdio> {
    let Some(directory) = &config.log_dir else {
        return Ok(Stdio::null());
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(directory.join(format!("user-agent-{}.log", account.uid)))?;
    Ok(file.into())
}

/// Ends a child of ours: politely, then not.
pub(super) async fn end(child: &mut Child) {
    if let Some(pid) = child
        .id()
        .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()))
    {
        // Not reaped yet, so the pid is still this child's.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(END_MAX, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
