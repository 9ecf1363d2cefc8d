//! Arrays: one job with many tasks.

use forebay_testbed::need;
use forebay_testbed::site::Scheduler;
use forebay_testbed::slurm::Slurm;
use forebay_wire::JobState::{self, Cancelled, Failed, Lost, Pending, Running, Succeeded};
use serde_json::json;

use crate::api::Api;
use crate::worlds::{World, accounting_slurm, eventually, plain_slurm, slurm_options};

#[tokio::test]
async fn each_task_has_its_state_and_its_log() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(1);
    let id = api
        .submit(json!({
            "script": "#!/bin/sh\necho task $SLURM_ARRAY_TASK_ID; [ $SLURM_ARRAY_TASK_ID != 3 ]\n",
            "slurm": { "array": "1-4,7%3" },
        }))
        .await;
    let job = api.ended(&id).await;
    assert_eq!((job.status.state, job.status.tasks), (Failed, Some(5)));
    let tasks = api.tasks(&id).await;
    let ends: Vec<_> = tasks.iter().map(|task| (task.index, task.state)).collect();
    let expected = [
        (1, Succeeded),
        (2, Succeeded),
        (3, Failed),
        (4, Succeeded),
        (7, Succeeded),
    ];
    assert_eq!(ends, expected);
    for (index, _) in expected {
        let log = api.log(&id, &format!("stdout?task={index}")).await.unwrap();
        assert_eq!(String::from_utf8(log).unwrap(), format!("task {index}\n"));
    }
    let printed = world.cli_ok(1, &["logs", "--task", "7", &id]).await;
    assert_eq!(printed, "task 7");
    assert!(
        api.log(&id, "stdout?task=5").await.is_err(),
        "there is no such task"
    );
    let output = world.cli(1, &["show", "--tasks", &id]).await;
    assert!(output.stdout().contains("failed"), "{}", output.stdout());
}

#[tokio::test]
async fn cancelling_ends_tasks_that_run_and_those_that_wait() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(2);
    let spec = json!({ "command": ["sleep", "300"], "slurm": { "array": "0-19%2" } });
    let id = api.submit(spec).await;
    eventually("two running tasks", || async {
        let tasks = api.tasks(&id).await;
        (tasks.iter().filter(|task| task.state == Running).count() == 2).then_some(())
    })
    .await;
    assert_eq!(world.cli(2, &["cancel", &id]).await.exit.code, Some(0));
    assert_eq!(api.ended(&id).await.status.state, Cancelled);
    let tasks = api.tasks(&id).await;
    assert_eq!(tasks.len(), 20);
    assert!(
        tasks.iter().all(|task| task.state == Cancelled),
        "{tasks:#?}"
    );
}

/// An array that waits, of which one task is cancelled with Slurm's own command: the controller
/// keeps nothing of it. Then the others run.
async fn one_task_goes_without_a_trace(world: &World, slurm: &Slurm) -> (Api, String) {
    let api = world.api(3);
    let id = api
        .submit(json!({ "command": ["true"], "slurm": { "array": "0-3", "begin": "now+1hour" } }))
        .await;
    let all_wait = |tasks: &[forebay_wire::api::JobTask]| {
        tasks.len() == 4 && tasks.iter().all(|task| task.state == Pending)
    };
    eventually("four that wait", || async {
        all_wait(&api.tasks(&id).await).then_some(())
    })
    .await;
    let number = api.job(&id).await.status.scheduler_id.unwrap();
    let owner = world.user(3);
    let task = format!("{number}_2");
    slurm.text("scancel", &[&task], Some(owner)).await.unwrap();
    let now = [&*format!("JobId={number}"), "StartTime=now"];
    slurm
        .text("scontrol", &[&["update"], &now[..]].concat(), Some(owner))
        .await
        .unwrap();
    eventually("three that have run", || async {
        let tasks = api.tasks(&id).await;
        let done = tasks.iter().filter(|task| task.state == Succeeded);
        (done.count() == 3).then_some(())
    })
    .await;
    (api, id)
}

fn ends(tasks: &[forebay_wire::api::JobTask]) -> Vec<(u32, JobState)> {
    tasks.iter().map(|task| (task.index, task.state)).collect()
}

/// Slurm 22.05 keeps no trace of such a task, not even in its accounting. Nothing is guessed for a
/// quarter of an hour; then it counts as lost, and only it.
async fn is_lost_in_time(slurm: &Slurm) {
    let world = World::start(Scheduler::slurm(slurm)).await;
    let (api, id) = one_task_goes_without_a_trace(&world, slurm).await;
    // Accounting is asked, and lags.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let job = api.job(&id).await;
    assert!(!job.status.state.is_end(), "{:?}", job.status);
    // Twenty minutes pass.
    world.site.stop_service("agent").await.unwrap();
    let sql = "UPDATE tracked_jobs SET told = jsonb_set(told, '{tasks_absent,2}', to_jsonb(
                   to_char((now() - interval '20 min') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')))
               WHERE told->'tasks_absent' ? '2'";
    let psql = std::process::Command::new("psql")
        .arg("-h")
        .arg(world.site.socket_dir())
        .args(["-U", "forebay_site", "forebay_site", "-c", sql])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&psql.stdout);
    assert_eq!(said.trim(), "UPDATE 1", "{psql:?}");
    world.site.start_agent().await.unwrap();
    let job = api.ended(&id).await;
    assert_eq!((job.status.state, job.status.tasks), (Lost, Some(4)));
    let expected = [(0, Succeeded), (1, Succeeded), (2, Lost), (3, Succeeded)];
    assert_eq!(ends(&api.tasks(&id).await), expected);
    world.site.stop().await.unwrap();
}

#[tokio::test]
async fn what_nobody_kept_a_trace_of_is_lost_in_time() {
    need!(Slurm, Postgres);
    is_lost_in_time(plain_slurm().await).await;
}

#[tokio::test]
async fn what_neither_controller_nor_accounting_knows_is_lost_in_time() {
    need!(Slurm, SlurmAccounting, Postgres);
    is_lost_in_time(accounting_slurm().await).await;
}

/// Tasks that ended while the agent was away, and that the controller has forgotten since.
#[tokio::test]
async fn the_ends_that_the_controller_forgot_come_from_accounting() {
    need!(Slurm, SlurmAccounting, Postgres);
    let options = forebay_testbed::slurm::Options {
        min_job_age: 2,
        ..slurm_options(true)
    };
    let slurm = Slurm::start(options).await.unwrap();
    let world = World::start(Scheduler::slurm(&slurm)).await;
    let (api, gate) = (world.api(1), world.witness(1));
    let path = gate.path();
    let script = format!(
        "#!/bin/sh\nwhile ! test -e {path}.$SLURM_ARRAY_TASK_ID; do sleep 0.1; done\nrm {path}.$SLURM_ARRAY_TASK_ID\n"
    );
    let id = api
        .submit(json!({ "script": script, "slurm": { "array": "0-3" } }))
        .await;
    eventually("four that run", || async {
        let tasks = api.tasks(&id).await;
        let running = tasks.iter().filter(|task| task.state == Running);
        (running.count() == 4).then_some(())
    })
    .await;
    world.site.stop_service("agent").await.unwrap();
    let open = |task: u32| std::fs::write(format!("{path}.{task}"), "").unwrap();
    open(0);
    open(1);
    let number = api.job(&id).await.status.scheduler_id.unwrap();
    eventually("two that are forgotten", || async {
        let args = ["-h", "--states=all", "-o", "%K", "-j", &number];
        let listed = slurm.text("squeue", &args, None).await.unwrap();
        let mut listed: Vec<&str> = listed.split_whitespace().collect();
        listed.sort_unstable();
        (listed == ["2", "3"]).then_some(())
    })
    .await;
    world.site.start_agent().await.unwrap();
    eventually("two that have ended and two that run", || async {
        let expected = [(0, Succeeded), (1, Succeeded), (2, Running), (3, Running)];
        (ends(&api.tasks(&id).await) == expected).then_some(())
    })
    .await;
    open(2);
    open(3);
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    world.site.stop().await.unwrap();
    slurm.stop().await.unwrap();
}
