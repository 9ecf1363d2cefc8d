//! Both integrations keep the promises that every integration must keep, with a real scheduler.

use std::path::{Path, PathBuf};

use forebay_agent::accounts::Account;
use forebay_agent::integration::{conformance, local::Local, slurm::Slurm};
use forebay_agent::user_agents::{Config, UserAgents};
use forebay_testbed::dirs::Dir;
use forebay_testbed::{accounts, need, programs, slurm};
use forebay_wire::api::JobSpec;

fn account(found: accounts::Account) -> Account {
    Account {
        uid: found.uid,
        gid: found.gid,
        name: found.name,
        home: found.home.display().to_string(),
    }
}

/// The environment names the files in the user's home, so that they can be removed.
fn user_agents(dir: &Path, environment: &str, slurm_conf: Option<PathBuf>) -> UserAgents {
    UserAgents::new(Config {
        program: programs::path("forebay-user-agent").expect("built"),
        run_dir: dir.join("run"),
        environment: environment.to_owned(),
        bin_dir: None,
        slurm_conf,
        log_dir: None,
        end_with_agent: true,
    })
}

fn spec(command: &[&str]) -> JobSpec {
    let spec = serde_json::json!({ "cluster": "hpc", "command": command });
    serde_json::from_value(spec).expect("a spec")
}

/// What an environment's jobs leave in their owner's home, removed with the test.
struct Files(PathBuf);

impl Files {
    fn of(account: &Account, environment: &str) -> Self {
        let state = Path::new(&account.home).join(".local/state/forebay");
        Self(state.join(environment))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Where a test failed early there may be none.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn slurm() {
    need!(Slurm);
    let account = account(accounts::test_account(1).expect("an account"));
    let slurm = slurm::Slurm::start(slurm::Options::default())
        .await
        .expect("started");
    let dir = Dir::new("conformance").expect("a directory");
    let environment = format!("conformance-{}", slurm.cluster_name());
    let conf = slurm.conf_path().to_owned();
    let _files = Files::of(&account, &environment);
    let user_agents = user_agents(dir.path(), &environment, Some(conf.clone()));
    let integration = Slurm::new(user_agents.clone(), Some(conf), None);
    conformance::check(&integration, &account, spec).await;
    user_agents.end().await;
    slurm.stop().await.expect("stopped");
}

#[tokio::test]
async fn local() {
    let found = if is_root() {
        accounts::test_account(2)
    } else {
        accounts::current()
    };
    let account = account(found.expect("an account"));
    let dir = Dir::new("conformance").expect("a directory");
    let environment = format!("conformance-local-{}", std::process::id());
    let _files = Files::of(&account, &environment);
    let user_agents = user_agents(dir.path(), &environment, None);
    let integration = Local::new(user_agents.clone(), 2);
    conformance::check(&integration, &account, spec).await;
    user_agents.end().await;
}

/// As root, jobs run as a test account; else as whoever runs the tests.
fn is_root() -> bool {
    forebay_testbed::need::missing(forebay_testbed::need::Thing::Root).is_none()
}

/// Whoever started them: an agent that was killed leaves its user-agents to the next one.
#[tokio::test]
async fn user_agents_of_an_earlier_agent_end_with_the_next_one() {
    let (found, other) = if is_root() {
        (accounts::test_account(2), Some(accounts::test_account(3)))
    } else {
        (accounts::current(), None)
    };
    let account = account(found.expect("an account"));
    let other = other.map(|other| self::account(other.expect("an account")));
    let dir = Dir::new("adopt").expect("a directory");
    let environment = format!("adopt-{}", std::process::id());
    let _files = Files::of(&account, &environment);
    let _others_files = other.as_ref().map(|other| Files::of(other, &environment));
    let new = || user_agents(dir.path(), &environment, None);
    let earlier = new();
    for account in [Some(&account), other.as_ref()].into_iter().flatten() {
        earlier.local_jobs(account).await.expect("it answers");
    }
    // As at `kill -9`: nothing ends them.
    drop(earlier);
    assert_eq!(
        user_agents_of(&environment).len(),
        1 + usize::from(other.is_some())
    );
    let next = new();
    // One is found again; of the other nobody asks.
    next.local_jobs(&account).await.expect("it answers");
    next.end().await;
    let began = std::time::Instant::now();
    while !user_agents_of(&environment).is_empty() {
        assert!(began.elapsed().as_secs() < 15, "some are left");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The user-agents of an environment that live.
fn user_agents_of(environment: &str) -> Vec<i32> {
    let is_one = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is_program = words[0].ends_with(b"/forebay-user-agent");
        is_program && words.contains(&environment.as_bytes())
    };
    let names = std::fs::read_dir("/proc").expect("read").flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_one).collect()
}
