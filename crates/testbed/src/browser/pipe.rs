//! Chromium's own protocol over a pipe: JSON objects, each with a NUL behind it. With the pipe ends
//! the browser, however the test process comes to its end.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::Error;

/// How long one answer may take, on a busy machine.
const ANSWER: Duration = Duration::from_secs(60);
/// How long the browser has to end by itself.
const END: Duration = Duration::from_secs(10);

/// The browser's process and both directions of its pipe.
#[derive(Debug)]
pub(super) struct Pipe {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next: u64,
}

impl Pipe {
    /// Starts the browser with a profile of its own in `dir`.
    pub(super) fn start(program: &Path, dir: &Path) -> Result<Self, Error> {
        // The browser reads descriptor 3 and writes descriptor 4.
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"])
            .arg(program)
            .args([
                "--headless",
                "--remote-debugging-pipe",
                // Root may not use Chromium's own sandbox; the only page it sees is ours.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-default-browser-check",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--disable-default-apps",
                "--password-store=basic",
                "--force-color-profile=srgb",
                "--lang=en-US",
            ])
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .env("HOME", dir)
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(Error::Start)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(Error::Gone);
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
            next: 0,
        })
    }

    /// Calls a method; what the browser says meanwhile goes to `events`.
    pub(super) async fn call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: Value,
        events: &mut Vec<Value>,
    ) -> Result<Value, Error> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let exchange = async {
            self.input
                .write_all(&bytes)
                .await
                .map_err(|_| Error::Gone)?;
            loop {
                let message = self.read().await?;
                if message["id"] == id {
                    return Ok(message);
                }
                if message.get("method").is_some() {
                    events.push(message);
                }
            }
        };
        let answered = timeout(ANSWER, exchange).await;
        let mut answer = answered.map_err(|_| Error::Slow(method.to_owned()))??;
        match answer.get("error") {
            Some(error) => Err(Error::Said(format!("{method}: {error}"))),
            None => Ok(answer["result"].take()),
        }
    }

    async fn read(&mut self) -> Result<Value, Error> {
        let mut bytes = Vec::new();
        let read = self.output.read_until(0, &mut bytes).await;
        if read.map_err(|_| Error::Gone)? == 0 || bytes.pop() != Some(0) {
            return Err(Error::Gone);
        }
        serde_json::from_slice(&bytes).map_err(|error| Error::Said(error.to_string()))
    }

    /// Ends the browser in order; what does not end is killed, with all of its processes.
    pub(super) async fn close(mut self) {
        let mut ignored = Vec::new();
        let asked = self.call(None, "Browser.close", json!({}), &mut ignored);
        // Gone before it has answered is as good.
        let _ = timeout(END, asked).await;
        if timeout(END, self.child.wait()).await.is_err() {
            self.kill();
            let _ = self.child.wait().await;
        }
    }

    fn kill(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(rustix::process::Pid::from_raw) {
            // Gone meanwhile is as good.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.kill();
    }
}
