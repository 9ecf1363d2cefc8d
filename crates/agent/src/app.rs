//! From the command line to a running site.

use std::{collections::HashMap, path::Path, process::ExitCode, sync::Arc};

use clap::Parser;
use forebay_postgres::Pool;
use forebay_service::{Backoff, Nudge, Service, Strictness, logs};
use forebay_wire::ClusterName;

use crate::{
    accounts::Accounts,
    args::{Action, Args},
    config::{Config, Kind},
    enrolment,
    integration::{Integration, local::Local, slurm::Slurm},
    job::Tracked,
    link::{Link, Site},
    maintainer::{Maintainer, Parts},
    store::Store,
    user_agents::UserAgents,
};

/// Closed jobs are forgotten after a week: for so long a lost one may turn up.
const KEEP_CLOSED: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The program.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args.config, Strictness { dev: args.dev }) {
        Ok(config) => config,
        Err(error) => return complain(&error),
    };
    if args.action == Some(Action::Check) {
        return ExitCode::SUCCESS;
    }
    if let Some(Action::Enrol { token_file }) = &args.action {
        return match enrol(&config, token_file.as_deref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(error.as_ref()),
        };
    }
    if let Err(error) = logs::init(config.log_format, &config.log_filter) {
        return complain(&error);
    }
    let drain = config.drain;
    forebay_service::main("forebay-agent", drain, |service| start(service, config))
}

#[expect(
    clippy::print_stderr,
    reason = "a person reads it, and logs are not set up yet"
)]
fn complain(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("forebay-agent: {}", logs::chain(error));
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "a command speaks to a person")]
fn enrol(config: &Config, token_file: Option<&Path>) -> Result<(), Failure> {
    let ticket = enrolment::ticket(token_file)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let link = &config.link;
    let enrolled = runtime.block_on(enrolment::enrol(&link.enrolment, &ticket, link.strictness))?;
    println!(
        "Enrolled as site {} at {}. Its key is in {} and stays there.",
        enrolled.site(),
        enrolled.url(),
        link.enrolment.display()
    );
    Ok(())
}

async fn start(service: Service, config: Config) -> Result<(), Failure> {
    let tasks = service.tasks.clone();
    let pool = Pool::new(forebay_postgres::Config::new(
        config.database,
        "forebay-agent",
    ))?;
    crate::store::hold_site(&pool, &tasks).await?;
    let (store, journal) = Store::open(pool).await?;
    service.metrics.register(
        "agent_reports_unreadable",
        "Reports in the site database that this version cannot read; each was skipped",
        store.unreadable_reports(),
    );
    tasks.supervise("journal", Backoff::default(), move |stop| {
        journal.clone().run(stop)
    });

    let accounts = Accounts::of_this_process()?;
    if let Some(account) = accounts.one_user() {
        tracing::info!(
            account = account.name,
            "not root: runs this user's own jobs only"
        );
    }
    let user_agents = UserAgents::new(config.user_agents);
    let declared = config.clusters.iter().map(|cluster| {
        let integration = match cluster.kind {
            Kind::Slurm { .. } => "slurm",
            Kind::Local { .. } => "local",
        };
        (cluster.name.clone(), integration)
    });
    let link = Link::new(
        &config.link,
        store.clone(),
        declared.collect(),
        &service.metrics,
    )
    .await?;

    let mut jobs: HashMap<ClusterName, Vec<Tracked>> = HashMap::new();
    for job in store.open_jobs().await? {
        jobs.entry(job.cluster.clone()).or_default().push(job);
    }
    let mut maintainers = HashMap::new();
    for cluster in config.clusters {
        let integration: Arc<dyn Integration> = match cluster.kind {
            Kind::Slurm { conf, bin_dir } => {
                Arc::new(Slurm::new(user_agents.clone(), conf, bin_dir))
            }
            Kind::Local { slots } => Arc::new(Local::new(user_agents.clone(), slots)),
        };
        let parts = Parts {
            cluster: cluster.name.clone(),
            integration,
            limits: cluster.limits,
            store: store.clone(),
            accounts: accounts.clone(),
            link: link.clone(),
            user_agents: user_agents.clone(),
        };
        let of_cluster = jobs.remove(&cluster.name).unwrap_or_default();
        maintainers.insert(cluster.name, Maintainer::start(parts, &tasks, of_cluster));
    }
    for (cluster, left) in jobs {
        tracing::error!(%cluster, jobs = left.len(), "open jobs of a cluster that is no longer configured wait");
    }
    let site = Site::new(
        maintainers,
        store.clone(),
        accounts,
        user_agents.clone(),
        tasks.clone(),
    );
    link.start(site, &tasks);
    retention(&store, &tasks);
    end_user_agents(user_agents, &tasks);
    if let Some(address) = config.listen {
        crate::link::serve_health(address, &service, &link).await?;
    }
    Ok(())
}

fn retention(store: &Store, tasks: &forebay_service::Tasks) {
    let store = store.clone();
    let every = forebay_service::Every::new(std::time::Duration::from_secs(3600));
    tasks.periodic("retention", every, Nudge::new(), move || {
        let store = store.clone();
        async move { store.prune(KEEP_CLOSED).await.map(|_| ()) }
    });
}

/// Those that are to end with the agent end when it drains.
fn end_user_agents(user_agents: UserAgents, tasks: &forebay_service::Tasks) {
    let stopping = tasks.stopping();
    drop(tasks.spawn("end user-agents", async move {
        stopping.cancelled().await;
        user_agents.end().await;
    }));
}
