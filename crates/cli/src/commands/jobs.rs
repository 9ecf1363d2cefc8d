//! `forebay jobs`.

use forebay_wire::{
    Timestamp,
    api::{Job, JobStatus, Page},
};
use serde_json::Value;

use super::{Context, note_unread};
use crate::{
    api::Parameters,
    args::JobsArgs,
    clock,
    console::Screen,
    failure::Failure,
    table::{Cell, Column, Table, Tint},
    view,
};

/// Lists jobs.
pub(super) async fn run(args: &JobsArgs, context: &Context) -> Result<(), Failure> {
    let api = context.api()?;
    let limit = if args.all_pages {
        usize::MAX
    } else {
        usize::try_from(args.limit).unwrap_or(usize::MAX)
    };
    let page: Page<Value> = api.pages("/api/v1/jobs", &filters(args), limit).await?;
    if args.json {
        return context.console.json(&page);
    }
    let (jobs, unread) = view::read_items::<Job>(&page);
    let console = &context.console;
    if jobs.is_empty() && unread == 0 {
        let filtered = !args.state.is_empty() || args.cluster.is_some() || args.name.is_some();
        console.note(if filtered {
            "no job matches"
        } else {
            "you have no job yet; try: forebay submit -- hostname"
        });
    } else {
        console.out(render(&jobs, Timestamp::now(), console.screen))?;
    }
    note_unread(console, unread, "job");
    if page.next.is_some() {
        console.note(&format!(
            "these are the first {limit}; for more: --limit N or --all-pages"
        ));
    }
    Ok(())
}

fn filters(args: &JobsArgs) -> Parameters {
    let mut states: Vec<&str> = Vec::new();
    for state in args.state.iter().flat_map(|filter| filter.states()) {
        if !states.contains(&state.as_str()) {
            states.push(state.as_str());
        }
    }
    let mut filters = vec![("sort", args.sort.as_str().to_owned())];
    if !states.is_empty() {
        filters.push(("state", states.join(",")));
    }
    filters.extend(
        args.cluster
            .as_ref()
            .map(|cluster| ("cluster", cluster.to_string())),
    );
    filters.extend(args.name.as_ref().map(|name| ("name", name.clone())));
    filters
}

const COLUMNS: [Column; 8] = [
    column("ID", None, 0),
    column("NAME", Some(8), 0),
    column("CLUSTER", None, 5),
    column("STATE", None, 0),
    column("SUBMITTED", None, 2),
    column("ELAPSED", None, 1),
    column("NODES/EXIT", Some(10), 3),
    column("REASON", Some(12), 4),
];

const fn column(title: &'static str, cut_to: Option<usize>, expendable: u8) -> Column {
    Column {
        title,
        cut_to,
        expendable,
    }
}

/// The table of jobs, as it is at `now`.
fn render(jobs: &[Job], now: Timestamp, screen: Screen) -> String {
    let mut table = Table::new(&COLUMNS);
    for job in jobs {
        let status = &job.status;
        table.row(vec![
            Cell::new(job.id.to_string()),
            Cell::new(view::title(job)),
            Cell::new(job.spec.cluster.as_str()),
            Cell::new(view::state(job)).tint(view::tint(status.state)),
            Cell::new(clock::ago(job.created_at, now)),
            Cell::new(elapsed(status, now).unwrap_or_default()),
            Cell::new(place(job)),
            Cell::new(status.reason.as_deref().unwrap_or_default()).tint(Tint::Faint),
        ]);
    }
    table.render(screen)
}

/// How long it ran, or has been running.
pub(super) fn elapsed(status: &JobStatus, now: Timestamp) -> Option<String> {
    let started = status.started_at?;
    // An end without its moment: better nothing than a clock that goes on.
    let until = if status.state.is_end() {
        status.ended_at?
    } else {
        now
    };
    Some(clock::between(started, until))
}

/// Where it runs, and after its end how it ended.
fn place(job: &Job) -> String {
    let nodes = job.status.nodes.clone();
    if job.status.state.is_end() {
        view::ending(job.status.exit).or(nodes)
    } else {
        nodes
    }
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::args::{Cli, Command};

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    fn job(number: u8, name: &str, status: Value) -> Job {
        let mut job = json!({
            "id": format!("j01jdzz2v8nf3tbw0q5c7m9xk{number:02}"), "rev": 1, "created_at": "2026-03-01T11:55:00Z",
            "owner": "ada", "site": "home", "spec": {"cluster": "hpc", "name": name},
            "status": {"state": "queued", "freshness": "live", "run": 0},
        });
        for (field, value) in status.as_object().expect("an object") {
            job["status"][field] = value.clone();
        }
        serde_json::from_value(job).expect("a job")
    }

    fn jobs() -> Vec<Job> {
        vec![
            job(1, "bench", json!({})),
            job(
                2,
                "bench",
                json!({"state": "pending", "reason": "Waits for free nodes (Resources)."}),
            ),
            job(
                3,
                "a rather long name for a job",
                json!({"state": "running", "freshness": "stale", "started_at": "2026-03-01T11:58:30Z", "nodes": "n[1-2]",
                       "cancel_wanted_at": "2026-03-01T11:59:00Z"}),
            ),
            job(
                4,
                "evil\u{1b}]0;pwned\u{7}\n\u{202e}name",
                json!({"state": "failed", "started_at": "2026-03-01T11:56:00Z", "ended_at": "2026-03-01T11:56:05Z",
                       "exit": {"code": 3}, "nodes": "n1", "reason": "Its program ended with exit code 3.\u{1b}[31m"}),
            ),
            job(
                5,
                "日本語",
                json!({"state": "succeeded", "started_at": "2026-02-27T11:00:00Z", "ended_at": "2026-03-01T11:56:05Z",
                       "exit": {"code": 0}}),
            ),
            job(
                6,
                "killed",
                json!({"state": "out_of_memory", "exit": {"code": 0, "signal": 9}}),
            ),
        ]
    }

    fn screen(cells: usize) -> Screen {
        Screen {
            cells: Some(cells),
            colour: false,
        }
    }

    #[test]
    fn into_a_file_nothing_is_cut() {
        insta::assert_snapshot!(render(&jobs(), now(), Screen::default()));
    }

    #[test]
    fn a_terminal_is_filled_and_not_overrun() {
        for cells in [160, 120, 80] {
            let shown = render(&jobs(), now(), screen(cells));
            insta::assert_snapshot!(format!("{cells}_cells"), shown);
            assert!(shown.lines().all(|line| crate::text::width(line) <= cells));
        }
    }

    #[test]
    fn filters_become_parameters() {
        let line = [
            "forebay",
            "jobs",
            "-s",
            "open,running",
            "--state=lost",
            "-M",
            "hpc",
            "-n",
            "a b&c",
            "--sort",
            "name",
        ];
        let Command::Jobs(args) = Cli::parse_from(line).command else {
            panic!("not jobs")
        };
        let states = "draft,queued,submitting,pending,running,ending,lost";
        let expected = [
            ("sort", "name"),
            ("state", states),
            ("cluster", "hpc"),
            ("name", "a b&c"),
        ];
        assert_eq!(
            filters(&args),
            expected.map(|(name, value)| (name, value.to_owned()))
        );
    }
}
