//! Cancelling, whatever the job is doing.

use forebay_testbed::need;
use forebay_wire::JobState::{Cancelled, Pending, Running, Succeeded};
use serde_json::json;

use crate::worlds::{World, plain_slurm};

#[tokio::test]
async fn pending_and_running_jobs_end_as_cancelled() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(3);
    let witness = world.witness(3);
    let later = format!("echo ran >>{}", witness.path());
    let waits = json!({ "command": ["sh", "-c", later], "slurm": { "begin": "now+1hour" } });
    let waiting = api.submit(waits).await;
    let running = api.submit(json!({ "command": ["sleep", "300"] })).await;
    api.until_state(&waiting, Pending).await;
    api.until_state(&running, Running).await;
    let output = world.cli(3, &["cancel", &waiting, &running]).await;
    assert!(output.exit.success(), "{}", output.stderr());
    for id in [&waiting, &running] {
        let job = api.ended(id).await;
        assert_eq!(job.status.state, Cancelled, "{:?}", job.status);
        assert!(job.status.cancel_wanted_at.is_some());
    }
    let queue = plain_slurm()
        .await
        .text("squeue", &["-h", "-o", "%k"], None)
        .await
        .unwrap();
    assert!(
        !queue.contains(&waiting) && !queue.contains(&running),
        "{queue}"
    );
    assert!(witness.lines().is_empty());
    let shown = world.cli(3, &["submit", "--wait", "--", "true"]).await;
    assert_eq!(shown.exit.code, Some(0));
}

#[tokio::test]
async fn cancelling_twice_or_after_the_end_harms_nobody() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(4);
    let id = api.script("exit 0").await;
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    // It has ended: an answer, or a refusal that says so, but no other end.
    if let Err(problem) = api.cancel(&id).await {
        assert_eq!(problem.code.status(), 409, "{problem:?}");
    }
    assert_eq!(api.job(&id).await.status.state, Succeeded);
    let id = api.script("sleep 300").await;
    api.cancel(&id).await.unwrap();
    // Perhaps it had not been submitted yet.
    if let Err(problem) = api.cancel(&id).await {
        assert_eq!(problem.code.status(), 409, "{problem:?}");
    }
    assert_eq!(api.ended(&id).await.status.state, Cancelled);
}

#[tokio::test]
async fn a_copy_cancelled_with_slurms_own_command_ends_as_cancelled() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(1);
    let id = api.script("sleep 300").await;
    let job = api.until_state(&id, Running).await;
    let number = job.status.scheduler_id.unwrap();
    let slurm = plain_slurm().await;
    slurm
        .text("scancel", &[&number], Some(world.user(1)))
        .await
        .unwrap();
    assert_eq!(api.ended(&id).await.status.state, Cancelled);
}
