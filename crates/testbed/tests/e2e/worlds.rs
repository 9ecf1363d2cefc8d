//! The installations that tests share, each started when it is first needed, ended by its guard
//! with the test process. Whoever breaks something has one of its own.

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use forebay_testbed::accounts::{self, Account};
use forebay_testbed::process::Output;
use forebay_testbed::programs;
use forebay_testbed::site::{Options, Scheduler, Site};
use forebay_testbed::slurm::{self, Slurm};
use tokio::sync::OnceCell;

use crate::api::Api;

/// Users of each world: `fbtest1` and so on.
const USERS: u32 = 4;
/// Slurm believes in so many cores a node: no test waits for another's jobs.
const CPUS: u16 = 16;
/// For what takes a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An installation with its users.
#[derive(Debug)]
pub(crate) struct World {
    // First: dropped before what it shows.
    _logs: Logs,
    pub(crate) site: Site,
    users: Vec<Account>,
}

impl World {
    /// Starts one of a test's own.
    pub(crate) async fn start(scheduler: Scheduler) -> Self {
        Self::start_with(Options {
            scheduler,
            ..Options::default()
        })
        .await
    }

    /// The same, of another kind.
    pub(crate) async fn start_with(options: Options) -> Self {
        let users = users();
        let names = users.iter().map(|user| user.name.clone()).collect();
        let site = Site::start(Options {
            users: names,
            poll_ms: Some(150),
            log_filter: "info,forebay_agent=debug".to_owned(),
            ui_dir: programs::page(),
            ..options
        });
        let site = site
            .await
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        let services = [
            "view-server",
            "view-server-2",
            "agent",
            "agent-2",
            "postgres",
        ];
        Self {
            _logs: Logs(services.map(|name| site.log_file(name)).to_vec()),
            site,
            users,
        }
    }

    /// Over a Slurm without accounting.
    pub(crate) async fn plain() -> &'static Self {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        let start = async || Self::start(Scheduler::slurm(plain_slurm().await)).await;
        WORLD.get_or_init(start).await
    }

    /// Over a Slurm with accounting.
    pub(crate) async fn accounting() -> &'static Self {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        let start = async || Self::start(Scheduler::slurm(accounting_slurm().await)).await;
        WORLD.get_or_init(start).await
    }

    /// Processes of this host, two at once.
    pub(crate) async fn local() -> &'static Self {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        let start = async || Self::start(Scheduler::Local { slots: 2 }).await;
        WORLD.get_or_init(start).await
    }

    /// A user, counted from 1. As an ordinary user there is one only.
    pub(crate) fn user(&self, number: usize) -> &Account {
        self.users.get(number - 1).unwrap_or(&self.users[0])
    }

    /// The API as a user, counted from 1.
    pub(crate) fn api(&self, number: usize) -> Api {
        let token = self.site.token(&self.user(number).name).unwrap();
        Api::new(&self.site.api_url(), Some(&token))
    }

    /// The API as nobody.
    pub(crate) fn anonymous(&self) -> Api {
        Api::new(&self.site.api_url(), None)
    }

    /// Runs the command as a user, whatever its exit code.
    pub(crate) async fn cli(&self, number: usize, args: &[&str]) -> Output {
        let user = &self.user(number).name;
        self.site.run_cli(user, args.iter().copied()).await.unwrap()
    }

    /// The same; it must succeed. Returns standard output.
    pub(crate) async fn cli_ok(&self, number: usize, args: &[&str]) -> String {
        let output = self.cli(number, args).await;
        assert!(
            output.exit.success(),
            "{args:?}: {}: {}",
            output.exit,
            output.stderr()
        );
        output.stdout()
    }

    /// A file in a user's home that a job appends to: what happened, and how often.
    pub(crate) fn witness(&self, number: usize) -> Witness {
        let name = format!("witness-{}", tempfile_name());
        Witness(self.user(number).home.join(name))
    }
}

/// The services' logs: gone with their directory, so shown where a test fails.
#[derive(Debug)]
struct Logs(Vec<PathBuf>);

impl Drop for Logs {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for path in &self.0 {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(40)..);
            let tail = tail.unwrap_or_default().join("\n");
            println!("{} ends:\n{tail}", path.display());
        }
    }
}

fn tempfile_name() -> String {
    let mut bytes = [0; 8];
    let mut random = std::fs::File::open("/dev/urandom").unwrap();
    std::io::Read::read_exact(&mut random, &mut bytes).unwrap();
    format!("{:016x}", u64::from_ne_bytes(bytes))
}

/// See [`World::witness`]; removed with the test.
pub(crate) struct Witness(PathBuf);

impl Witness {
    /// Its path, for a job's script.
    pub(crate) fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// Its lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn users() -> Vec<Account> {
    if forebay_testbed::need::missing(forebay_testbed::need::Thing::Root).is_some() {
        return vec![accounts::current().unwrap()];
    }
    accounts::test_accounts(USERS).unwrap()
}

/// The shared Slurm without accounting.
pub(crate) async fn plain_slurm() -> &'static Slurm {
    static SLURM: OnceCell<Slurm> = OnceCell::const_new();
    SLURM.get_or_init(async || start_slurm(false).await).await
}

/// The shared Slurm with accounting.
pub(crate) async fn accounting_slurm() -> &'static Slurm {
    static SLURM: OnceCell<Slurm> = OnceCell::const_new();
    SLURM.get_or_init(async || start_slurm(true).await).await
}

/// A Slurm of a test's own, or for a shared one.
pub(crate) async fn start_slurm(accounting: bool) -> Slurm {
    Slurm::start(slurm_options(accounting))
        .await
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// What such a Slurm is like.
pub(crate) fn slurm_options(accounting: bool) -> slurm::Options {
    let names = users().into_iter().map(|user| user.name).collect();
    // A job that asks for no memory does not get a whole node's. One of the two refuses at once
    // what can never run; the other, as Slurm does by default, lets it wait.
    let extra = if accounting {
        "DefMemPerCPU=16\n"
    } else {
        "DefMemPerCPU=16\nEnforcePartLimits=ALL\n"
    };
    slurm::Options {
        cpus: CPUS,
        users: names,
        accounting,
        extra_conf: extra.to_owned(),
        ..slurm::Options::default()
    }
}

/// An error and why.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}\n  because: {cause}");
        source = cause.source();
    }
    text
}

/// Asks until it is some; panics with `what` after [`PATIENCE`].
pub(crate) async fn eventually<T, F>(what: &str, mut check: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}
