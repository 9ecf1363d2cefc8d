//! A job's directory and the script in it.

use forebay_wire::{
    Code, JobId, Problem,
    ipc::{Prepare, Prepared},
};
use rustix::fs::Mode;

use crate::{account::Account, dir::Once, place::Place, problems};

/// The longest script, bytes. Slurm's own default limit is the same.
pub const SCRIPT_BYTES: usize = 4 * 1024 * 1024;

/// The script's name in the job's directory.
const SCRIPT: &str = "script";

/// Makes the directory and writes the script, whole or not at all. The same script again is a
/// no-op, another script for the same job a conflict.
pub fn prepare(
    account: &Account,
    place: &Place,
    job: JobId,
    asked: &Prepare,
) -> Result<Prepared, Problem> {
    check(&asked.script)?;
    let of_dir = |error| problems::of_dir(&error);
    let jobs = place.jobs().map_err(of_dir)?;
    let directory = jobs.make_private(&job.to_string()).map_err(of_dir)?;
    match directory
        .write_once(SCRIPT, Mode::RWXU, asked.script.as_bytes())
        .map_err(of_dir)?
    {
        Once::Written | Once::Same => Ok(Prepared {
            home: text("home directory", &account.home)?,
            script: text("job's directory", &directory.path().join(SCRIPT))?,
            directory: text("job's directory", directory.path())?,
        }),
        Once::Other => Err(Problem::new(
            Code::Conflict,
            "This job was prepared before with another script; that one stays.",
        )),
    }
}

fn check(script: &str) -> Result<(), Problem> {
    if script.len() > SCRIPT_BYTES {
        return Err(Problem::new(
            Code::TooLarge,
            "A script may have 4 MiB at most.",
        ));
    }
    if !script.starts_with("#!") {
        return Err(Problem::invalid(
            "script",
            "A script begins with a line such as #!/bin/bash.",
        ));
    }
    if script.contains('\0') {
        return Err(Problem::invalid(
            "script",
            "A script is text: it cannot hold a NUL byte.",
        ));
    }
    Ok(())
}

fn text(what: &str, path: &std::path::Path) -> Result<String, Problem> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Problem::new(
            Code::Conflict,
            format!("The path of your {what} is not UTF-8."),
        )
    })
}
