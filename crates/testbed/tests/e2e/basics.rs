//! One job's life: as its owner, its output while it runs, its end.

use std::time::{Duration, Instant};

use forebay_testbed::need;
use forebay_wire::JobState::{Ending, Failed, Pending, Queued, Running, Submitting, Succeeded};

use crate::worlds::World;

#[tokio::test]
async fn a_job_runs_as_its_owner_and_goes_through_its_states() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let (api, user) = (world.api(1), world.user(1));
    let id = api
        .script("id -un; id -u; echo $SLURM_JOB_ID; pwd; sleep 1; exit 0")
        .await;
    let running = api.until_state(&id, Running).await;
    assert!(running.status.started_at.is_some() && running.status.nodes.is_some());
    let job = api.ended(&id).await;
    assert_eq!(job.status.state, Succeeded);
    assert_eq!(job.status.exit.map(|exit| exit.code), Some(0));
    assert_eq!(job.owner, user.name);
    let scheduler_id = job.status.scheduler_id.clone().unwrap();
    let expected = format!(
        "{}\n{}\n{scheduler_id}\n{}\n",
        user.name,
        user.uid,
        user.home.display()
    );
    assert_eq!(api.stdout(&id).await, expected);
    // Reports may skip states that were over before the agent looked; events never do.
    let states = api.states(&id).await;
    let states: Vec<_> = states
        .into_iter()
        .filter(|state| *state != Ending)
        .collect();
    assert_eq!(states, [Queued, Submitting, Pending, Running, Succeeded]);
    let events = api.events(&id).await;
    // Slurm's own clock knows whole seconds only.
    let in_order = events.is_sorted_by(|a, b| a.seq < b.seq && a.at.unix() <= b.at.unix());
    assert!(in_order, "{events:#?}");
    let times = [
        job.status.submitted_at,
        job.status.started_at,
        job.status.ended_at,
    ];
    let times = times.map(|at| at.map(forebay_wire::Timestamp::unix));
    assert!(
        times.iter().all(Option::is_some) && times.is_sorted(),
        "{times:?}"
    );
}

#[tokio::test]
async fn output_arrives_while_the_job_runs() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let script = "for n in 1 2 3 4 5; do echo line $n; sleep 0.7; done; echo done; exit 3";
    let args = [
        "submit", "--follow", "--name", "slowly", "--", "sh", "-c", script,
    ];
    let running = world
        .site
        .start_cli(&world.user(2).name, args)
        .await
        .unwrap();
    let mut seen: Vec<(usize, Instant)> = Vec::new();
    while running.daemon().is_running() {
        let length = running.stdout().len();
        if seen.last().map_or(0, |(length, _)| *length) < length {
            seen.push((length, Instant::now()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let exit = running.daemon().exit().unwrap();
    assert_eq!(exit.code, Some(3), "the job's code: {}", running.stderr());
    let text = String::from_utf8(running.stdout()).unwrap();
    assert_eq!(text, "line 1\nline 2\nline 3\nline 4\nline 5\ndone\n");
    // Six lines over three and a half seconds: each, but for one or two, by itself.
    assert!(seen.len() >= 4, "came in {} pieces", seen.len());
    let span = seen.last().unwrap().1 - seen[0].1;
    assert!(span > Duration::from_secs(2), "all within {span:?}");
}

#[tokio::test]
async fn submit_wait_exits_as_the_job_did() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("kill -KILL $$", 137)] {
        let output = world
            .cli(3, &["submit", "--wait", "--", "sh", "-c", script])
            .await;
        assert_eq!(
            output.exit.code,
            Some(code),
            "{script}: {}",
            output.stderr()
        );
    }
}

#[tokio::test]
async fn ends_are_told_apart_and_both_outputs_kept() {
    need!(Slurm, SlurmAccounting, Postgres);
    let world = World::accounting().await;
    let api = world.api(1);
    let ok = api.script("exit 0").await;
    let failed = api
        .script("echo to stdout; echo to stderr >&2; exit 7")
        .await;
    let killed = api.script("kill -KILL $$").await;
    assert_eq!(api.ended(&ok).await.status.state, Succeeded);
    let job = api.ended(&failed).await;
    let exit = job.status.exit.map(|exit| exit.code);
    assert_eq!((job.status.state, exit), (Failed, Some(7)));
    assert_eq!(api.stdout(&failed).await, "to stdout\n");
    assert_eq!(api.log(&failed, "stderr").await.unwrap(), b"to stderr\n");
    let job = api.ended(&killed).await;
    let signal = job.status.exit.and_then(|exit| exit.signal);
    assert_eq!((job.status.state, signal), (Failed, Some(9)));
}

#[tokio::test]
async fn a_job_is_listed_as_soon_as_it_was_handed_in() {
    need!(Slurm, Postgres);
    let world = World::plain().await;
    let id = world
        .cli_ok(4, &["submit", "--name", "seen at once", "--", "sleep", "1"])
        .await;
    let listed = world
        .cli_ok(4, &["jobs", "--json", "--name", "seen at once"])
        .await;
    assert!(listed.contains(&id), "{listed}");
    assert!(
        world
            .cli_ok(4, &["show", &id])
            .await
            .contains("seen at once")
    );
    let clusters = world.cli_ok(4, &["clusters"]).await;
    assert!(
        clusters.contains("hpc") && clusters.contains("slurm"),
        "{clusters}"
    );
    assert_eq!(world.api(4).ended(&id).await.status.state, Succeeded);
    let pages = world
        .cli_ok(4, &["jobs", "--state", "ended", "--all-pages"])
        .await;
    assert!(pages.contains(&id), "{pages}");
}
