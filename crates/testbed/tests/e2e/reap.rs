//! Copies that nobody wants are found and cancelled, and only ours.

use forebay_testbed::need;
use forebay_testbed::slurm::Slurm;
use forebay_wire::JobState::Succeeded;
use serde_json::json;

use crate::worlds::{World, eventually, plain_slurm};

/// Hands a held job in by hand, as a user; its id.
async fn held(slurm: &Slurm, world: &World, user: usize, comment: &str) -> String {
    let comment = format!("--comment={comment}");
    let args = ["--parsable", "--hold", &comment, "--wrap", "true"];
    let id = slurm.text("sbatch", &args, Some(world.user(user))).await;
    id.unwrap().trim().to_owned()
}

/// Whether it waits, still held.
async fn waits(slurm: &Slurm, id: &str) -> bool {
    let args = ["-h", "-o", "%T", "-j", id];
    let output = slurm.exec("squeue", args, None).await.unwrap();
    output.stdout().trim() == "PENDING"
}

#[tokio::test]
async fn a_late_copy_of_an_ended_job_is_cancelled_and_another_users_is_not() {
    need!(Slurm, Postgres, Root);
    let (world, slurm) = (World::plain().await, plain_slurm().await);
    let api = world.api(1);
    // The mark is in the comment, which its owner can see.
    let id = api.submit(json!({ "command": ["sleep", "1"] })).await;
    let comment = eventually("the job's mark", || async {
        let all = slurm
            .text("squeue", &["-h", "-o", "%k"], None)
            .await
            .unwrap();
        all.lines()
            .find(|line| line.contains(&id))
            .map(str::to_owned)
    });
    let comment = comment.await;
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    let late = held(slurm, world, 1, &comment).await;
    let forged = held(slurm, world, 2, &comment).await;
    let marked_otherwise = held(slurm, world, 1, "forebay:mine").await;
    eventually("the late copy's end", || async {
        (!waits(slurm, &late).await).then_some(())
    })
    .await;
    assert!(waits(slurm, &forged).await, "another user's own job");
    assert!(waits(slurm, &marked_otherwise).await, "no mark of ours");
    let own = [(2, forged), (1, marked_otherwise)];
    for (user, id) in own {
        let user = Some(world.user(user));
        slurm.text("scancel", &[id.as_str()], user).await.unwrap();
    }
}
