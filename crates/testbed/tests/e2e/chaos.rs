//! Services are killed at random moments while many jobs are handed in: each job runs exactly once
//! and comes to its end. Who is right about "once" is a file that each job appends to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forebay_http::client::Call;
use forebay_http::{Client, ClientError};
use forebay_testbed::need;
use forebay_testbed::site::Scheduler;
use forebay_wire::api::Job;
use forebay_wire::{Code, JobId, JobState};
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::worlds::{World, chain, eventually, plain_slurm};

/// Jobs of a run, and of its long form.
const JOBS: (usize, usize) = (200, 1_000);
/// From one kill to the next at most, in milliseconds.
const CALM_MS: u64 = 600;
/// From one submission to the next: the kills are to fall among them.
const PACE: Duration = Duration::from_millis(60);
/// In turn, so that each is.
const VICTIMS: [&str; 5] = ["agent", "view-server", "realtime", "user-agent", "postgres"];
/// Its supervisor waits longer each time before it starts Postgres again.
const POSTGRES_MAX: usize = 3;
/// Until all jobs have ended, once nothing is killed any more.
const PATIENCE: Duration = Duration::from_secs(240);

struct Random(u64);

impl Random {
    /// From `FOREBAY_SEED`, or new; printed, for a failure to be tried again.
    fn new() -> Self {
        let given = std::env::var("FOREBAY_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) | 1
        });
        println!("FOREBAY_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Asks again until there is an answer: what is asked may be down.
async fn insist<T: DeserializeOwned>(what: &str, call: impl Fn() -> Call) -> T {
    let began = Instant::now();
    loop {
        match call().send().await.and_then(|answer| answer.json()) {
            Ok(answer) => return answer,
            Err(ClientError::Problem(problem)) if problem.code != Code::Unavailable => {
                panic!("{what}: {problem:?}");
            }
            Err(error) => assert!(began.elapsed() < PATIENCE, "{what}: {}", chain(&error)),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Hands all of them in, as a careful caller does: with a key, so that asking again is safe.
async fn submit_all(client: &Client, witness: &str, count: usize) -> Vec<JobId> {
    let mut ids = Vec::with_capacity(count);
    for number in 0..count {
        let script = format!("#!/bin/sh\necho {number} >>{witness}\n");
        let body = json!({ "spec": { "cluster": "hpc", "script": script } });
        let key = format!("chaos-{number}");
        let job: Job = insist(&key, || {
            let call = client.call(Method::POST, "/api/v1/jobs");
            let call = call.json(&body).unwrap();
            call.header("idempotency-key", &key).unwrap()
        })
        .await;
        ids.push(job.id);
        tokio::time::sleep(PACE).await;
    }
    ids
}

async fn kill_one(world: &World, random: &mut Random, killed: &mut BTreeMap<&'static str, usize>) {
    let site = &world.site;
    let dead = Duration::from_millis(random.below(300));
    let victim = match VICTIMS[killed.values().sum::<usize>() % VICTIMS.len()] {
        "postgres" if killed.get("postgres") >= Some(&POSTGRES_MAX) => "agent",
        victim => victim,
    };
    *killed.entry(victim).or_default() += 1;
    match victim {
        "postgres" => {
            site.kill9_postgres_server().unwrap();
            let api = world.api(1);
            eventually("Postgres", || async { api.is_ready().await.then_some(()) }).await;
        }
        "user-agent" => drop(site.kill9_user_agent(&world.user(1).name)),
        service => {
            site.kill9(service).await.unwrap();
            tokio::time::sleep(dead).await;
            start(world, service).await;
        }
    }
}

async fn start(world: &World, service: &str) {
    let started = match service {
        "agent" => world.site.start_agent().await,
        "view-server" => world.site.start_view_server().await,
        _ => world.site.start_realtime(0).await,
    };
    started.unwrap();
}

#[tokio::test]
async fn each_job_runs_once_whatever_is_killed() {
    need!(Slurm, Postgres, Root);
    let count = if std::env::var_os("FOREBAY_LONG").is_some() {
        JOBS.1
    } else {
        JOBS.0
    };
    let world = World::start(Scheduler::slurm(plain_slurm().await)).await;
    let witness = world.witness(1);
    let mut random = Random::new();
    let mut killed = BTreeMap::new();
    let path = witness.path();
    let token = world.site.token(&world.user(1).name).unwrap();
    let client = Client::tcp(&world.site.api_url()).unwrap();
    let client = client.with_bearer(&token.into()).unwrap();
    let ids = {
        let mut submitting = std::pin::pin!(submit_all(&client, &path, count));
        loop {
            let calm = Duration::from_millis(random.below(CALM_MS));
            if let Ok(ids) = tokio::time::timeout(calm, &mut submitting).await {
                break ids;
            }
            // Those that submit go on meanwhile.
            let kill = kill_one(&world, &mut random, &mut killed);
            tokio::select! {
                () = kill => {}
                ids = &mut submitting => break ids,
            }
        }
    };
    // What was killed last may still be down.
    for (name, running) in [("agent", true), ("view-server", true), ("realtime", true)] {
        let is_up = world
            .site
            .processes()
            .iter()
            .any(|(known, _)| *known == name);
        if running && !is_up {
            match name {
                "agent" => world.site.start_agent().await.unwrap(),
                "view-server" => world.site.start_view_server().await.unwrap(),
                _ => world.site.start_realtime(0).await.unwrap(),
            }
        }
    }
    let began = Instant::now();
    for id in &ids {
        let path = format!("/api/v1/jobs/{id}");
        let status = loop {
            let job: Job = insist(&path, || client.call(Method::GET, &path)).await;
            if job.status.state.is_end() {
                break job.status;
            }
            assert!(began.elapsed() < PATIENCE, "{id}: {:#?}", job.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(status.state, JobState::Succeeded, "{id}: {status:#?}");
    }
    let mut ran: BTreeMap<String, u32> = BTreeMap::new();
    for line in witness.lines() {
        *ran.entry(line).or_default() += 1;
    }
    println!("{count} jobs; killed {killed:?}");
    assert_eq!(killed.len(), VICTIMS.len(), "each was killed");
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "ran more than once: {twice:?}");
    assert_eq!(ran.len(), count, "each ran");
    let all = || client.call(Method::GET, "/api/v1/jobs?limit=200");
    let all: Value = insist("all jobs", all).await;
    let listed = all["items"].as_array().map_or(0, Vec::len);
    assert_eq!(listed, count.min(200), "a key makes one job");
    world.site.stop().await.unwrap();
}
