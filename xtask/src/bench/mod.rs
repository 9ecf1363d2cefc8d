//! `cargo xtask bench`: what compiling costs is measured here, everything else
//! by the testbed.

mod compile;
pub(crate) mod wrapper;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Args;
use crate::build::{Env, build};
use crate::handover::{PROGRAMS, become_testbed};

pub(crate) fn command(args: Args) -> Result<ExitCode> {
    let mut words = args.all();
    let json = words.iter().any(|word| word == "--json");
    let name = words.iter().find(|word| !word.starts_with('-')).cloned();
    if name.as_deref() == Some("build") {
        words.retain(|word| word != "build" && word != "--json");
        Args::new(words).finish()?;
        let reached = compile::run(json)?;
        return Ok(if reached {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let all = name.is_none();
    eprintln!("building the services optimised, as they are measured (profile `bench`)");
    let built = build(
        &[PROGRAMS.as_slice(), &["--profile=bench"]].concat(),
        &Env::new(),
    )?;
    if all && !compile::run(json)? {
        eprintln!("compiling costs more than it should; going on");
    }
    become_testbed(&built, "bench", words)
}
