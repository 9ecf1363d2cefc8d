//! The life of one job: held, running, ending, ended.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use forebay_wire::{Timestamp, api::Exit};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal as Sig, kill_process_group};
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::{READY, Shim, ShimError, processes, system, tell};
use crate::local::record::{CANCEL, DOORBELL, RELEASE, Record, Started, Status};

/// How long a job has to clean up between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// Longer than this even SIGKILL may take only if the kernel itself hangs.
const KILL: Duration = Duration::from_secs(10);
/// How long writing the status is tried.
const LEAVE: Duration = Duration::from_secs(3600);
/// How often the record is looked at although nobody rang.
const LOOK: Duration = Duration::from_secs(1);
/// The same where there is no doorbell.
const LOOK_OFTEN: Duration = Duration::from_millis(100);

/// Why a job is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Cancelled,
    TimedOut,
    /// The shim itself got SIGTERM: the host goes down, or the user wants it so.
    Asked,
}

/// What a shim waits for.
struct Ears {
    doorbell: Option<pipe::Receiver>,
    terminate: Signal,
    child: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Rung, or time to look anyway.
    Look,
    Terminate,
    Child,
}

impl Ears {
    fn open(record: &Record) -> std::io::Result<Self> {
        // Ignored without a name for it: the session has no terminal that could hang up.
        let _hang_up = signal(SignalKind::hangup())?;
        let _interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            doorbell: doorbell(record),
            terminate: signal(SignalKind::terminate())?,
            child: signal(SignalKind::child())?,
        })
    }

    async fn hear(&mut self) -> Heard {
        let pause = if self.doorbell.is_some() {
            LOOK
        } else {
            LOOK_OFTEN
        };
        let rung = async {
            match &self.doorbell {
                Some(doorbell) => {
                    // Emptied, whatever it says and however often it was rung.
                    if doorbell.readable().await.is_err()
                        || doorbell.try_read(&mut [0; 64]).is_err()
                    {
                        tokio::time::sleep(LOOK_OFTEN).await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = rung => Heard::Look,
            _ = self.terminate.recv() => Heard::Terminate,
            _ = self.child.recv() => Heard::Child,
            () = tokio::time::sleep(pause) => Heard::Look,
        }
    }
}

fn doorbell(record: &Record) -> Option<pipe::Receiver> {
    // Open for writing as well: otherwise it reads as ended whenever nobody else has it open.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd: OwnedFd = rustix::fs::openat(&record.dir, DOORBELL, flags, Mode::empty()).ok()?;
    pipe::Receiver::from_owned_fd(fd).ok()
}

/// Holds, runs and ends the job, and leaves its status.
pub(super) async fn live(shim: Shim) -> Result<(), ShimError> {
    let mut ears = Ears::open(&shim.record).map_err(|source| ShimError::System {
        what: "listen to signals",
        source,
    })?;
    ready()?;
    let status = match hold(&shim.record, &mut ears).await {
        Some(why) => Status {
            started_at: None,
            ended_at: Timestamp::now(),
            exit: Exit {
                code: 0,
                signal: Some(Sig::TERM.as_raw()),
            },
            timed_out: false,
            cancelled: why == Why::Cancelled,
        },
        None => run(&shim, &mut ears).await?,
    };
    // The lock goes with the process, after this.
    leave(&shim.record, &status).await
}

/// Writes how it ended. A full disk or quota may pass, and without a status the job is lost.
async fn leave(record: &Record, status: &Status) -> Result<(), ShimError> {
    let give_up = Instant::now() + LEAVE;
    loop {
        match record.write_status(status) {
            Ok(()) => return Ok(()),
            Err(error) if !record.is_there() || Instant::now() >= give_up => {
                return Err(error.into());
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Tells the user-agent, and lets go of the pipe to it.
fn ready() -> Result<(), ShimError> {
    let said = rustix::io::write(std::io::stdout(), format!("{READY}\n").as_bytes());
    // The user-agent may have died meanwhile: the job is held all the same.
    let _ = said;
    let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let null = null.map_err(|errno| system("open /dev/null", errno))?;
    rustix::stdio::dup2_stdout(null).map_err(|errno| system("let go of standard output", errno))
}

/// Waits for the release; or says why there will be none.
async fn hold(record: &Record, ears: &mut Ears) -> Option<Why> {
    loop {
        if record.dir.has(CANCEL) {
            return Some(Why::Cancelled);
        }
        if record.dir.has(RELEASE) {
            return None;
        }
        // Without its record nobody can find, release or cancel it.
        if ears.hear().await == Heard::Terminate || !record.is_there() {
            return Some(Why::Asked);
        }
    }
}

async fn run(shim: &Shim, ears: &mut Ears) -> Result<Status, ShimError> {
    let started_at = Timestamp::now();
    shim.record.write_started(&Started { started_at })?;
    let main = match start(shim) {
        Ok(main) => main,
        Err(error) => {
            // What a shell gives; shim.log has the reason, and the user sees a sentence.
            let _ = writeln!(&shim.stderr, "forebay: the job could not be started");
            tell(&error);
            return Ok(Status {
                started_at: Some(started_at),
                ended_at: Timestamp::now(),
                exit: Exit {
                    code: 126,
                    signal: None,
                },
                timed_out: false,
                cancelled: false,
            });
        }
    };
    let limit = shim.spec.time_limit_s.map(Duration::from_secs);
    // A limit beyond what the clock can count is no limit.
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut why = None;
    let mut kill_at: Option<Instant> = None;
    let exit = loop {
        let (ended, children) = processes::reap(main);
        if let Some(status) = ended {
            break exit_of(status.as_raw());
        }
        if !children {
            // It was collected by nobody we know; do not wait for ever.
            break Exit {
                code: 1,
                signal: None,
            };
        }
        if why.is_none() {
            why = if shim.record.dir.has(CANCEL) {
                Some(Why::Cancelled)
            } else if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                Some(Why::TimedOut)
            } else {
                None
            };
        }
        match (why, kill_at) {
            (Some(_), None) => {
                terminate(main);
                kill_at = Some(Instant::now() + GRACE);
            }
            (_, Some(at)) if Instant::now() >= at => {
                let _ = kill_process_group(main, Sig::KILL);
                processes::signal(Sig::KILL);
                kill_at = Some(Instant::now() + LOOK);
            }
            _ => {}
        }
        let next = kill_at.or(deadline);
        let heard = tokio::select! {
            heard = ears.hear() => heard,
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => Heard::Look,
        };
        if heard == Heard::Terminate && why.is_none() {
            why = Some(Why::Asked);
        }
    };
    end_rest(main, kill_at, ears).await;
    Ok(Status {
        started_at: Some(started_at),
        ended_at: Timestamp::now(),
        exit,
        timed_out: why == Some(Why::TimedOut),
        cancelled: why == Some(Why::Cancelled),
    })
}

/// Starts the script in a process group of its own, with this program as the step before it.
fn start(shim: &Shim) -> Result<Pid, ShimError> {
    let failed = |source| ShimError::System {
        what: "start the job",
        source,
    };
    let child = Command::new("/proc/self/exe")
        .arg0("forebay-user-agent")
        .arg("shim-exec")
        .arg("--script")
        .arg(&shim.spec.script)
        .arg("--directory")
        .arg(&shim.spec.directory)
        .arg("--parent")
        .arg(std::process::id().to_string())
        .env_clear()
        .envs(&shim.spec.environment)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(shim.stdout.try_clone().map_err(failed)?)
        .stderr(shim.stderr.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    // Collected by `reap`, with the orphans.
    Pid::from_raw(child.id().cast_signed()).ok_or(ShimError::NotStarted)
}

/// SIGTERM to the job's group and to what left it; stopped processes are let run to see it.
fn terminate(main: Pid) {
    for signal in [Sig::TERM, Sig::CONT] {
        let _ = kill_process_group(main, signal);
        let group = rustix::process::getpgid(Some(main)).ok();
        for pid in processes::descendants() {
            if group.is_none() || rustix::process::getpgid(Some(pid)).ok() != group {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

/// Ends what the script left behind, as a scheduler does: nothing of a job outlives it.
async fn end_rest(main: Pid, kill_at: Option<Instant>, ears: &mut Ears) {
    if processes::descendants().is_empty() {
        processes::reap(main);
        return;
    }
    // If the job was being ended, its time to clean up has begun already.
    let kill_at = kill_at.unwrap_or_else(|| {
        processes::signal(Sig::TERM);
        processes::signal(Sig::CONT);
        Instant::now() + GRACE
    });
    let give_up = kill_at + KILL;
    loop {
        let (_, children) = processes::reap(main);
        let now = Instant::now();
        if !children || now >= give_up {
            return;
        }
        let pause = if now >= kill_at {
            processes::signal(Sig::KILL);
            Duration::from_millis(20)
        } else {
            kill_at - now
        };
        let _ = tokio::time::timeout(pause, ears.hear()).await;
    }
}

/// As Slurm has it: code 0 with the signal, if a signal ended it.
fn exit_of(raw: i32) -> Exit {
    let status = std::process::ExitStatus::from_raw(raw);
    match status.signal() {
        Some(signal) => Exit {
            code: 0,
            signal: Some(signal),
        },
        None => Exit {
            code: status.code().unwrap_or(1),
            signal: None,
        },
    }
}
