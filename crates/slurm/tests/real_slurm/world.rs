//! A cluster, its users, and Slurm's programs run as them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use forebay_slurm::cli::Limits;
use forebay_slurm::runner::{Config, LocalRunner};
use forebay_slurm::{Cli, JobId, QueueJob, QueueQuery, Submission};
use forebay_testbed::accounts::{Account, test_accounts};
use forebay_testbed::slurm::{Options, Slurm};
use tokio::sync::OnceCell;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A cluster and the users that know it.
pub(crate) struct World {
    pub(crate) slurm: Slurm,
    pub(crate) users: Vec<Account>,
}

/// Partitions and licences to be refused by.
const EXTRA: &str = "\
EnforcePartLimits=ALL
Licenses=matlab:2
AccountingStorageEnforce=associations,limits,qos
PartitionName=staff Nodes=n1 AllowGroups=root State=UP
PartitionName=inact Nodes=n1 State=INACTIVE
PartitionName=drain Nodes=n1 State=DRAIN
PartitionName=one Nodes=n[1-2] MaxNodes=1 MaxMemPerNode=512 State=UP
";

impl World {
    /// A cluster of its own.
    pub(crate) async fn start(accounting: bool, extra_conf: &str) -> Self {
        let users = test_accounts(4).expect("test accounts");
        let names = users.iter().map(|user| user.name.clone()).collect();
        let options = Options {
            cpus: 16,
            memory_mib: 4096,
            users: names,
            accounting,
            extra_conf: format!("DefMemPerCPU=16\n{extra_conf}"),
            ..Options::default()
        };
        Self {
            slurm: Slurm::start(options).await.expect("a cluster"),
            users,
        }
    }

    /// The cluster with accounting that the tests share; it ends with the process.
    pub(crate) async fn shared() -> &'static Self {
        static WORLD: OnceCell<World> = OnceCell::const_new();
        WORLD
            .get_or_init(|| async {
                let world = Self::start(true, EXTRA).await;
                // One session, because each call costs about a second.
                let user = &world.users[3].name;
                let lines = format!(
                    "add account small\nadd user {user} account=small MaxSubmitJobs=1\n\
                     add qos tiny set MaxSubmitJobsPerUser=1\nmodify user {user} set qos+=tiny\nquit\n"
                );
                let command = world.slurm.command("sacctmgr", None).expect("sacctmgr").arg("-i");
                world.slurm.run(command, lines.as_bytes(), PATIENCE).await.expect("limits");
                world
            })
            .await
    }

    /// A runner that runs Slurm's programs as that user.
    pub(crate) fn runner(&self, user: usize) -> LocalRunner {
        let account = &self.users[user];
        let bin_dir = self.slurm.dir().join(format!("bin-{}", account.name));
        if !bin_dir.exists() {
            // Made aside and renamed: tests run side by side.
            let new = self.slurm.dir().join(format!(
                "bin-{}.{:?}",
                account.name,
                std::thread::current().id()
            ));
            std::fs::create_dir_all(&new).expect("a directory");
            for program in ["sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"] {
                let text = format!(
                    "#!/bin/sh\nexec setpriv --reuid {} --regid {} --init-groups {program} \"$@\"\n",
                    account.uid, account.gid
                );
                let path = new.join(program);
                std::fs::write(&path, text).expect("a program");
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                    .expect("a program");
            }
            if std::fs::rename(&new, &bin_dir).is_err() {
                std::fs::remove_dir_all(&new).expect("another test was first");
            }
        }
        LocalRunner::new(Config {
            bin_dir: Some(bin_dir),
            slurm_conf: Some(self.slurm.conf_path().to_owned()),
            env: vec![
                ("HOME".into(), account.home.display().to_string()),
                ("USER".into(), account.name.clone()),
            ],
            dir: account.home.clone(),
            ..Config::default()
        })
    }

    /// Slurm as that user.
    pub(crate) fn cli(&self, user: usize) -> Cli {
        Cli::new(self.runner(user))
    }

    /// Slurm as that user, with little patience.
    pub(crate) fn hasty_cli(&self, user: usize) -> Cli {
        let second = Duration::from_secs(2);
        Cli::with_limits(
            self.runner(user),
            Limits {
                submit_deadline: second,
                query_deadline: second,
                batch_max: 200,
            },
        )
    }

    /// A directory of that user's own, for a test of that name.
    pub(crate) fn dir(&self, user: usize, name: &str) -> PathBuf {
        let dir = self.slurm.dir().join(format!("files-{name}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let account = &self.users[user];
        std::os::unix::fs::chown(&dir, Some(account.uid), Some(account.gid))
            .expect("a directory of the user's");
        dir
    }
}

/// A small job, output thrown away.
pub(crate) fn job(script: &str) -> Submission {
    let mut submission = Submission::new(format!("#!/bin/sh\n{script}\n"));
    submission.options.output = Some("/dev/null".into());
    submission
}

/// Asks for these jobs until they are as wanted.
pub(crate) async fn wait_for(
    cli: &Cli,
    ids: &[JobId],
    what: &str,
    wanted: impl Fn(&[QueueJob]) -> bool,
) -> Vec<QueueJob> {
    let query = QueueQuery {
        ids: ids.to_vec(),
        ..QueueQuery::default()
    };
    let end = Instant::now() + 2 * PATIENCE;
    loop {
        let listing = cli.queue(&query).await.expect("a list");
        assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
        if wanted(&listing.items) {
            return listing.items;
        }
        assert!(Instant::now() < end, "{what}: {:#?}", listing.items);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Waits until all of them have ended.
pub(crate) async fn wait_for_ends(cli: &Cli, ids: &[JobId]) -> Vec<QueueJob> {
    wait_for(cli, ids, "the end", |jobs| {
        !jobs.is_empty() && jobs.iter().all(|job| job.state.is_terminal())
    })
    .await
}

/// Asks accounting, which is late, until its records are whole and as wanted.
pub(crate) async fn wait_for_records(
    cli: &Cli,
    ids: &[JobId],
    wanted: impl Fn(&[forebay_slurm::AcctJob]) -> bool,
) -> Vec<forebay_slurm::AcctJob> {
    let query = forebay_slurm::AcctQuery {
        ids: ids.to_vec(),
        ..Default::default()
    };
    let end = Instant::now() + PATIENCE;
    loop {
        let listing = cli.accounting(&query).await.expect("records");
        assert!(listing.skipped.is_empty(), "{:?}", listing.skipped);
        if !listing.items.iter().any(|record| record.partial) && wanted(&listing.items) {
            return listing.items;
        }
        assert!(Instant::now() < end, "{:#?}", listing.items);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
