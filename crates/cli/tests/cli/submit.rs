//! Handing jobs in, and staying with them.

use std::net::TcpListener;

use forebay_wire::{
    Code, JobState,
    api::{Exit, Job},
};
use serde_json::Value;

use crate::{
    fake::{Fake, Fault, cluster},
    run::{User, eventually, finish},
};

fn ending(state: JobState, exit: Option<(i32, Option<i32>)>) -> Fake {
    let fake = Fake::start();
    fake.state().ending = Some((state, exit.map(|(code, signal)| Exit { code, signal })));
    fake.state().prints = (b"one\ntwo\n".to_vec(), b"oh\n".to_vec());
    fake
}

#[test]
fn a_command_prints_its_id_and_nothing_else() {
    let fake = Fake::start();
    let done = User::of(&fake)
        .run(&["submit", "--time", "1:30:00", "--", "echo", "a b"])
        .ok();
    assert_eq!(
        (done.out().as_str(), done.stderr.as_str()),
        ("j01jdzz2v8nf3tbw0q5c7m9xk01\n", "")
    );
    let state = fake.state();
    let spec = serde_json::to_value(&state.specs[0]).expect("JSON");
    assert_eq!(
        spec,
        serde_json::json!({ "cluster": "hpc", "command": ["echo", "a b"], "time_limit_s": 5400 })
    );
    assert_eq!(state.keys[0].len(), 36, "a UUID: {:?}", state.keys);
}

#[test]
fn scripts_from_files_and_pipes() {
    let fake = Fake::start();
    let user = User::of(&fake).with("SECRET", "from here");
    let script = "#!/bin/sh\n#SBATCH --ntasks=4\necho 'grün'\n";
    let file = user.file("job.sh", script);
    user.run(&["submit", "--env", "SECRET", &file]).ok();
    user.pipe(&["submit", "-"], script).ok();
    let specs = fake.state().specs.clone();
    for spec in &specs {
        assert_eq!(spec.script.as_deref(), Some(script));
        assert_eq!(spec.command, None);
    }
    assert_eq!(specs[0].environment["SECRET"], "from here");
    let binary = user.file("binary", "\x7fELF");
    for (line, word) in [
        (["submit", binary.as_str()], "does not begin with #!"),
        (["submit", "nowhere.sh"], "cannot read nowhere.sh"),
    ] {
        let done = user.run(&line);
        assert_eq!(done.code, Some(2), "{}", done.all());
        assert!(done.stderr.contains(word), "{}", done.all());
    }
    assert_eq!(fake.state().specs.len(), 2);
}

#[test]
fn several_clusters_must_be_told_apart() {
    let fake = Fake::start();
    fake.state().clusters.push(cluster("gpu"));
    let user = User::of(&fake);
    let done = user.run(&["submit", "--", "true"]);
    assert_eq!(done.code, Some(2));
    insta::assert_snapshot!(done.stderr);
    user.run(&["submit", "-M", "gpu", "--", "true"]).ok();
    user.with("FOREBAY_CLUSTER", "hpc")
        .run(&["submit", "--", "true"])
        .ok();
    let clusters: Vec<String> = fake
        .state()
        .specs
        .iter()
        .map(|spec| spec.cluster.to_string())
        .collect();
    assert_eq!(clusters, ["gpu", "hpc"]);
}

#[test]
fn json_is_one_document() {
    let fake = ending(JobState::Succeeded, Some((0, None)));
    let user = User::of(&fake);
    let job: Job = serde_json::from_str(&user.run(&["submit", "--json", "--", "true"]).ok().out())
        .expect("a job");
    assert_eq!(job.status.state, JobState::Queued);
    let job: Job = serde_json::from_str(
        &user
            .run(&["submit", "--json", "--wait", "--", "true"])
            .ok()
            .out(),
    )
    .expect("a job");
    assert_eq!(job.status.state, JobState::Succeeded);
    let lines = user
        .run(&["submit", "--json", "--follow", "--", "true"])
        .ok()
        .out();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[0]["job"]["status"]["state"], "queued");
    assert_eq!(
        lines[lines.len() - 1]["job"]["status"]["state"],
        "succeeded"
    );
    let text: String = lines
        .iter()
        .filter(|line| line["stream"] == "stdout")
        .filter_map(|line| line["item"]["text"].as_str())
        .collect();
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn waiting_ends_as_the_job_did() {
    let table = [
        (JobState::Succeeded, Some((0, None)), 0),
        (JobState::Failed, Some((3, None)), 3),
        (JobState::Failed, Some((255, None)), 255),
        (JobState::Failed, Some((0, Some(9))), 137),
        (JobState::Failed, None, 1),
        (JobState::Preempted, None, 119),
        (JobState::Cancelled, Some((0, Some(15))), 120),
        (JobState::Rejected, None, 121),
        (JobState::Lost, None, 122),
        (JobState::OutOfMemory, Some((0, Some(9))), 123),
        (JobState::TimedOut, None, 124),
        (JobState::NodeFailed, None, 125),
    ];
    let mut seen = Vec::new();
    for (state, exit, code) in table {
        let fake = ending(state, exit);
        let done = User::of(&fake).run(&["submit", "--wait", "--", "true"]);
        assert_eq!(done.code, Some(code), "{state}: {}", done.all());
        assert_eq!(done.out(), "j01jdzz2v8nf3tbw0q5c7m9xk01\n");
        seen.push(if done.stderr.is_empty() {
            format!("{code}:\n")
        } else {
            format!("{code}: {}", done.stderr)
        });
    }
    insta::assert_snapshot!(seen.concat());
}

#[test]
fn following_prints_both_outputs_and_ends_as_the_job_did() {
    let fake = ending(JobState::Failed, Some((7, None)));
    // Whichever of the three streams it hits.
    fake.state().cuts = [1, 2, 0, 3, 1, 2].into();
    let done = User::of(&fake).run(&["submit", "--follow", "--", "true"]);
    assert_eq!(done.code, Some(7), "{}", done.all());
    assert_eq!(done.out(), "one\ntwo\n");
    let own: Vec<&str> = done
        .stderr
        .lines()
        .filter(|line| !line.starts_with("forebay: "))
        .collect();
    assert_eq!(own, ["oh"], "{}", done.all());
}

#[test]
fn events_are_taken_up_behind_the_last_one_seen() {
    let fake = ending(JobState::Succeeded, None);
    fake.state().cuts = [1, 1, 0, 1].into();
    User::of(&fake)
        .run(&["submit", "--wait", "--", "true"])
        .ok();
    let seen = fake.state().seen.clone();
    let after: Vec<&str> = seen
        .iter()
        .filter_map(|seen| seen.split_once("/events?after="))
        .map(|(_, after)| after)
        .collect();
    assert_eq!(after, ["0", "1", "2", "2", "3"]);
}

#[test]
fn a_submission_is_repeated_with_the_same_key() {
    let fake = Fake::start();
    {
        let mut state = fake.state();
        state
            .faults
            .push(("/api/v1/jobs", Fault::Refuse(Code::Unavailable)));
        state.faults.push(("/api/v1/jobs", Fault::Break));
        state
            .faults
            .push(("/api/v1/jobs", Fault::Refuse(Code::Busy)));
    }
    let done = User::of(&fake).run(&["submit", "--", "true"]).ok();
    assert!(done.stderr.contains("trying again"), "{}", done.all());
    let state = fake.state();
    assert_eq!((state.jobs.len(), state.keys.len()), (1, 4));
    assert!(
        state.keys.iter().all(|key| *key == state.keys[0]),
        "{:?}",
        state.keys
    );
    // Another invocation is another job.
    drop(state);
    User::of(&fake).run(&["submit", "--", "true"]).ok();
    let state = fake.state();
    assert_ne!(state.keys[4], state.keys[0]);
    assert_eq!(state.jobs.len(), 2);
}

#[test]
fn what_will_never_do_is_not_repeated() {
    let fake = Fake::start();
    fake.state()
        .faults
        .push(("/api/v1/jobs", Fault::Refuse(Code::Invalid)));
    let done = User::of(&fake).run(&["submit", "--", "true"]);
    assert_eq!((done.code, fake.state().keys.len()), (Some(1), 1));
}

#[test]
fn an_unknown_outcome_is_called_unknown() {
    let fake = Fake::start();
    fake.state()
        .faults
        .extend(std::iter::repeat_n(("/api/v1/jobs", Fault::Break), 100));
    let done = User::of(&fake).run(&[
        "submit",
        "--retry-for",
        "1s",
        "--idempotency-key",
        "k1",
        "--",
        "true",
    ]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr.contains("not known whether the job was taken"),
        "{}",
        done.all()
    );
    assert!(
        done.stderr.contains("--idempotency-key k1"),
        "{}",
        done.all()
    );
    fake.state().faults.clear();
    User::of(&fake)
        .run(&["submit", "--idempotency-key", "k1", "--", "true"])
        .ok();
    assert_eq!(fake.state().jobs.len(), 1);
}

#[test]
fn a_server_that_comes_up_late_is_waited_for() {
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a port");
    let user = User::new()
        .with("FOREBAY_URL", &format!("http://{address}"))
        .with("FOREBAY_TOKEN", crate::fake::TOKEN);
    let child = user
        .command(&["submit", "--", "true"])
        .spawn()
        .expect("started");
    std::thread::sleep(std::time::Duration::from_millis(700));
    let fake = Fake::start_at(address);
    let done = finish(child).ok();
    assert_eq!(done.out(), "j01jdzz2v8nf3tbw0q5c7m9xk01\n");
    assert!(
        done.stderr.contains("trying again") && done.stderr.contains("answers again"),
        "{}",
        done.all()
    );
    drop(fake);

    let done = user.run(&["submit", "--retry-for", "1s", "--", "true"]);
    assert_eq!(done.code, Some(1));
    assert!(
        !done.stderr.contains("not known whether"),
        "it never arrived: {}",
        done.all()
    );
}

#[test]
fn losing_sight_of_a_job_has_a_code_of_its_own() {
    let fake = Fake::start();
    fake.state()
        .faults
        .push(("/api/v1/jobs/j", Fault::Refuse(Code::Forbidden)));
    fake.state()
        .faults
        .push(("/api/v1/jobs/j", Fault::Refuse(Code::Forbidden)));
    let done = User::of(&fake).run(&["submit", "--wait", "--", "true"]);
    assert_eq!(done.code, Some(117), "{}", done.all());
    assert!(done.stderr.contains("The job goes on"), "{}", done.all());
}

#[test]
fn an_interrupt_leaves_the_job_alone() {
    // Without an end, it runs for ever.
    let fake = Fake::start();
    let child = User::of(&fake)
        .command(&["submit", "--wait", "--", "true"])
        .spawn()
        .expect("started");
    eventually("it waits", || {
        fake.state()
            .seen
            .iter()
            .any(|seen| seen.contains("/events"))
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    let done = finish(child);
    assert_eq!(done.code, Some(130));
    insta::assert_snapshot!(done.all());
    assert!(!fake.state().seen.iter().any(|seen| seen.contains("cancel")));
}

#[test]
fn an_array_is_waited_for_without_its_outputs() {
    let fake = ending(JobState::Succeeded, None);
    let done = User::of(&fake)
        .run(&["submit", "--follow", "--array", "0-3", "--", "true"])
        .ok();
    assert_eq!(done.out(), "");
    assert!(done.stderr.contains("--task INDEX"), "{}", done.all());
}

#[test]
fn secrets_are_in_nobodys_arguments() {
    let fake = Fake::start();
    let child = User::of(&fake)
        .with("TOP", "s3cret-value")
        .command(&["submit", "--env", "TOP", "--wait", "--", "true"])
        .spawn();
    let child = child.expect("started");
    eventually("it waits", || {
        fake.state()
            .seen
            .iter()
            .any(|seen| seen.contains("/events"))
    });
    let line = std::fs::read(format!("/proc/{}/cmdline", child.id())).expect("it runs");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    finish(child);
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains("TOP") && !line.contains("s3cret"), "{line}");
    assert!(
        fake.state()
            .seen
            .iter()
            .all(|seen| !seen.contains("s3cret")),
        "no URL holds one"
    );
}
