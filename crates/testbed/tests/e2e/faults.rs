//! Whatever dies: the job goes on, runs exactly once, comes to its true end, and its output is
//! whole; and while nobody knows, nothing is guessed.
//!
//! Who is right about "once" is a file that each job appends to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay_testbed::need;
use forebay_testbed::site::Scheduler;
use forebay_wire::JobState::{self, Cancelled, Failed, Pending, Running, Submitting, Succeeded};
use forebay_wire::{Code, Freshness};
use serde_json::{Value, json};

use crate::worlds::{Witness, World, eventually, plain_slurm, start_slurm};

/// A job that leaves traces.
struct Traced {
    id: String,
    name: String,
    code: i32,
    steps: u32,
}

/// Hands traced jobs in and looks at what became of them.
struct Traces<'a> {
    world: &'a World,
    user: usize,
    witness: Witness,
}

impl<'a> Traces<'a> {
    fn new(world: &'a World, user: usize) -> Self {
        let witness = world.witness(user);
        Self {
            world,
            user,
            witness,
        }
    }

    /// What a job of `steps` half seconds does.
    fn spec(&self, name: &str, steps: u32, code: i32, more: Value) -> Value {
        let path = self.witness.path();
        let numbers: Vec<String> = (1..=steps).map(|step| step.to_string()).collect();
        let script = format!(
            "#!/bin/sh\necho start {name} >>{path}\nfor n in {}; do echo step $n grün; sleep 0.5; done\n\
             echo end {name} >>{path}\nexit {code}\n",
            numbers.join(" ")
        );
        let mut spec = json!({ "name": name, "script": script });
        let more = more.as_object().cloned().unwrap_or_default();
        spec.as_object_mut().unwrap().extend(more);
        spec
    }

    async fn submit(&self, name: &str, steps: u32, code: i32, more: Value) -> Traced {
        let mut spec = self.spec(name, steps, code, more);
        spec["cluster"] = json!("hpc");
        let body = json!({ "spec": spec });
        let api = self.world.api(self.user);
        let key = [("idempotency-key", name)];
        // As every careful caller does while something is down: the key makes it one job.
        let what = format!("an answer to {name}");
        let job = eventually(&what, || async {
            match api.post_jobs(&body, &key).await {
                Ok(job) => Some(job),
                Err(problem) if problem.code == Code::Unavailable => None,
                Err(problem) => panic!("{name}: {problem:?}"),
            }
        });
        let id = job.await.id.to_string();
        Traced {
            id,
            name: name.to_owned(),
            code,
            steps,
        }
    }

    /// Waits for the true end; checks the output and that it ran once.
    async fn check(&self, job: &Traced) {
        let api = self.world.api(self.user);
        let ended = api.ended(&job.id).await;
        let expected = if job.code == 0 { Succeeded } else { Failed };
        let exit = ended.status.exit.map(|exit| exit.code);
        assert_eq!(
            (ended.status.state, exit),
            (expected, Some(job.code)),
            "{}: {:#?}",
            job.name,
            ended.status
        );
        assert_eq!(ended.status.run, 0, "{} was not requeued", job.name);
        let printed: String = (1..=job.steps)
            .map(|step| format!("step {step} grün\n"))
            .collect();
        // The link may be on its way back.
        let what = format!("the log of {}", job.name);
        let log = eventually(&what, || async { api.log(&job.id, "stdout").await.ok() }).await;
        assert_eq!(String::from_utf8(log).unwrap(), printed, "{}", job.name);
        self.ran_once(&job.name);
    }

    fn ran_once(&self, name: &str) {
        let lines = self.witness.lines();
        for step in ["start", "end"] {
            let wanted = format!("{step} {name}");
            let count = lines.iter().filter(|line| **line == wanted).count();
            assert_eq!(count, 1, "`{wanted}` in {lines:?}");
        }
    }
}

async fn milliseconds(count: u64) {
    tokio::time::sleep(Duration::from_millis(count)).await;
}

/// A few random numbers; the seed is printed, for a failure to be tried again.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = u64::from(now.subsec_nanos()) | 1;
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[tokio::test]
async fn the_agent_is_killed_at_any_moment() {
    need!(Slurm, Postgres);
    let world = World::start(Scheduler::slurm(plain_slurm().await)).await;
    let (api, traces) = (world.api(1), Traces::new(&world, 1));
    let (mut random, mut unwanted) = (Random::new(), Vec::new());
    let mut jobs = vec![
        traces.submit("running", 12, 3, Value::Null).await,
        traces
            .submit("pending", 2, 0, json!({ "slurm": { "begin": "now+4" } }))
            .await,
    ];
    api.until_state(&jobs[0].id, Running).await;
    api.until_state(&jobs[1].id, Pending).await;
    for round in 0..3 {
        // In the midst of submissions.
        for number in 0..4 {
            let name = format!("burst-{round}-{number}");
            jobs.push(traces.submit(&name, 1, 0, Value::Null).await);
        }
        let delay = random.below(400);
        println!("round {round}: killed after {delay} ms");
        milliseconds(delay).await;
        world.site.kill9("agent").await.unwrap();
        jobs.push(
            traces
                .submit(&format!("while-away-{round}"), 1, 0, Value::Null)
                .await,
        );
        let name = format!("unwanted-{round}");
        let job = traces.submit(&name, 1, 0, Value::Null).await;
        api.cancel(&job.id).await.unwrap();
        // Nobody need be there for that, but where a last claim of the dead agent came before.
        let state = api.job(&job.id).await.status.state;
        assert!([Cancelled, Submitting].contains(&state), "{state}");
        unwanted.push(job);
        let state = api.job(&jobs[0].id).await.status.state;
        assert!(state == Running || round > 0, "not guessed: {state}");
        world.site.start_agent().await.unwrap();
    }
    for job in &jobs {
        traces.check(job).await;
    }
    for job in &unwanted {
        assert_eq!(api.ended(&job.id).await.status.state, Cancelled);
    }
    let lines = traces.witness.lines();
    assert!(
        !lines.iter().any(|line| line.contains("unwanted")),
        "{lines:?}"
    );
    assert_eq!(lines.len(), jobs.len() * 2);
    world.site.stop().await.unwrap();
}

#[tokio::test]
async fn a_user_agent_is_killed() {
    need!(Slurm, Postgres);
    let world = World::start(Scheduler::slurm(plain_slurm().await)).await;
    let (api, traces) = (world.api(2), Traces::new(&world, 2));
    let user = &world.user(2).name;
    let mut jobs = vec![traces.submit("running", 10, 0, Value::Null).await];
    api.until_state(&jobs[0].id, Running).await;
    let follower = world
        .site
        .start_cli(user, ["logs", "-f", jobs[0].id.as_str()])
        .await
        .unwrap();
    eventually("output", || async {
        (!follower.stdout().is_empty()).then_some(())
    })
    .await;
    for round in 0..4 {
        jobs.push(
            traces
                .submit(&format!("burst-{round}"), 1, 0, Value::Null)
                .await,
        );
        milliseconds(round * 60).await;
        world.site.kill9_user_agent(user).unwrap();
    }
    for job in &jobs {
        traces.check(job).await;
    }
    let exit = tokio::time::timeout(crate::worlds::PATIENCE, follower.daemon().wait()).await;
    assert_eq!(
        exit.unwrap().unwrap().code,
        Some(0),
        "{}",
        follower.stderr()
    );
    assert_eq!(follower.stdout(), api.stdout(&jobs[0].id).await.as_bytes());
    world.site.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_is_killed_and_restarted() {
    need!(Slurm, Postgres);
    let world = World::start(Scheduler::slurm(plain_slurm().await)).await;
    let (api, traces) = (world.api(3), Traces::new(&world, 3));
    let user = &world.user(3).name;
    let mut jobs = vec![traces.submit("running", 14, 0, Value::Null).await];
    for number in 0..3 {
        jobs.push(
            traces
                .submit(&format!("before-{number}"), 1, 0, Value::Null)
                .await,
        );
    }
    world.site.kill9_postgres_server().unwrap();
    // The command tries again by itself.
    let spec = [
        "submit",
        "--retry-for",
        "60s",
        "--wait",
        "--",
        "sh",
        "-c",
        "exit 4",
    ];
    let waiter = world.site.start_cli(user, spec).await.unwrap();
    let answers = || async { api.is_ready().await.then_some(()) };
    eventually("a database after the kill", answers).await;
    jobs.push(traces.submit("between", 2, 6, Value::Null).await);
    api.until_state(&jobs[0].id, Running).await;
    world.site.stop_service("postgres").await.unwrap();
    let problem = api.get("/api/v1/jobs").await.unwrap_err();
    assert_eq!(problem.code.status(), 503, "{problem:?}");
    milliseconds(1_000).await;
    world.site.start_postgres().await.unwrap();
    eventually("a database after the restart", answers).await;
    jobs.push(traces.submit("after", 1, 0, Value::Null).await);
    for job in &jobs {
        traces.check(job).await;
    }
    let exit = tokio::time::timeout(crate::worlds::PATIENCE, waiter.daemon().wait()).await;
    let all = api.jobs("").await;
    let code = exit.unwrap().unwrap().code;
    assert_eq!(code, Some(4), "{}\n{all:#?}", waiter.stderr());
    assert_eq!(all.len(), jobs.len() + 1, "none twice");
    world.site.stop().await.unwrap();
}

#[tokio::test]
async fn the_view_server_is_killed() {
    need!(Slurm, Postgres);
    let world = World::start(Scheduler::slurm(plain_slurm().await)).await;
    let (api, traces) = (world.api(4), Traces::new(&world, 4));
    let user = &world.user(4).name;
    let mut jobs = vec![traces.submit("ends-meanwhile", 3, 9, Value::Null).await];
    api.until_state(&jobs[0].id, Running).await;
    for number in 0..3 {
        jobs.push(
            traces
                .submit(&format!("burst-{number}"), 1, 0, Value::Null)
                .await,
        );
    }
    world.site.kill9("view-server").await.unwrap();
    let late = world
        .site
        .start_cli(user, ["submit", "--wait", "--", "sh", "-c", "exit 4"])
        .await
        .unwrap();
    // The site goes on by itself, and tells later.
    milliseconds(3_000).await;
    assert!(
        traces
            .witness
            .lines()
            .contains(&"end ends-meanwhile".to_owned())
    );
    world.site.start_view_server().await.unwrap();
    jobs.push(traces.submit("after", 1, 0, Value::Null).await);
    for job in &jobs {
        traces.check(job).await;
    }
    let exit = tokio::time::timeout(crate::worlds::PATIENCE, late.daemon().wait()).await;
    assert_eq!(exit.unwrap().unwrap().code, Some(4), "{}", late.stderr());
    assert_eq!(api.jobs("").await.len(), jobs.len() + 1, "none twice");
    world.site.stop().await.unwrap();
}

#[tokio::test]
async fn while_the_controller_is_down_nothing_is_guessed() {
    need!(Slurm, Postgres);
    let slurm = start_slurm(false).await;
    let world = World::start(Scheduler::slurm(&slurm)).await;
    let (api, traces) = (world.api(1), Traces::new(&world, 1));
    let ends_meanwhile = traces.submit("ends-meanwhile", 4, 5, Value::Null).await;
    let runs_on = traces.submit("runs-on", 30, 0, Value::Null).await;
    let waits = traces
        .submit("waits", 1, 0, json!({ "slurm": { "begin": "now+5" } }))
        .await;
    api.until_state(&ends_meanwhile.id, Running).await;
    api.until_state(&runs_on.id, Running).await;
    api.until_state(&waits.id, Pending).await;
    slurm.stop_controller().await.unwrap();
    let cluster = api.cluster_is(Freshness::Stale).await;
    assert!(cluster.status.message.is_some(), "says why: {cluster:?}");
    // It has ended by now, but nobody can know.
    eventually("the end of a job", || async {
        traces
            .witness
            .lines()
            .contains(&"end ends-meanwhile".to_owned())
            .then_some(())
    })
    .await;
    milliseconds(500).await;
    let state = |id: &str| {
        let id = id.to_owned();
        let api = &api;
        async move { api.job(&id).await.status.state }
    };
    for (job, last) in [
        (&ends_meanwhile, Running),
        (&runs_on, Running),
        (&waits, Pending),
    ] {
        assert_eq!(
            state(&job.id).await,
            last,
            "{}: the last state stays",
            job.name
        );
    }
    // Nor does anybody claim to know.
    let freshness = api.job(&runs_on.id).await.status.freshness;
    assert_eq!(freshness, Freshness::Stale);
    let late = traces.submit("late", 1, 0, Value::Null).await;
    milliseconds(700).await;
    let found: JobState = state(&late.id).await;
    assert!(
        !found.is_end() && found != Running && found != Pending,
        "{found}"
    );
    let shown = world.cli_ok(1, &["clusters"]).await;
    assert!(shown.contains("stale"), "{shown}");
    slurm.start_controller().await.unwrap();
    api.cluster_is(Freshness::Live).await;
    for job in [&ends_meanwhile, &waits, &late, &runs_on] {
        traces.check(job).await;
    }
    world.site.stop().await.unwrap();
    slurm.stop().await.unwrap();
}
