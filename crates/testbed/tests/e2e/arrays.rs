//! Arrays: one job with many tasks.

use forebay_testbed::need;
use forebay_wire::JobState::{Cancelled, Failed, Running, Succeeded};
use serde_json::json;

use crate::worlds::{World, eventually};

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
