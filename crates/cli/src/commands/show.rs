//! `forebay show`.

use std::fmt::Write as _;

use forebay_wire::{
    JobState, Timestamp,
    api::{EventKind, Job, JobEvent, JobTask, Page},
};
use serde_json::{Map, Value, json};

use super::{Context, jobs::elapsed, note_unread, resolve};
use crate::{
    args::ShowArgs,
    clock,
    console::Screen,
    failure::Failure,
    table::{Cell, Column, Table},
    text::plain,
    units::{duration, memory},
    view,
};

/// More events than this are a job that was requeued for days.
const EVENTS_MAX: usize = 2000;
/// Lines of a script that are shown.
const SCRIPT_LINES_MAX: usize = 40;
/// Failed tasks that are shown unasked.
const FAILED_TASKS_MAX: usize = 10;

/// Shows one job.
pub(super) async fn run(args: &ShowArgs, context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let id = resolve(args.job, &api).await?;
    let raw: Value = api.get(&format!("/api/v1/jobs/{id}")).await?;
    let events = api.events_so_far(id, EVENTS_MAX).await?;
    let is_array = raw.pointer("/status/tasks").is_some_and(Value::is_number);
    let tasks: Page<Value> = if is_array {
        api.pages(&format!("/api/v1/jobs/{id}/tasks"), &Vec::new(), usize::MAX)
            .await?
    } else {
        Page {
            items: Vec::new(),
            next: None,
        }
    };
    let console = &context.console;
    if args.json {
        return console.json(&json!({ "job": raw, "events": events.items, "tasks": tasks.items }));
    }
    let job: Job = api.read(raw.clone())?;
    let (events, unread_events) = view::read_items::<JobEvent>(&events);
    let (tasks, unread_tasks) = view::read_items::<JobTask>(&tasks);
    let now = Timestamp::now();
    let mut page = facts(&job, raw.get("spec"), now, console.screen);
    page.push_str(&timeline(&events));
    page.push_str(&task_list(&tasks, args.tasks, now, console.screen));
    page.push_str(&script(&job));
    console.out(page)?;
    note_unread(console, unread_events, "event");
    note_unread(console, unread_tasks, "task");
    Ok(())
}

/// All that is known, a line each. Resources and options are shown from the spec as it came, those
/// of a newer server too.
fn facts(job: &Job, raw_spec: Option<&Value>, now: Timestamp, screen: Screen) -> String {
    let mut page = String::new();
    let mut fact = |label: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{label:<12} {value}");
        }
    };
    let safe = |text: &str| plain(text).into_owned();
    let part = |name| raw_spec.and_then(|spec| spec.get(name)?.as_object());
    let moment = |at: Option<Timestamp>| at.map(|at| clock::both(at, now));
    let (spec, status) = (&job.spec, &job.status);
    let state = view::tint(status.state).paint(&view::state(job), screen);
    fact("Job", Some(job.id.to_string()));
    fact("Name", spec.name.as_deref().map(safe));
    fact("State", Some(state));
    fact("Reason", status.reason.as_deref().map(safe));
    fact("Exit", view::ending(job.status.exit));
    fact("Owner", Some(safe(&job.owner)));
    fact(
        "Cluster",
        Some(format!(
            "{} (site {})",
            safe(spec.cluster.as_str()),
            safe(job.site.as_str())
        )),
    );
    fact("Scheduler id", status.scheduler_id.as_deref().map(safe));
    fact("Nodes", status.nodes.as_deref().map(safe));
    fact(
        "Run",
        (status.run > 0).then(|| format!("{} (requeued)", status.run)),
    );
    fact("Handed in", moment(Some(job.created_at)));
    fact("Accepted", moment(status.submitted_at));
    fact("Started", moment(status.started_at));
    fact("Cancel asked", moment(status.cancel_wanted_at));
    fact("Ended", moment(status.ended_at));
    fact("Elapsed", elapsed(status, now));
    fact(
        "Command",
        spec.command
            .as_deref()
            .map(|command| safe(&shell_words(command))),
    );
    fact("Resources", Some(resources(part("resources"))));
    fact("Time limit", spec.time_limit_s.map(duration::print));
    fact("Directory", spec.directory.as_deref().map(safe));
    fact("Slurm", Some(options(part("slurm"))));
    fact("Tasks", status.tasks.map(|tasks| tasks.to_string()));
    fact("Output", status.stdout_path.as_deref().map(safe));
    fact("Errors", status.stderr_path.as_deref().map(safe));
    for (index, (name, value)) in spec.environment.iter().enumerate() {
        let label = if index == 0 { "Environment" } else { "" };
        fact(label, Some(safe(&format!("{name}={value}"))));
    }
    page
}

fn resources(resources: Option<&Map<String, Value>>) -> String {
    let one = |(name, value): (&String, &Value)| match (name.as_str(), value.as_u64()) {
        ("memory_mib", Some(mib)) => format!("memory {} a node", memory::print(mib)),
        _ => format!("{} {}", name.replace('_', " "), word(value)),
    };
    let words: Vec<_> = resources.into_iter().flatten().map(one).collect();
    plain(&words.join(", ")).into_owned()
}

/// Slurm's options as `sbatch` has them.
fn options(slurm: Option<&Map<String, Value>>) -> String {
    let mut words = Vec::new();
    for (name, value) in slurm.into_iter().flatten() {
        match (name.as_str(), value) {
            ("directives", Value::Array(directives)) => words.extend(directives.iter().map(word)),
            ("requeue", Value::Bool(false)) => words.push("--no-requeue".to_owned()),
            (_, Value::Bool(true)) => words.push(format!("--{}", name.replace('_', "-"))),
            (_, Value::Bool(false) | Value::Null) => {}
            _ => words.push(format!("--{}={}", name.replace('_', "-"), word(value))),
        }
    }
    plain(&words.join(" ")).into_owned()
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A command as a shell would have to be given it.
fn shell_words(command: &[String]) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-+=/.,:@%".contains(c);
    let quoted = |word: &String| {
        if !word.is_empty() && word.chars().all(bare) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

fn timeline(events: &[JobEvent]) -> String {
    let mut page = String::new();
    if !events.is_empty() {
        page.push_str("\nEvents\n");
    }
    for event in events {
        let what = match event.kind {
            EventKind::State { state } => state.to_string(),
            EventKind::CancelWanted => "cancel asked".to_owned(),
            EventKind::Freshness { freshness } => format!("freshness: {freshness}"),
        };
        let run = if event.run > 0 {
            format!(" (run {})", event.run)
        } else {
            String::new()
        };
        let why = event
            .message
            .as_deref()
            .map(|why| format!(": {}", plain(why)))
            .unwrap_or_default();
        let _ = writeln!(page, "  {}  {what}{run}{why}", clock::full(event.at));
    }
    page
}

/// How many tasks are in which state, and the tasks that failed, or all.
fn task_list(tasks: &[JobTask], all: bool, now: Timestamp, screen: Screen) -> String {
    if tasks.is_empty() {
        return String::new();
    }
    let number = |state: JobState| tasks.iter().filter(|task| task.state == state).count();
    let counts = JobState::ALL
        .iter()
        .map(|state| (state, number(*state)))
        .filter(|(_, n)| *n > 0);
    let counts: Vec<String> = counts.map(|(state, n)| format!("{n} {state}")).collect();
    let mut page = format!("\nTasks: {}\n", counts.join(", "));
    let failed = |task: &&JobTask| task.state.is_end() && task.state != JobState::Succeeded;
    let shown: Vec<&JobTask> = if all {
        tasks.iter().collect()
    } else {
        tasks.iter().filter(failed).take(FAILED_TASKS_MAX).collect()
    };
    if !shown.is_empty() {
        page.push_str(&task_table(&shown, now).render(screen));
    }
    if !all && tasks.len() > shown.len() {
        page.push_str("(all of them: --tasks)\n");
    }
    page
}

fn task_table(tasks: &[&JobTask], now: Timestamp) -> Table {
    let column = |title| Column {
        title,
        cut_to: None,
        expendable: 0,
    };
    let mut table =
        Table::new(&["TASK", "STATE", "ELAPSED", "EXIT", "SCHEDULER ID", "NODES"].map(column));
    for task in tasks {
        let until = if task.state.is_end() {
            task.ended_at
        } else {
            Some(now)
        };
        let span = task
            .started_at
            .zip(until)
            .map(|(from, to)| clock::between(from, to));
        table.row(vec![
            Cell::new(task.index.to_string()),
            Cell::new(task.state.to_string()).tint(view::tint(task.state)),
            Cell::new(span.unwrap_or_default()),
            Cell::new(view::ending(task.exit).unwrap_or_default()),
            Cell::new(task.scheduler_id.as_deref().unwrap_or_default()),
            Cell::new(task.nodes.as_deref().unwrap_or_default()),
        ]);
    }
    table
}

fn script(job: &Job) -> String {
    let Some(script) = &job.spec.script else {
        return String::new();
    };
    let mut page = "\nScript\n".to_owned();
    for line in script.lines().take(SCRIPT_LINES_MAX) {
        let _ = writeln!(page, "  {}", plain(&line.replace('\t', "    ")));
    }
    let more = script.lines().count().saturating_sub(SCRIPT_LINES_MAX);
    if more > 0 {
        let _ = writeln!(page, "  … {more} more lines; --json has them");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let words = ["/bin/echo", "a b", "it's", "", "$HOME", "x=1"].map(str::to_owned);
        assert_eq!(
            shell_words(&words),
            r"/bin/echo 'a b' 'it'\''s' '' '$HOME' x=1"
        );
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_job_in_full() {
        let raw = json!({
            "id": "j01jdzz2v8nf3tbw0q5c7m9xk4e", "rev": 7, "created_at": "2026-03-01T11:55:00Z", "owner": "ada", "site": "home",
            "spec": {
                "cluster": "hpc", "name": "bench\u{1b}[2J", "script": "#!/bin/sh\n#SBATCH -n 2\n\techo \u{7}hi\n",
                "resources": {"nodes": 2, "tasks": 8, "cpus_per_task": 4, "memory_mib": 4096, "gpus": 1},
                "time_limit_s": 5400, "directory": "run", "environment": {"A": "b\nc", "D": ""},
                "output": {"stdout": "out"}, "slurm": {"partition": "short", "directives": ["-x n3"]},
            },
            "status": {
                "state": "failed", "freshness": "live", "run": 1, "reason": "Its program ended with exit code 3.",
                "scheduler_id": "4711", "submitted_at": "2026-03-01T11:55:01Z", "started_at": "2026-03-01T11:56:00Z",
                "ended_at": "2026-03-01T11:56:05Z", "exit": {"code": 3}, "nodes": "n[1-2]",
                "stdout_path": "/home/ada/run/out", "stderr_path": "/home/ada/run/out",
            },
        });
        let job: Job = serde_json::from_value(raw.clone()).expect("a job");
        let events: Vec<JobEvent> = serde_json::from_value(json!([
            {"seq": 1, "at": "2026-03-01T11:55:00Z", "run": 0, "kind": "state", "state": "queued"},
            {"seq": 2, "at": "2026-03-01T11:55:02Z", "run": 0, "kind": "freshness", "freshness": "stale"},
            {"seq": 3, "at": "2026-03-01T11:56:05Z", "run": 1, "kind": "state", "state": "failed", "message": "bad\u{7}"},
        ]))
        .expect("events");
        let screen = Screen::default();
        insta::assert_snapshot!(format!(
            "{}{}{}",
            facts(&job, raw.get("spec"), now(), screen),
            timeline(&events),
            script(&job)
        ));
    }

    #[test]
    fn tasks_are_counted_and_failures_listed() {
        let tasks: Vec<JobTask> = serde_json::from_value(json!([
            {"index": 0, "state": "succeeded", "exit": {"code": 0}, "scheduler_id": "4711_0"},
            {"index": 1, "state": "failed", "exit": {"code": 2}, "scheduler_id": "4711_1", "nodes": "n1",
             "started_at": "2026-03-01T11:56:00Z", "ended_at": "2026-03-01T11:57:00Z"},
            {"index": 2, "state": "running", "started_at": "2026-03-01T11:59:00Z"},
        ]))
        .expect("tasks");
        let list = |all| task_list(&tasks, all, now(), Screen::default());
        insta::assert_snapshot!(format!("{}{}", list(false), list(true)));
    }

    #[test]
    fn options_read_as_for_sbatch() {
        let slurm = json!({
            "partition": "short", "exclusive": true, "requeue": false, "nice": 5,
            "mail_type": "END", "directives": ["-x n3", "--foo"], "future": {"a": 1},
        });
        assert_eq!(
            options(slurm.as_object()),
            "-x n3 --foo --exclusive --future={\"a\":1} --mail-type=END --nice=5 --partition=short --no-requeue"
        );
    }
}
