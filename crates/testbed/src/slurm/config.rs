//! The text of `slurm.conf` and `slurmdbd.conf`: pure, so that it can be seen whole in a snapshot.

use std::fmt::Write;

use super::layout::{CONTROLLER_PORT, DBD_PORT, FIRST_NODE_PORT, Layout};
use super::options::Options;

/// What the files depend on.
pub(super) struct Settings<'a> {
    pub(super) options: &'a Options,
    pub(super) layout: &'a Layout,
    pub(super) cluster_name: &'a str,
    /// This host's short name, which the daemons compare with.
    pub(super) host: &'a str,
    /// The first of the instance's ports.
    pub(super) first_port: u16,
    /// `(major, minor)` of Slurm.
    pub(super) version: (u16, u16),
}

pub(super) fn slurm_conf(settings: &Settings<'_>) -> String {
    let Settings {
        options,
        layout,
        cluster_name,
        host,
        first_port,
        ..
    } = settings;
    let path = |path: &std::path::Path| path.display().to_string();
    let mut text = format!(
        "\
ClusterName={cluster_name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=slurm
AuthType=auth/munge
AuthInfo=socket={munge_socket}
CredType=cred/munge
# Listen on the address of this host name, not on every address.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
# No cgroups needed.
ProctrackType={proctrack}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Trust the node lines below, not the real hardware.
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=60
MinJobAge={min_job_age}
MaxArraySize=10001
MaxJobCount={max_jobs}
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=5,bf_interval=5
MpiDefault=none
MailProg=/bin/true
StateSaveLocation={state}
SlurmdSpoolDir={spool}/%n
SlurmctldPidFile={slurm_run}/slurmctld.pid
SlurmdPidFile={dir}/run/slurmd.%n.pid
SlurmctldLogFile={slurm_log}/slurmctld.log
SlurmdLogFile={log}/slurmd.%n.log
SlurmctldDebug=info
SlurmdDebug=info
",
        controller_port = first_port + CONTROLLER_PORT,
        munge_socket = path(&layout.munge_socket),
        proctrack = options.proctrack,
        min_job_age = options.min_job_age,
        max_jobs = options.max_jobs,
        state = path(&layout.state),
        spool = path(&layout.spool),
        slurm_run = path(&layout.slurm_run),
        slurm_log = path(&layout.slurm_log),
        dir = path(&layout.dir),
        log = path(&layout.log),
    );
    if options.rest {
        let _ = write!(text, "{}", jwt(layout));
    }
    if options.accounting {
        let _ = write!(
            text,
            "\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={munge}
AccountingStoreFlags=job_comment,job_script
",
            port = first_port + DBD_PORT,
            munge = path(&layout.munge_socket),
        );
    }
    // Real nodes share this host: one port each. A range of one is written without a dash.
    let first = first_port + FIRST_NODE_PORT;
    let (names, ports) = match options.nodes {
        0 | 1 => ("n1".to_owned(), first.to_string()),
        nodes => (
            format!("n[1-{nodes}]"),
            format!("{first}-{}", first + nodes - 1),
        ),
    };
    let _ = write!(
        text,
        "\
NodeName={names} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=debug Nodes={names} Default=YES MaxTime=1-0 State=UP OverSubscribe=NO
PartitionName=short Nodes=n1 MaxTime=10 State=UP PriorityTier=10
",
        cpus = options.cpus,
        memory = options.memory_mib,
    );
    text.push_str(&options.extra_conf);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

pub(super) fn slurmdbd_conf(settings: &Settings<'_>, password: &str) -> String {
    let Settings {
        options,
        layout,
        first_port,
        ..
    } = settings;
    format!(
        "\
AuthType=auth/munge
AuthInfo=socket={munge_socket}
{jwt}DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=slurm
DebugLevel=info
LogFile={slurm_log}/slurmdbd.log
PidFile={slurm_run}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
",
        munge_socket = layout.munge_socket.display(),
        jwt = if options.rest {
            jwt(layout)
        } else {
            String::new()
        },
        port = first_port + DBD_PORT,
        slurm_log = layout.slurm_log.display(),
        slurm_run = layout.slurm_run.display(),
    )
}

/// From 23.11 on slurmd looks for cgroups unless told not to.
pub(super) fn cgroup_conf(version: (u16, u16)) -> Option<&'static str> {
    (version >= (23, 11)).then_some("CgroupPlugin=disabled\n")
}

/// slurmrestd's plugins: without accounting those for slurmdbd refuse to load, so the others are
/// named.
pub(super) fn rest_plugins(settings: &Settings<'_>) -> &'static [&'static str] {
    match (settings.options.accounting, settings.version >= (23, 11)) {
        (true, _) => &[],
        (false, true) => &["-s", "openapi/slurmctld"],
        (false, false) => &["-s", "openapi/v0.0.38"],
    }
}

fn jwt(layout: &Layout) -> String {
    format!(
        "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={}\n",
        layout.jwt_key.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings<'a>(options: &'a Options, layout: &'a Layout) -> Settings<'a> {
        Settings {
            options,
            layout,
            cluster_name: "fb20000",
            host: "host",
            first_port: 20000,
            version: (22, 5),
        }
    }

    #[test]
    fn with_accounting_and_rest() {
        let options = Options {
            accounting: true,
            rest: true,
            extra_conf: "PrivateData=jobs".to_owned(),
            ..Options::default()
        };
        let layout = Layout::new(Path::new("/var/tmp/d"));
        let settings = settings(&options, &layout);
        insta::assert_snapshot!(slurm_conf(&settings));
        insta::assert_snapshot!(slurmdbd_conf(&settings, "secret"));
        assert!(rest_plugins(&settings).is_empty());
    }

    #[test]
    fn one_node_without_accounting_needs_no_range_and_names_no_database() {
        let options = Options {
            nodes: 1,
            ..Options::default()
        };
        let layout = Layout::new(Path::new("/var/tmp/d"));
        let text = slurm_conf(&settings(&options, &layout));
        assert!(
            text.contains("NodeName=n1 NodeHostname=host NodeAddr=127.0.0.1 Port=20004 CPUs=2"),
            "{text}"
        );
        assert!(
            !text.contains("AccountingStorage") && !text.contains("jwt"),
            "{text}"
        );
        let newer = Settings {
            version: (24, 11),
            ..settings(&options, &layout)
        };
        assert_eq!(rest_plugins(&newer), ["-s", "openapi/slurmctld"]);
        assert_eq!(
            (cgroup_conf((24, 5)), cgroup_conf((22, 5))),
            (Some("CgroupPlugin=disabled\n"), None)
        );
    }
}
