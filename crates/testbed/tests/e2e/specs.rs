//! What a job asks for is what it gets.

use std::path::Path;

use forebay_testbed::need;
use forebay_wire::JobState::{Pending, Running, Succeeded};
use serde_json::json;

use crate::worlds::{World, plain_slurm};

/// What shells, Slurm and C programs trip over.
const NASTY: [&str; 14] = [
    "a b",
    "'single'",
    "\"double\"",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "line one\nline two",
    "\ttab",
    "back\\slash",
    "*",
    "#SBATCH --hold",
    "grün 日本 🦀",
    "",
    "-n",
];

#[tokio::test]
async fn a_commands_arguments_arrive_as_they_are() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(1);
    let mut args = vec!["submit", "--wait", "--", "printf", "[%s]\n"];
    args.extend(NASTY);
    world.cli_ok(1, &args).await;
    let jobs = api.jobs("").await;
    let job = jobs.iter().find(|job| {
        let command = job.spec.command.as_deref().unwrap_or_default();
        command.first().is_some_and(|word| word == "printf")
    });
    let expected: String = NASTY.iter().map(|word| format!("[{word}]\n")).collect();
    assert_eq!(api.stdout(&job.unwrap().id.to_string()).await, expected);
    assert!(!world.user(1).home.join("pwned").exists());
}

#[tokio::test]
async fn environment_directory_and_output_files() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let (api, home) = (world.api(2), &world.user(2).home);
    let dir = tempfile::Builder::new()
        .prefix("e2e.")
        .tempdir_in(home)
        .unwrap();
    let user = world.user(2);
    std::os::unix::fs::chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
    let path = dir.path().display().to_string();
    let nasty = NASTY.join("|");
    let id = api
        .submit(json!({
            "name": "name with 'quotes' and | pipes",
            "script": "#!/bin/sh\nprintf '%s' \"$NASTY\"; printf '%s' \"$PLAIN\" >&2; pwd >place\n",
            "directory": path,
            "environment": { "NASTY": nasty, "PLAIN": "1" },
            "output": { "stdout": "out/of-%j.txt", "stderr": format!("{path}/err") },
        }))
        .await;
    let job = api.ended(&id).await;
    // Slurm makes no directory for an output: this one cannot be opened.
    assert!(job.status.state != Succeeded, "{:?}", job.status);
    let id = api
        .submit(json!({
            "name": "name with 'quotes' and | pipes",
            "script": "#!/bin/sh\nprintf '%s' \"$NASTY\"; printf '%s' \"$PLAIN\" >&2; pwd >place\n",
            "directory": path,
            "environment": { "NASTY": nasty, "PLAIN": "1" },
            "output": { "stdout": "of-%j.txt", "stderr": format!("{path}/err") },
        }))
        .await;
    let job = api.ended(&id).await;
    assert_eq!(job.status.state, Succeeded, "{:?}", job.status);
    let out = format!("{path}/of-{}.txt", job.status.scheduler_id.unwrap());
    assert_eq!(job.status.stdout_path.as_deref(), Some(out.as_str()));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), nasty);
    assert_eq!(
        std::fs::read_to_string(dir.path().join("err")).unwrap(),
        "1"
    );
    assert_eq!(
        std::fs::read_to_string(dir.path().join("place")).unwrap(),
        format!("{path}\n")
    );
    // And Forebay reads it there.
    assert_eq!(api.stdout(&id).await, nasty);
    assert_eq!(api.log(&id, "stderr").await.unwrap(), b"1");
}

#[tokio::test]
async fn options_reach_slurm_in_every_form() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(3);
    let script = "#!/bin/sh\n#SBATCH -n 2 --mem=100M\n#SBATCH --time=5\nsleep 30\n";
    let file = tempfile::NamedTempFile::new_in(&world.user(3).home).unwrap();
    std::fs::write(file.path(), script).unwrap();
    std::fs::set_permissions(
        file.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    let path = file.path().display().to_string();
    // What is given beside the script wins over its lines.
    let args = [
        "submit", "--time", "7", "-S", "--nice=3", "-S", "-x n2", "--name", "o'clock", &path,
    ];
    let id = world.cli_ok(3, &args).await;
    let job = api.until_state(&id, Running).await;
    let number = job.status.scheduler_id.unwrap();
    let shown = plain_slurm()
        .await
        .text("scontrol", &["show", "job", &number], None)
        .await
        .unwrap();
    for expected in [
        "JobName=o'clock",
        "TimeLimit=00:07:00",
        "NumTasks=2",
        "MinMemoryNode=100M",
        "Nice=3",
        "ExcNodeList=n2",
        "Requeue=",
    ] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
    api.cancel(&id).await.unwrap();
    api.ended(&id).await;
}

#[tokio::test]
async fn a_users_own_hold_is_not_ours_to_release() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(4);
    let witness = world.witness(4);
    let command = format!("echo ran >>{}", witness.path());
    let id = api
        .submit(json!({ "command": ["sh", "-c", command], "slurm": { "hold": true } }))
        .await;
    let job = api.until_state(&id, Pending).await;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let still = api.job(&id).await;
    assert_eq!((still.status.state, witness.lines().len()), (Pending, 0));
    assert!(
        still.status.reason.is_some(),
        "says why it waits: {:?}",
        still.status
    );
    // Its owner releases it with Slurm's own command.
    let number = job.status.scheduler_id.unwrap();
    let slurm = plain_slurm().await;
    slurm
        .text("scontrol", &["release", &number], Some(world.user(4)))
        .await
        .unwrap();
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    assert_eq!(witness.lines(), ["ran"]);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_job() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let api = world.api(1);
    let witness = world.witness(1);
    let body = |more: &str| {
        let command = format!("echo ran >>{}{more}", witness.path());
        json!({ "spec": { "cluster": "hpc", "name": "once", "command": ["sh", "-c", command] } })
    };
    let key = [("idempotency-key", "e2e-once")];
    let first = api.post_jobs(&body(""), &key).await.unwrap();
    let again = api.post_jobs(&body(""), &key).await.unwrap();
    assert_eq!(first.id, again.id);
    let id = first.id.to_string();
    assert_eq!(api.ended(&id).await.status.state, Succeeded);
    // Also after it has ended.
    assert_eq!(api.post_jobs(&body(""), &key).await.unwrap().id, first.id);
    let problem = api.post_jobs(&body(" # other"), &key).await.unwrap_err();
    assert_eq!(problem.code, forebay_wire::Code::IdempotencyMismatch);
    assert_eq!(problem.code.status(), 409);
    // Another user's key is another key.
    let other = world
        .api(2)
        .post_jobs(&body(" # of another"), &key)
        .await
        .unwrap();
    assert_ne!(other.id, first.id);
    world.api(2).ended(&other.id.to_string()).await;
    assert_eq!(witness.lines(), ["ran"]);
    let slurm = plain_slurm().await;
    let queue = slurm
        .text("squeue", &["-h", "-t", "all", "-o", "%u %k"], None)
        .await
        .unwrap();
    let mark = format!(":{id}");
    let copies = queue.lines().filter(|line| line.contains(&mark)).count();
    assert_eq!(copies, 1, "in\n{queue}");
    assert!(Path::new(&world.site.job_dir(&world.user(1).name, &id).unwrap()).exists());
}
