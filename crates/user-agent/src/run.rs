//! The scheduler's programs, with the user's own identity.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_slurm::runner::{
    Command, Config, Exit, LocalRunner, Output, Program, Runner as _, RunnerError,
};
use forebay_wire::{
    Code, Problem,
    ipc::{Ran, Run},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::account::Account;
use crate::environment;
use crate::local::check_path;

/// The only programs there are here.
const PROGRAMS: [Program; 6] = [
    Program::Sbatch,
    Program::Squeue,
    Program::Sacct,
    Program::Scancel,
    Program::Scontrol,
    Program::Sinfo,
];
/// The longest deadline a call may set.
pub const DEADLINE_MAX: Duration = Duration::from_secs(600);
/// Beyond the deadline: for a working directory on a file system that hangs.
const LEEWAY: Duration = Duration::from_secs(5);
/// What a program may print.
const STDOUT_BYTES: usize = 16 << 20;
/// What is kept of its complaints.
const STDERR_BYTES: usize = 1 << 20;
/// The kernel's limit for one argument.
const ARGUMENT_BYTES: usize = 128 * 1024 - 1;
/// The kernel's limit for all of them is a quarter of the stack, 2 MiB, the environment included.
const ARGUMENTS_BYTES: usize = 512 * 1024;

/// Where the programs are, and how many run.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The directory with the programs; `None` looks through the search path.
    pub bin_dir: Option<PathBuf>,
    /// `SLURM_CONF`; `None` is Slurm's own default.
    pub slurm_conf: Option<PathBuf>,
    /// How many may run at once. Default 16.
    pub running: usize,
    /// How many more may wait for their turn. Default 64.
    pub waiting: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            bin_dir: None,
            slurm_conf: None,
            running: 16,
            waiting: 64,
        }
    }
}

/// Runs them, some at once.
#[derive(Debug)]
pub struct Programs {
    runner: LocalRunner,
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Programs {
    /// For one account.
    pub fn new(config: RunConfig, account: &Account) -> Self {
        let mut env = environment::base(account, config.slurm_conf.as_deref());
        let path = env.remove("PATH").unwrap_or_default();
        let runner = LocalRunner::new(Config {
            bin_dir: config.bin_dir,
            path,
            slurm_conf: config.slurm_conf,
            env: env.into_iter().collect(),
            dir: account.home.clone(),
            stdout_bytes_max: STDOUT_BYTES,
            stderr_bytes_max: STDERR_BYTES,
        });
        let running = Arc::new(Semaphore::new(config.running));
        Self {
            runner,
            running,
            waiting: Semaphore::new(config.waiting),
        }
    }

    /// Runs one to its end. That it ran and failed is an answer; a problem means there is none:
    ///
    /// - `busy`, `invalid`, `forbidden`, `unavailable`: it certainly never ran;
    /// - `deadline`, `too_large`, `scheduler_error`: it was ended, and what it was asked to do may
    ///   have happened.
    ///
    /// It goes on to its end when the future is dropped: whoever asked may be gone, but what it
    /// does shall not be cut in the middle.
    pub async fn run(&self, asked: Run) -> Result<Ran, Problem> {
        let command = command(asked)?;
        let (deadline, program) = (command.deadline, command.program);
        let turn = self.turn(deadline).await?;
        let (runner, handle) = (self.runner.clone(), tokio::runtime::Handle::current());
        // Starting a process waits for its `chdir`, which may hang: not on a thread that serves.
        let work = tokio::task::spawn_blocking(move || {
            let result = handle.block_on(runner.run(command));
            drop(turn);
            result
        });
        match tokio::time::timeout(deadline + LEEWAY, work).await {
            Ok(Ok(Ok(output))) => Ok(ran(output)),
            Ok(Ok(Err(error))) => Err(of_runner(&error)),
            Ok(Err(error)) => {
                tracing::error!(%error, %program, "running a program failed unexpectedly");
                Err(Problem::new(
                    Code::Internal,
                    "This call failed unexpectedly; the log says more.",
                ))
            }
            Err(_) => Err(Problem::new(
                Code::Deadline,
                format!(
                    "{program} did not end in time, and its start seems to hang; is your home directory reachable?"
                ),
            )),
        }
    }

    async fn turn(&self, deadline: Duration) -> Result<OwnedSemaphorePermit, Problem> {
        let busy = |what: &str| {
            Problem::new(
                Code::Busy,
                format!("Too many of the scheduler's programs {what}."),
            )
        };
        let running = Arc::clone(&self.running);
        if let Ok(turn) = Arc::clone(&running).try_acquire_owned() {
            return Ok(turn);
        }
        let _place = self
            .waiting
            .try_acquire()
            .map_err(|_| busy("wait already"))?;
        match tokio::time::timeout(deadline, running.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(busy("run already, and none ended in time")),
        }
    }
}

fn command(asked: Run) -> Result<Command, Problem> {
    let Run {
        program,
        args,
        stdin,
        environment,
        directory,
        deadline_ms,
    } = asked;
    let Some(program) = PROGRAMS.into_iter().find(|known| known.name() == program) else {
        return Err(Problem::new(
            Code::Forbidden,
            "Only sbatch, squeue, sacct, scancel, scontrol and sinfo are run here.",
        ));
    };
    if args
        .iter()
        .any(|arg| arg.contains('\0') || arg.len() > ARGUMENT_BYTES)
    {
        return Err(Problem::invalid(
            "args",
            "An argument has no NUL byte and at most 128 KiB.",
        ));
    }
    if args.iter().map(|arg| arg.len() + 1).sum::<usize>() > ARGUMENTS_BYTES {
        return Err(Problem::invalid(
            "args",
            "All arguments together may have 512 KiB at most.",
        ));
    }
    environment::check(&environment)?;
    let deadline = Duration::from_millis(deadline_ms);
    if deadline.is_zero() || deadline > DEADLINE_MAX {
        return Err(Problem::invalid(
            "deadline_ms",
            "A deadline is between 1 and 600000 milliseconds.",
        ));
    }
    Ok(Command {
        program,
        args,
        stdin: stdin.map(String::into_bytes),
        env: environment.into_iter().collect(),
        dir: directory
            .map(|directory| check_path("directory", &directory))
            .transpose()?,
        deadline,
    })
}

fn ran(output: Output) -> Ran {
    let (code, signal) = match output.exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code,
        signal,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn of_runner(error: &RunnerError) -> Problem {
    let said = forebay_service::logs::chain(error);
    let code = match error {
        RunnerError::Dir { .. } => return Problem::invalid("directory", format!("{said}.")),
        RunnerError::NotFound { .. } | RunnerError::Start { .. } => Code::Unavailable,
        RunnerError::Deadline { .. } => Code::Deadline,
        RunnerError::TooLarge { .. } => Code::TooLarge,
        _ => Code::SchedulerError,
    };
    Problem::new(code, format!("{said}."))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn asked(program: &str) -> Run {
        Run {
            program: program.to_owned(),
            args: Vec::new(),
            stdin: None,
            environment: BTreeMap::new(),
            directory: None,
            deadline_ms: 1000,
        }
    }

    #[test]
    fn only_the_six() {
        for program in ["sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"] {
            assert_eq!(command(asked(program)).unwrap().program.name(), program);
        }
        for program in [
            "",
            "sh",
            "/bin/sh",
            "../sbatch",
            "/usr/bin/sbatch",
            "sbatch ",
            "SBATCH",
            "srun",
            "salloc",
        ] {
            assert_eq!(
                command(asked(program)).unwrap_err().code,
                Code::Forbidden,
                "{program:?}"
            );
        }
    }

    #[test]
    fn what_no_process_could_get_is_refused_by_field() {
        let field = |run: Run| command(run).unwrap_err().details[0].field.clone();
        let good = || asked("squeue");
        assert_eq!(
            field(Run {
                args: vec!["a\0b".into()],
                ..good()
            }),
            "args"
        );
        assert_eq!(
            field(Run {
                args: vec!["x".repeat(128 * 1024)],
                ..good()
            }),
            "args"
        );
        assert_eq!(
            field(Run {
                args: vec!["x".repeat(100_000); 6],
                ..good()
            }),
            "args"
        );
        assert_eq!(
            field(Run {
                deadline_ms: 0,
                ..good()
            }),
            "deadline_ms"
        );
        assert_eq!(
            field(Run {
                deadline_ms: u64::MAX,
                ..good()
            }),
            "deadline_ms"
        );
        assert_eq!(
            field(Run {
                directory: Some("here".into()),
                ..good()
            }),
            "directory"
        );
        assert_eq!(
            field(Run {
                environment: BTreeMap::from([("A=".into(), String::new())]),
                ..good()
            }),
            "environment.A="
        );
    }
}
