//! The agent's configuration: read as text, checked as a whole, then used.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use forebay_postgres::Target;
use forebay_service::{
    Strictness,
    config::{self, ConfigError, Problems, Spanned},
    logs::Format,
};
use forebay_wire::ClusterName;
use serde::Deserialize;

use crate::{maintainer::Limits, user_agents};

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the view-server is, and how we prove who we are.
    pub link: Link,
    /// The site database.
    pub database: Target,
    /// How user-agents are started.
    pub user_agents: user_agents::Config,
    /// The clusters of the site.
    pub clusters: Vec<Cluster>,
    /// How logs look.
    pub log_format: Format,
    /// What is logged.
    pub log_filter: String,
    /// Where health and metrics are served.
    pub listen: Option<SocketAddr>,
    /// How long to wait for what is under way at the end.
    pub drain: Duration,
}

/// The link to the view-server.
#[derive(Clone, Debug)]
pub struct Link {
    /// The directory of the site's enrolment, which says where the view-server is.
    pub enrolment: PathBuf,
    /// Whether it may be reached in the clear beyond this host.
    pub strictness: Strictness,
}

/// One cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// How much is in hand at once.
    pub limits: Limits,
    /// Its scheduler.
    pub kind: Kind,
}

/// One kind of scheduler, with its settings.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Slurm by its command line.
    Slurm {
        /// Its configuration, where it is not in its usual place.
        conf: Option<PathBuf>,
        /// Where its programs are; `PATH` if absent.
        bin_dir: Option<PathBuf>,
    },
    /// Processes on this host.
    Local {
        /// How many at once.
        slots: u32,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    environment: Spanned<String>,
    run_dir: Option<PathBuf>,
    listen: Option<Spanned<SocketAddr>>,
    drain_s: Option<Spanned<u64>>,
    link: RawLink,
    #[serde(default)]
    database: RawDatabase,
    user_agents: RawUserAgents,
    #[serde(default)]
    log: RawLog,
    #[serde(default)]
    cluster: Vec<Spanned<RawCluster>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLink {
    enrolment: Spanned<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDatabase {
    url: Option<Spanned<String>>,
    socket_dir: Option<PathBuf>,
    name: Option<String>,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUserAgents {
    program: Spanned<PathBuf>,
    log_dir: Option<PathBuf>,
    #[serde(default)]
    end_with_agent: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLog {
    #[serde(default)]
    json: bool,
    filter: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCluster {
    name: Spanned<String>,
    integration: Spanned<String>,
    poll_ms: Option<Spanned<u64>>,
    status_s: Option<Spanned<u64>>,
    sweep_s: Option<Spanned<u64>>,
    open_max: Option<Spanned<usize>>,
    unsubmitted_max: Option<Spanned<usize>>,
    submissions_max: Option<Spanned<usize>>,
    slurm: Option<Spanned<RawSlurm>>,
    local: Option<Spanned<RawLocal>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSlurm {
    conf: Option<PathBuf>,
    bin_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocal {
    slots: Spanned<u32>,
}

impl Config {
    /// Reads and checks `path` and its drop-ins; reports every problem at once.
    pub fn load(path: &Path, strictness: Strictness) -> Result<Self, ConfigError> {
        let (raw, problems) = config::load::<Raw>(path)?;
        check(raw, problems, strictness)
    }
}

fn check(raw: Raw, mut problems: Problems, strictness: Strictness) -> Result<Config, ConfigError> {
    let environment = raw.environment.get_ref().clone();
    // It names directories and is one DNS label, as names are.
    let _: Option<ClusterName> = problems.convert(&raw.environment, |name| name.parse());
    let run_dir = raw
        .run_dir
        .unwrap_or_else(|| Path::new("/run/forebay").join(&environment));
    if !raw.link.enrolment.get_ref().is_absolute() {
        problems.at(raw.link.enrolment.span(), "must be an absolute path");
    }
    if let Some(listen) = &raw.listen
        && !listen.get_ref().ip().is_loopback()
    {
        strictness.insecure(&mut problems, listen.span(), "listens beyond loopback");
    }
    if !raw.user_agents.program.get_ref().is_absolute() {
        problems.at(raw.user_agents.program.span(), "must be an absolute path");
    }
    if raw.cluster.is_empty() {
        problems.missing(
            "cluster",
            "a site has at least one cluster: add [[cluster]]",
        );
    }
    let mut slurm = None;
    let mut names = std::collections::HashSet::new();
    let mut clusters = Vec::new();
    for raw in &raw.cluster {
        if !names.insert(raw.get_ref().name.get_ref().clone()) {
            problems.at(
                raw.get_ref().name.span(),
                "another cluster of this site has this name",
            );
        }
        let Some(cluster) = cluster(raw, &mut problems) else {
            continue;
        };
        if let Kind::Slurm { conf, bin_dir } = &cluster.kind {
            let found = (conf.clone(), bin_dir.clone());
            // User-agents are started with one of each, and would submit to the wrong cluster.
            if slurm.as_ref().is_some_and(|known| *known != found) {
                problems.at(
                    raw.span(),
                    "has another slurm.conf or bin_dir than the slurm cluster before it; \
                     an agent serves one Slurm configuration",
                );
            }
            slurm = Some(found);
        }
        clusters.push(cluster);
    }
    let database = database(&raw.database, &run_dir, &mut problems);
    let drain = Duration::from_secs(problems.within(raw.drain_s.as_ref(), 1..=600, 20));
    let (slurm_conf, bin_dir) = slurm.unwrap_or_default();
    let config = Config {
        link: Link {
            enrolment: raw.link.enrolment.into_inner(),
            strictness,
        },
        // A placeholder where there was a problem, which `finish` then reports.
        database: database.unwrap_or_else(|| private(&run_dir, None, None)),
        user_agents: user_agents::Config {
            program: raw.user_agents.program.into_inner(),
            run_dir,
            environment,
            bin_dir,
            slurm_conf,
            log_dir: raw.user_agents.log_dir,
            end_with_agent: raw.user_agents.end_with_agent,
        },
        clusters,
        log_format: if raw.log.json {
            Format::Json
        } else {
            Format::Pretty
        },
        log_filter: raw.log.filter.unwrap_or_else(|| "info".to_owned()),
        listen: raw.listen.map(Spanned::into_inner),
        drain,
    };
    problems.finish(config)
}

fn database(raw: &RawDatabase, run_dir: &Path, problems: &mut Problems) -> Option<Target> {
    match &raw.url {
        Some(url) => {
            if raw.socket_dir.is_some() || raw.name.is_some() || raw.role.is_some() {
                problems.at(
                    url.span(),
                    "stands for all of it: leave out socket_dir, name and role",
                );
            }
            problems.convert(url, |url| Target::url(url))
        }
        None => {
            let socket_dir = raw
                .socket_dir
                .clone()
                .unwrap_or_else(|| run_dir.join("postgres"));
            Some(private(&socket_dir, raw.name.clone(), raw.role.clone()))
        }
    }
}

fn private(socket_dir: &Path, name: Option<String>, role: Option<String>) -> Target {
    Target::Private {
        socket_dir: socket_dir.to_owned(),
        database: name.unwrap_or_else(|| "forebay_site".to_owned()),
        role: role.unwrap_or_else(|| "forebay_site".to_owned()),
    }
}

fn cluster(raw: &Spanned<RawCluster>, problems: &mut Problems) -> Option<Cluster> {
    let span = raw.span();
    let raw = raw.get_ref();
    let name = problems.convert(&raw.name, |name| name.parse());
    let integration = raw.integration.get_ref().as_str();
    let unused = |problems: &mut Problems, table: Option<std::ops::Range<usize>>, of: &str| {
        if let Some(span) = table {
            problems.at(span, format!("belongs to integration = \"{of}\""));
        }
    };
    let kind = match integration {
        "slurm" => {
            unused(problems, raw.local.as_ref().map(Spanned::span), "local");
            let settings = raw.slurm.as_ref().map(Spanned::get_ref);
            Some(Kind::Slurm {
                conf: settings.and_then(|s| s.conf.clone()),
                bin_dir: settings.and_then(|s| s.bin_dir.clone()),
            })
        }
        "local" => {
            unused(problems, raw.slurm.as_ref().map(Spanned::span), "slurm");
            match &raw.local {
                Some(local) => {
                    let slots = problems.within(Some(&local.get_ref().slots), 1..=10_000, 1);
                    Some(Kind::Local { slots })
                }
                None => {
                    problems.at(
                        span,
                        "says how many jobs run at once: add [cluster.local] with slots",
                    );
                    None
                }
            }
        }
        _ => {
            problems.at(raw.integration.span(), "must be \"slurm\" or \"local\"");
            None
        }
    };
    let usual = Limits::default();
    // A local cluster starts its next job at the next look.
    let poll_ms = if integration == "local" { 200 } else { 1_000 };
    let limits = Limits {
        open_max: problems.within(raw.open_max.as_ref(), 1..=1_000_000, usual.open_max),
        unsubmitted_max: problems.within(
            raw.unsubmitted_max.as_ref(),
            1..=10_000,
            usual.unsubmitted_max,
        ),
        submissions_max: problems.within(
            raw.submissions_max.as_ref(),
            1..=256,
            usual.submissions_max,
        ),
        poll: Duration::from_millis(problems.within(raw.poll_ms.as_ref(), 20..=600_000, poll_ms)),
        status: Duration::from_secs(problems.within(
            raw.status_s.as_ref(),
            1..=3_600,
            usual.status.as_secs(),
        )),
        sweep: Duration::from_secs(problems.within(
            raw.sweep_s.as_ref(),
            1..=3_600,
            usual.sweep.as_secs(),
        )),
    };
    Some(Cluster {
        name: name?,
        limits,
        kind: kind?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let (raw, problems) = config::parse::<Raw>(&[("agent.toml", text)])?;
        check(raw, problems, Strictness { dev: false })
    }

    const GOOD: &str = r#"
environment = "dev"
[link]
enrolment = "/var/lib/forebay/dev/agent/enrolment"
[user_agents]
program = "/usr/libexec/forebay/forebay-user-agent"
[[cluster]]
name = "hpc"
integration = "slurm"
[[cluster]]
name = "here"
integration = "local"
[cluster.local]
slots = 2
"#;

    #[test]
    fn a_small_configuration_suffices() {
        let config = load(GOOD).expect("good");
        assert_eq!(config.clusters.len(), 2);
        assert_eq!(config.user_agents.run_dir, Path::new("/run/forebay/dev"));
    }

    #[test]
    fn every_problem_is_named_with_its_place() {
        let bad = r#"
environment = "Dev"
listen = "0.0.0.0:9000"
[link]
enrolment = "x"
[user_agents]
program = "forebay-user-agent"
[[cluster]]
name = "hpc"
integration = "pbs"
[[cluster]]
name = "hpc"
integration = "local"
poll_ms = 1
"#;
        let error = load(bad).expect_err("bad").to_string();
        for expected in [
            "agent.toml:2:15: environment",
            "agent.toml:3:10: listen: listens beyond loopback",
            "agent.toml:5:13: link.enrolment: must be an absolute path",
            "agent.toml:7:11: user_agents.program: must be an absolute path",
            "cluster[0].integration: must be \"slurm\" or \"local\"",
            "cluster[1].name: another cluster",
            "cluster[1].poll_ms: must be 20 to 600000 (got 1)",
            "add [cluster.local] with slots",
        ] {
            assert!(error.contains(expected), "{expected}\nin\n{error}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        let error =
            load(&GOOD.replace("[user_agents]", "[user_agents]\nprogramm = 1")).expect_err("typo");
        assert!(error.to_string().contains("agent.toml:6:1"), "{error}");
    }
}
