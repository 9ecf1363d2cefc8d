//! Lists, single jobs, cancelling: for people and as JSON.

use forebay_wire::{
    Code, Freshness, JobState, Timestamp,
    api::{Exit, Job, Page},
};
use serde_json::Value;

use crate::{
    fake::{Fake, Fault, cluster, event, job},
    run::User,
};

const EVIL: &str = "evil\u{1b}]0;pwned\u{7}\u{1b}[2J\r\n\u{9b}31m\u{202e}name";

fn full() -> Fake {
    let fake = Fake::start();
    let mut state = fake.state();
    let ago = |seconds| Timestamp::from_unix(Timestamp::now().unix() - seconds).expect("a time");
    let mut running = job(1, "bench", JobState::Running);
    running.job.status.started_at = Some(ago(150));
    running.job.status.nodes = Some("n[1-2]".to_owned());
    running.job.status.freshness = Freshness::Stale;
    let mut failed = job(2, EVIL, JobState::Failed);
    failed.job.status.exit = Some(Exit {
        code: 3,
        signal: None,
    });
    failed.job.status.reason = Some("Its program said \u{1b}[31mno.".to_owned());
    let mut pending = job(3, "bench 2", JobState::Pending);
    pending.job.status.reason = Some("Waits for free nodes.".to_owned());
    state.jobs = vec![running, failed, pending];
    drop(state);
    fake
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What a terminal would act upon.
fn acts(text: &str) -> bool {
    text.chars()
        .any(|c| (c.is_control() && c != '\n') || c == '\u{202e}')
}

#[test]
fn a_table_for_people() {
    let fake = full();
    let user = User::of(&fake);
    let out = user.run(&["jobs"]).ok().out();
    assert!(!acts(&out), "{out:?}");
    // Seconds pass while it runs.
    insta::assert_snapshot!(out.replace("2:31", "2:30").replace("2:32", "2:30"));
    let bench = user
        .run(&[
            "jobs", "--name", "bench", "--state", "open", "--sort", "oldest",
        ])
        .ok()
        .out();
    let order: Vec<&str> = bench.lines().skip(1).map(|line| &line[..27]).collect();
    assert_eq!(
        order,
        ["j01jdzz2v8nf3tbw0q5c7m9xk01", "j01jdzz2v8nf3tbw0q5c7m9xk03"]
    );
    let none = user.run(&["jobs", "--cluster", "elsewhere"]).ok();
    assert_eq!(
        (none.out().as_str(), none.stderr.as_str()),
        ("", "forebay: no job matches\n")
    );
}

#[test]
fn json_for_programs_is_what_the_server_said() {
    let fake = full();
    fake.state().novelties = true;
    let out = User::of(&fake).run(&["jobs", "--json"]).ok().out();
    assert!(!acts(&out), "{out:?}");
    let page = json(&out);
    assert_eq!(page["items"].as_array().expect("a list").len(), 3);
    // Also what we do not know.
    assert_eq!(page["items"][0]["spec"]["novelty"]["since"], 2);
    assert_eq!(page["items"][1]["spec"]["name"], EVIL);
    fake.state().novelties = false;
    let page: Page<Job> =
        serde_json::from_str(&User::of(&fake).run(&["jobs", "--json"]).ok().out())
            .expect("the wire's type");
    assert_eq!(page.items.len(), 3);
}

#[test]
fn newer_servers_are_understood() {
    let fake = full();
    let user = User::of(&fake);
    let plain = user.run(&["show", "last"]).ok().out();
    fake.state().novelties = true;
    assert_eq!(user.run(&["show", "last"]).ok().out(), plain);
    for line in [
        &["jobs"][..],
        &["clusters"],
        &["whoami"],
        &["cancel", "last"],
    ] {
        let done = user.run(line).ok();
        assert!(!done.stderr.contains("could not be read"), "{}", done.all());
    }
}

#[test]
fn page_two_is_page_two() {
    let fake = Fake::start();
    fake.state().jobs = (0..100)
        .map(|number| job(number, "many", JobState::Queued))
        .collect();
    // More than a page holds: ids of another shape.
    let more = (0..150).map(|number| {
        let mut more = job(0, "more", JobState::Queued);
        more.job.id = format!("j01jdzz2v8nf3tbw0q5c7m9y{number:03}")
            .parse()
            .expect("an id");
        more
    });
    fake.state().jobs.extend(more);
    let user = User::of(&fake);
    let ids = |line: &[&str]| -> Vec<String> {
        let done = user.run(line).ok();
        done.out()
            .lines()
            .skip(1)
            .map(|line| line[..27].to_owned())
            .collect()
    };
    let all = ids(&["jobs", "--all-pages"]);
    let mut unique = all.clone();
    unique.dedup();
    assert_eq!((all.len(), unique.len()), (250, 250));
    assert!(all.is_sorted_by(|a, b| a > b));
    assert_eq!(ids(&["jobs", "--limit", "230"]), all[..230]);
    let first = user.run(&["jobs"]).ok();
    assert_eq!(first.out().lines().count(), 51);
    assert!(first.stderr.contains("--all-pages"), "{}", first.all());
    let page = json(&user.run(&["jobs", "--json", "--limit", "3"]).ok().out());
    assert!(page["next"].is_string(), "there is more: {page}");
}

#[test]
fn one_job_in_full() {
    let fake = full();
    let id = fake.state().jobs[1].job.id.to_string();
    {
        let mut state = fake.state();
        let failed = &mut state.jobs[1];
        failed.job.created_at = "2020-03-01T12:00:00Z".parse().expect("a time");
        failed.events = [
            JobState::Queued,
            JobState::Pending,
            JobState::Running,
            JobState::Failed,
        ]
        .into_iter()
        .zip(1..)
        .map(|(state, seq)| event(seq, state))
        .collect();
        failed.job.status.tasks = Some(4);
    }
    let user = User::of(&fake);
    let out = user.run(&["show", &id]).ok().out();
    assert!(!acts(&out), "{out:?}");
    insta::assert_snapshot!(out);
    let document = json(&user.run(&["show", "--json", &id]).ok().out());
    assert_eq!(document["job"]["id"], id);
    assert_eq!(document["events"].as_array().expect("a list").len(), 4);
    assert_eq!(document["tasks"].as_array().expect("a list").len(), 4);
}

#[test]
fn all_events_are_fetched() {
    let fake = Fake::start();
    let mut busy = job(1, "requeued", JobState::Pending);
    busy.events = (1..=450).map(|seq| event(seq, JobState::Pending)).collect();
    fake.state().jobs = vec![busy];
    let document = json(&User::of(&fake).run(&["show", "--json", "last"]).ok().out());
    let seqs: Vec<i64> = document["events"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|e| e["seq"].as_i64())
        .collect();
    assert_eq!(seqs, (1..=450).collect::<Vec<_>>());
}

#[test]
fn cancelling_goes_on_after_a_refusal() {
    let fake = full();
    let ids: Vec<String> = fake
        .state()
        .jobs
        .iter()
        .map(|job| job.job.id.to_string())
        .collect();
    let done = User::of(&fake).run(&["cancel", &ids[1], &ids[0], "last"]);
    assert_eq!(done.code, Some(1));
    insta::assert_snapshot!(done.steady());
    assert!(fake.state().jobs[0].job.status.cancel_wanted_at.is_some());
    let document = json(
        &User::of(&fake)
            .run(&["cancel", "--json", &ids[1], &ids[0]])
            .out(),
    );
    assert_eq!(document["items"][0]["id"], ids[0]);
    assert_eq!(document["failed"][0]["id"], ids[1]);
}

#[test]
fn clusters_and_their_partitions() {
    let fake = Fake::start();
    {
        let mut state = fake.state();
        let mut away = cluster("away");
        away.status.freshness = Freshness::Stale;
        away.status.message = Some("slurmctld does not answer\u{1b}[2J".to_owned());
        away.status.partitions.clear();
        state.clusters.push(away);
    }
    let out = User::of(&fake).run(&["clusters"]).ok().out();
    assert!(!acts(&out), "{out:?}");
    insta::assert_snapshot!(out);
    assert_eq!(
        json(&User::of(&fake).run(&["clusters", "--json"]).ok().out())["items"][1]["name"],
        "away"
    );
}

#[test]
fn failures_say_what_to_do() {
    let fake = full();
    let user = User::of(&fake);
    fake.state()
        .faults
        .push(("/api/v1/jobs", Fault::Refuse(Code::Forbidden)));
    let refused = user.run(&["jobs"]);
    let strange = user.run(&["show", "j01jdzz2v8nf3tbw0q5c7m9xk99"]);
    let unknown = User::of(&fake)
        .with("FOREBAY_TOKEN", "fb_k1_old")
        .run(&["jobs"]);
    let url = fake.url();
    drop(fake);
    let away = user.run(&["jobs"]);
    let all = [refused, strange, unknown, away].map(|done| {
        assert_eq!(done.code, Some(1), "{}", done.all());
        done.steady().replace(&url, "URL")
    });
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_complain() {
    let fake = full();
    let mut child = User::of(&fake).command(&["jobs"]).spawn().expect("started");
    drop(child.stdout.take());
    let done = crate::run::finish(child);
    assert_eq!((done.code, done.stderr.as_str()), (Some(141), ""));
}
