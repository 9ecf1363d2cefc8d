//! Slurm's programs as child processes on this host.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::timeout;

use super::{Command, Exit, Output, Program, Runner, RunnerError};

/// Where the programs are and what they get. The environment is built from this alone: nothing
/// is inherited from the calling process.
#[derive(Clone, Debug)]
pub struct Config {
    /// The directory with Slurm's programs; `None` looks through `path`.
    pub bin_dir: Option<PathBuf>,
    /// Directories to look through, and the programs' `PATH`, with colons between.
    pub path: String,
    /// `SLURM_CONF`; `None` is Slurm's own default.
    pub slurm_conf: Option<PathBuf>,
    /// More variables, such as `HOME` and `USER`. `sbatch` hands its environment on to jobs.
    pub env: Vec<(String, String)>,
    /// Where programs run when the command names no directory.
    pub dir: PathBuf,
    /// How much a program may print, in bytes.
    pub stdout_bytes_max: usize,
    /// How much of its error output is kept, in bytes; the rest is read and dropped.
    pub stderr_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bin_dir: None,
            path: "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin".to_owned(),
            slurm_conf: None,
            env: Vec::new(),
            dir: PathBuf::from("/"),
            stdout_bytes_max: 64 << 20,
            stderr_bytes_max: 64 << 10,
        }
    }
}

/// Runs Slurm's programs as child processes, each the leader of its own process group, which is
/// killed as a whole at the deadline, when too much is printed, and when the future is dropped.
#[derive(Clone, Debug)]
pub struct LocalRunner {
    config: Config,
}

impl LocalRunner {
    /// A runner with this configuration.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Where that program is, if it is.
    pub fn locate(&self, program: Program) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| {
            use std::os::unix::fs::PermissionsExt;
            path.metadata()
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        };
        match &self.config.bin_dir {
            Some(dir) => Some(dir.join(program.name())).filter(is_program),
            None => self
                .config
                .path
                .split(':')
                .filter(|dir| !dir.is_empty())
                .map(|dir| Path::new(dir).join(program.name()))
                .find(is_program),
        }
    }

    fn start(&self, command: &Command) -> Result<Child, RunnerError> {
        let program = command.program;
        let file = self.locate(program).ok_or_else(|| RunnerError::NotFound {
            program,
            looked_in: match &self.config.bin_dir {
                Some(dir) => dir.display().to_string(),
                None => self.config.path.clone(),
            },
        })?;
        let dir = command.dir.as_ref().unwrap_or(&self.config.dir);
        // A missing directory would look like a missing program.
        std::fs::read_dir(dir)
            .map(drop)
            .or_else(|error| match error.kind() {
                // One may be entered without being listed.
                std::io::ErrorKind::PermissionDenied if dir.is_dir() => Ok(()),
                _ => Err(error),
            })
            .map_err(|source| RunnerError::Dir {
                dir: dir.display().to_string(),
                source,
            })?;
        let mut process = tokio::process::Command::new(file);
        process
            .args(&command.args)
            .env_clear()
            .env("PATH", &self.config.path)
            .envs(
                self.config
                    .slurm_conf
                    .as_ref()
                    .map(|conf| ("SLURM_CONF", conf)),
            )
            .envs(self.config.env.iter().map(|(name, value)| (name, value)))
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir(dir)
            .stdin(if command.stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        process
            .spawn()
            .map_err(|source| RunnerError::Start { program, source })
    }

    async fn talk(
        &self,
        child: &mut Child,
        stdin: Option<Vec<u8>>,
        program: Program,
    ) -> Result<Output, RunnerError> {
        let io = |source| RunnerError::Io { program, source };
        let (mut input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let (Some(pipe), Some(bytes)) = (input.as_mut(), stdin.as_ref()) {
                // A program that ends without reading all of it tells why by itself.
                let _ = pipe.write_all(bytes).await;
            }
            drop(input.take());
            Ok(())
        };
        let stdout = async {
            let (bytes, more) = read_bounded(output, self.config.stdout_bytes_max, false)
                .await
                .map_err(io)?;
            if more {
                return Err(RunnerError::TooLarge {
                    program,
                    bytes_max: self.config.stdout_bytes_max,
                });
            }
            Ok(bytes)
        };
        let stderr = async {
            read_bounded(errors, self.config.stderr_bytes_max, true)
                .await
                .map_err(io)
        };
        let ((), stdout, (stderr, _)) = tokio::try_join!(write, stdout, stderr)?;
        // Only now is the leader reaped. Until here its number, and with it the group's, cannot
        // belong to anybody else, so that killing the group is safe.
        let status = child.wait().await.map_err(io)?;
        let exit = match (
            status.code(),
            std::os::unix::process::ExitStatusExt::signal(&status),
        ) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(0)),
        };
        Ok(Output {
            exit,
            stdout,
            stderr,
        })
    }
}

/// Reads to the end and keeps `bytes_max`; returns whether there was more. Stops at the limit
/// unless told to drain.
async fn read_bounded(
    pipe: Option<impl AsyncRead + Unpin>,
    bytes_max: usize,
    drain: bool,
) -> std::io::Result<(Vec<u8>, bool)> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else {
        return Ok((kept, false));
    };
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    (&mut pipe).take(limit).read_to_end(&mut kept).await?;
    let more = kept.len() > bytes_max;
    kept.truncate(bytes_max);
    if more && drain {
        tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    }
    Ok((kept, more))
}

/// Kills a process group unless told that its leader has been reaped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        )
    }

    fn kill(&mut self) {
        if let Some(leader) = self.0.take() {
            // The only failure is that everybody has gone.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[async_trait]
impl Runner for LocalRunner {
    async fn run(&self, mut command: Command) -> Result<Output, RunnerError> {
        let started = Instant::now();
        let mut child = self.start(&command)?;
        // Declared after the child, so dropped before it: the leader is still unreaped then.
        let mut group = Group::of(&child);
        let program = command.program;
        let stdin = command.stdin.take();
        let result = timeout(command.deadline, self.talk(&mut child, stdin, program)).await;
        match result {
            Ok(Ok(output)) => {
                group.0 = None;
                tracing::debug!(%program, exit = %output.exit, ms = started.elapsed().as_millis(), "ran");
                Ok(output)
            }
            Ok(Err(error)) => {
                group.kill();
                Err(error)
            }
            Err(_) => {
                group.kill();
                tracing::warn!(%program, deadline = ?command.deadline, "killed at its deadline");
                Err(RunnerError::Deadline {
                    program,
                    deadline: command.deadline,
                })
            }
        }
    }
}
