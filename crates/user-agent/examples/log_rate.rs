//! How fast a log of 1 GB comes through the socket, beside `cat` into a socket.
//!
//! ```console
//! $ cargo build --profile bench -p forebay-user-agent --bins --example log_rate
//! $ target/release/examples/log_rate
//! ```

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forebay_testbed::guard::Guard;
use forebay_testbed::process::{self, Daemon, User};
use forebay_testbed::{accounts, programs};

const SIZE: u64 = 1 << 30;
const ROUNDS: usize = 3;

#[tokio::main]
#[allow(clippy::print_stdout, reason = "it is for people")]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = rustix::process::geteuid().is_root();
    let account = if root {
        accounts::test_account(1)?
    } else {
        accounts::current()?
    };
    let guard = Guard::with_dir("log-rate")?;
    let run = guard.dir().join("run");
    std::fs::create_dir(&run)?;
    std::os::unix::fs::chown(&run, Some(account.uid), Some(account.gid))?;
    let log = run.join("log");
    write(&log)?;

    let socket = run.join("http.sock");
    let own = rustix::process::getuid().as_raw().to_string();
    let mut command = process::Command::new(
        programs::path("forebay-user-agent")?,
        guard.dir().join("user-agent.log"),
    )
    .args(["serve", "--agent-uid", &own, "--socket"])
    .arg(socket.to_string_lossy());
    if root {
        command = command.user(User::of(&account)?);
    }
    let daemon = Daemon::start(&guard, command).await?;
    daemon
        .wait_ready(Duration::from_secs(10), || async {
            UnixStream::connect(&socket).is_ok()
        })
        .await?;

    for _ in 0..ROUNDS {
        let (cat, log_call) = (cat(&log)?, call(&socket, &log)?);
        println!(
            "cat into a socket {cat:7.0} MB/s   GET /v1/log {log_call:7.0} MB/s   {:.2}",
            log_call / cat
        );
    }
    let memory = daemon.memory().map_or(0, |memory| memory.rss);
    println!("resident afterwards: {} KiB", memory / 1024);
    Ok(())
}

/// Real blocks: a sparse file would be read from nowhere.
fn write(path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    let block: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    for _ in 0..SIZE / (1 << 20) {
        file.write_all(&block)?;
    }
    Ok(())
}

fn cat(path: &Path) -> Result<f64, Box<dyn Error>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let begun = Instant::now();
    let mut command = Command::new("cat");
    command
        .arg(path)
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(theirs));
    let mut child = command.spawn()?;
    // The other end, or there would be no end of the stream.
    drop(command);
    let length = drain(&mut ours, u64::MAX)?;
    child.wait()?;
    rate(length, begun)
}

fn call(socket: &Path, log: &Path) -> Result<f64, Box<dyn Error>> {
    let mut stream = UnixStream::connect(socket)?;
    let begun = Instant::now();
    let path = log.to_string_lossy();
    write!(
        stream,
        "GET /v1/log?path={path} HTTP/1.1\r\nhost: x\r\nrange: bytes=0-\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if !head.starts_with(b"HTTP/1.1 206") {
        return Err(String::from_utf8_lossy(&head).into());
    }
    rate(drain(&mut stream, SIZE)?, begun)
}

fn drain(stream: &mut UnixStream, most: u64) -> std::io::Result<u64> {
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    while length < most {
        match stream.read(&mut buffer)? {
            0 => break,
            read => length += read as u64,
        }
    }
    Ok(length)
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(length: u64, begun: Instant) -> Result<f64, Box<dyn Error>> {
    if length != SIZE {
        return Err(format!("{length} bytes instead of {SIZE}").into());
    }
    Ok(length as f64 / 1e6 / begun.elapsed().as_secs_f64())
}
