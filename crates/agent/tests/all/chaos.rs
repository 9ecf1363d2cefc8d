//! Everything at once, at random: an agent that is killed, submissions and releases whose answers
//! are lost or late, a scheduler that is silent, and one that forgets that it let jobs go.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay_testbed::need;
use forebay_wire::JobId;

use crate::{
    model::{Let, Submit},
    world::World,
};

/// Jobs of one run.
const JOBS: usize = 60;

struct Random(u64);

impl Random {
    /// From `FOREBAY_SEED`, or new; printed, for a failure to be tried again.
    #[expect(clippy::print_stdout, reason = "a seed must be printed")]
    fn new() -> Self {
        let given = std::env::var("FOREBAY_SEED").ok();
        let seed = given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            u64::from(now.map_or(1, |now| now.subsec_nanos())) | 1
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

fn fault(world: &World, random: &mut Random) {
    let submit = match random.below(8) {
        0 | 1 => Submit::AnswerLost,
        2 | 3 => Submit::Late,
        4 => Submit::Away,
        5 => Submit::Full,
        6 => Submit::Hangs { taken: true },
        _ => Submit::Hangs { taken: false },
    };
    let release = match random.below(4) {
        0 => Some(Let::AnswerLost),
        1 => Some(Let::Unknown),
        _ => None,
    };
    world.with(|model| {
        model.submits.push_back(submit);
        model.releases.extend(release);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_runs_twice_and_none_is_lost_whatever_fails() {
    need!(Postgres);
    let mut random = Random::new();
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut jobs: Vec<JobId> = Vec::new();
    while jobs.len() < JOBS {
        match random.below(10) {
            0..=4 => jobs.push(world.submit()),
            5 | 6 => fault(&world, &mut random),
            7 => world.model.arrive(),
            8 => {
                let silent = random.below(2) == 0;
                world.with(|model| model.silent = silent);
            }
            _ => {
                agent.kill().await;
                agent = world.agent().await;
            }
        }
        if random.below(12) == 0 {
            world.model.restart_and_hold_again();
        }
        tokio::time::sleep(Duration::from_millis(random.below(40))).await;
    }
    // What hangs is cut off with its agent; then all is well again.
    world.with(|model| {
        model.submits.clear();
        model.releases.clear();
        model.silent = false;
    });
    agent.kill().await;
    let agent = world.agent().await;
    world.model.arrive();
    for job in &jobs {
        let story = world.view_server.until_ended(*job).await;
        let runs = world.model.runs(*job);
        assert_eq!(runs, 1, "{job}: {story:?}");
    }
    let none = async {
        while jobs.iter().any(|job| world.model.open(*job) > 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), none)
        .await
        .expect("no copy is left");
    world.end(agent).await;
}
