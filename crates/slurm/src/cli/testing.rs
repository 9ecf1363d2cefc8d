//! A runner that answers from a list and keeps what it was asked.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::Cli;
use crate::runner::{Command, Exit, Output, Runner, RunnerError};

#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    inner: Arc<Mutex<(Vec<Output>, Vec<Command>)>>,
}

impl Answers {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn answer(self, exit: Exit, stdout: &str, stderr: &str) -> Self {
        let output = Output {
            exit,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        self.inner.lock().unwrap().0.push(output);
        self
    }

    pub(crate) fn asked(&self) -> Vec<Command> {
        self.inner.lock().unwrap().1.clone()
    }
}

#[async_trait]
impl Runner for Answers {
    async fn run(&self, command: Command) -> Result<Output, RunnerError> {
        let mut inner = self.inner.lock().unwrap();
        let program = command.program;
        inner.1.push(command);
        if inner.0.is_empty() {
            return Err(RunnerError::Other {
                program,
                what: "no answer is left".to_owned(),
            });
        }
        Ok(inner.0.remove(0))
    }
}

pub(crate) fn cli(answers: Answers) -> Cli {
    Cli::new(answers)
}
