//! What there is to use, once everything runs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::scheduler::Running;
use super::{Stack, progress};
use crate::programs;
use crate::site::{CLUSTER, Scheduler, Site};

/// One process.
struct Row {
    name: String,
    pid: i32,
    place: String,
    log: PathBuf,
}

/// Prints it, on standard error like all that is not a job's output.
pub(super) fn print(stack: &Stack) {
    progress::line(&text(stack));
}

fn text(stack: &Stack) -> String {
    let site = &stack.site;
    let mut text = String::from("\nServices\n");
    table(&rows(stack), &mut text);
    // Writing to a string cannot fail.
    let _ = page(stack, &mut text);
    let _ = users(stack, &mut text);
    let _ = more(site, &mut text);
    text
}

fn rows(stack: &Stack) -> Vec<Row> {
    let site = &stack.site;
    let log = |name: &str| site.log_file(name);
    let mut rows = Vec::new();
    for (name, pid) in site.processes() {
        let place = match name {
            "postgres" => site.socket_dir().display().to_string(),
            "agent" => format!("http://{} (health, metrics)", site.agent_address()),
            "realtime" => format!("http://{} (feeds)", site.realtime_address(0)),
            _ => site.api_url(),
        };
        rows.push(Row {
            name: name.to_owned(),
            pid,
            place,
            log: log(name),
        });
    }
    for (pid, uid) in site.user_agents() {
        let user = stack.users.iter().find(|user| user.uid == uid);
        let user = user.map_or_else(|| uid.to_string(), |user| user.name.clone());
        rows.push(Row {
            name: format!("user-agent of {user}"),
            pid,
            place: site
                .dir()
                .join(format!("run/users/{uid}/http.sock"))
                .display()
                .to_string(),
            log: log(&format!("user-agent-{uid}")),
        });
    }
    if let Running::Slurm(slurm) = &stack.scheduler {
        for (name, pid) in slurm.processes() {
            let log = slurm.daemon(&name).map(|daemon| daemon.log().to_owned());
            rows.push(Row {
                name,
                pid,
                place: String::new(),
                log: log.unwrap_or_default(),
            });
        }
    }
    rows
}

fn table(rows: &[Row], text: &mut String) {
    let width = |cell: fn(&Row) -> usize| rows.iter().map(cell).max().unwrap_or(0);
    let (name, place) = (width(|row| row.name.len()), width(|row| row.place.len()));
    for row in rows {
        let _ = writeln!(
            text,
            "  {:<name$}  pid {:<7}  {:<place$}  {}",
            row.name,
            row.pid,
            row.place,
            row.log.display()
        );
    }
}

fn page(stack: &Stack, text: &mut String) -> std::fmt::Result {
    let site = &stack.site;
    writeln!(text, "\nThe page")?;
    if site.options().ui_dir.is_none() {
        return writeln!(text, "  is not built: cargo xtask ui");
    }
    writeln!(text, "  {}/", site.api_url())?;
    if let Some(user) = stack.users.first() {
        let token = token_file(site, &user.name);
        writeln!(text, "  sign in with the token in {}", token.display())?;
    }
    Ok(())
}

fn users(stack: &Stack, text: &mut String) -> std::fmt::Result {
    let site = &stack.site;
    let bin = programs::path("forebay").unwrap_or_else(|_| PathBuf::from("forebay"));
    for user in &stack.users {
        let token = token_file(site, &user.name);
        writeln!(text, "\nAs {} (jobs run as this account)", user.name)?;
        writeln!(text, "  export FOREBAY_URL={}", site.api_url())?;
        writeln!(text, "  export FOREBAY_TOKEN_FILE={}", token.display())?;
        writeln!(text, "  {} submit --follow -- id", bin.display())?;
    }
    writeln!(text, "\nOver HTTP")?;
    if let Some(user) = stack.users.first() {
        let token = token_file(site, &user.name);
        writeln!(
            text,
            "  curl -H \"Authorization: Bearer $(cat {})\" {}/api/v1/jobs",
            token.display(),
            site.api_url()
        )?;
    }
    writeln!(text, "  curl {}/api/v1/openapi.json", site.api_url())?;
    if let Some(user) = stack.users.first() {
        writeln!(text, "\nWhat changes, as it changes")?;
        writeln!(
            text,
            "  curl -N -H \"Authorization: Bearer $(cat {})\" 'http://{}/rt/v1/events?topic=jobs'",
            token_file(site, &user.name).display(),
            site.realtime_address(0)
        )?;
    }
    Ok(())
}

/// A copy of a user's token that is ours: the command refuses a file of somebody else's, and
/// root's are closed to the user.
fn token_file(site: &Site, user: &str) -> PathBuf {
    let theirs = site.token_file(user);
    if !rustix::process::geteuid().is_root() {
        return theirs;
    }
    let ours = site.dir().join("tokens").join(format!("{user}.root"));
    let copy = || -> std::io::Result<()> {
        let token = std::fs::read(&theirs)?;
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&ours) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            file => file?.write_all(&token),
        }
    };
    match copy() {
        Ok(()) => ours,
        Err(_) => theirs,
    }
}

fn more(site: &Site, text: &mut String) -> std::fmt::Result {
    let dir = site.socket_dir();
    writeln!(text, "\nDatabases")?;
    writeln!(text, "  psql -h {} -U forebay forebay", dir.display())?;
    writeln!(
        text,
        "  psql -h {} -U forebay_site forebay_site",
        dir.display()
    )?;
    writeln!(text, "\nThe cluster {CLUSTER}")?;
    match &site.options().scheduler {
        Scheduler::Slurm { conf } => {
            writeln!(
                text,
                "  export SLURM_CONF={}    then sinfo, squeue, sacct",
                conf.display()
            )?;
        }
        Scheduler::Local { slots } => {
            writeln!(text, "  plain processes on this host, {slots} at once")?;
        }
    }
    writeln!(text, "\nDebugging")?;
    writeln!(
        text,
        "  gdb -p PID                       attach to any process above"
    )?;
    writeln!(
        text,
        "  cargo xtask up --log debug       log more; --log forebay_agent=trace,info for one of them"
    )?;
    writeln!(
        text,
        "  configuration                    {}",
        site.dir().join("etc").display()
    )?;
    write!(text, "\nCtrl-C ends all of this.")
}
