//! Slurm's programs, run as a user.

use async_trait::async_trait;
use forebay_slurm::runner::{Command, Exit, Output, Runner, RunnerError};
use forebay_wire::ipc::Run;

use super::UserAgents;
use crate::accounts::Account;

/// Runs Slurm's programs through one account's user-agent.
#[derive(Clone, Debug)]
pub struct UserRunner {
    user_agents: UserAgents,
    account: Account,
}

impl UserRunner {
    /// As this account.
    pub fn new(user_agents: UserAgents, account: Account) -> Self {
        Self {
            user_agents,
            account,
        }
    }
}

#[async_trait]
impl Runner for UserRunner {
    async fn run(&self, command: Command) -> Result<Output, RunnerError> {
        let program = command.program;
        let run = Run {
            program: program.name().to_owned(),
            args: command.args,
            stdin: command
                .stdin
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            environment: command.env.into_iter().collect(),
            directory: command.dir.map(|dir| dir.to_string_lossy().into_owned()),
            deadline_ms: u64::try_from(command.deadline.as_millis()).unwrap_or(u64::MAX),
        };
        let ran = self
            .user_agents
            .run(&self.account, &run)
            .await
            .map_err(|error| {
                let what = forebay_service::logs::chain(&error);
                if error.certainly_did_nothing() {
                    RunnerError::Start {
                        program,
                        source: std::io::Error::other(what),
                    }
                } else {
                    RunnerError::Other { program, what }
                }
            })?;
        let exit = match (ran.code, ran.signal) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(0)),
        };
        Ok(Output {
            exit,
            stdout: ran.stdout.into_bytes(),
            stderr: ran.stderr.into_bytes(),
        })
    }
}
