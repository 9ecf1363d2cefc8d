//! Freezes the JSON of every wire type: what a snapshot shows is what other
//! programs rely on. Each value must also read back as itself.

use std::collections::BTreeMap;

use forebay_wire::{
    ClusterName, Code, Freshness, JobId, JobState, Problem, Timestamp, UserId,
    api::{
        Cluster, ClusterStatus, CreateJob, EventKind, Exit, Health, Job, JobEvent, JobSpec,
        JobStatus, JobTask, LogItem, LogStream, Me, Output, Page, PageSettings, Partition,
        Resources, SignIn, SignedIn, SlurmOptions,
    },
    ipc, link,
};
use serde::{Serialize, de::DeserializeOwned};

#[track_caller]
fn same_after_json<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let text = serde_json::to_string(value).expect("wire types are JSON");
    let back: T = serde_json::from_str(&text).expect("what we write, we read");
    assert_eq!(&back, value);
}

/// Freezes and reads back.
macro_rules! frozen {
    ($name:literal, $value:expr) => {{
        let value = $value;
        same_after_json(&value);
        insta::assert_json_snapshot!($name, value);
    }};
}

fn job_id() -> JobId {
    JobId::from_uuid(uuid::Uuid::from_u128(
        0x0192_f0c1_2345_7abc_8def_0123_4567_89ab,
    ))
}

fn user_id() -> UserId {
    UserId::from_uuid(uuid::Uuid::from_u128(
        0x0192_f0c1_2345_7abc_8def_0000_0000_0001,
    ))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_772_366_400 + seconds).expect("in the calendar")
}

fn cluster() -> ClusterName {
    "hpc".parse().expect("a name")
}

fn site() -> forebay_wire::SiteName {
    "home".parse().expect("a name")
}

fn full_spec() -> JobSpec {
    JobSpec {
        cluster: cluster(),
        name: Some("relax".into()),
        script: Some("#!/bin/sh\nhostname\n".into()),
        command: None,
        resources: Resources {
            nodes: Some(2),
            tasks: Some(8),
            cpus_per_task: Some(4),
            memory_mib: Some(4096),
            gpus: Some(1),
        },
        time_limit_s: Some(3600),
        directory: Some("work".into()),
        environment: BTreeMap::from([("OMP_NUM_THREADS".into(), "4".into())]),
        output: Output {
            stdout: Some("%x.out".into()),
            stderr: Some("%x.err".into()),
        },
        slurm: Some(SlurmOptions {
            partition: Some("debug".into()),
            account: Some("research".into()),
            qos: Some("normal".into()),
            reservation: Some("course".into()),
            constraint: Some("ib".into()),
            array: Some("0-9%2".into()),
            dependency: Some("afterok:123".into()),
            begin: Some("now+1hour".into()),
            gres: Some("gpu:1".into()),
            licenses: Some("matlab:2".into()),
            nodelist: Some("n1".into()),
            exclude: Some("n2".into()),
            exclusive: true,
            hold: true,
            requeue: Some(false),
            nice: Some(100),
            mail_type: Some("END".into()),
            mail_user: Some("alice@example.org".into()),
            comment: Some("for the paper".into()),
            directives: vec!["--ntasks-per-node=4".into()],
        }),
    }
}

fn small_spec() -> JobSpec {
    JobSpec {
        cluster: cluster(),
        name: None,
        script: None,
        command: Some(vec!["hostname".into(), "-f".into()]),
        resources: Resources::default(),
        time_limit_s: None,
        directory: None,
        environment: BTreeMap::new(),
        output: Output::default(),
        slurm: None,
    }
}

fn task() -> JobTask {
    JobTask {
        index: 3,
        state: JobState::TimedOut,
        scheduler_id: Some("124".into()),
        started_at: Some(at(10)),
        ended_at: Some(at(20)),
        exit: Some(Exit {
            code: 0,
            signal: Some(15),
        }),
        nodes: Some("n1".into()),
    }
}

fn cluster_status() -> ClusterStatus {
    ClusterStatus {
        freshness: Freshness::Live,
        message: None,
        version: Some("22.05.8".into()),
        seen_at: Some(at(0)),
        partitions: vec![Partition {
            name: "debug".into(),
            default: true,
            state: "up".into(),
            time_limit_s: Some(86_400),
            nodes: 2,
            cpus: 4,
            cpus_idle: 3,
            memory_mib: Some(1024),
        }],
    }
}

#[test]
fn api_specs() {
    frozen!("create_job_small", CreateJob { spec: small_spec() });
    frozen!("create_job_full", CreateJob { spec: full_spec() });
}

#[test]
fn api_jobs() {
    let queued = JobStatus {
        state: JobState::Queued,
        freshness: Freshness::Live,
        run: 0,
        reason: None,
        cancel_wanted_at: None,
        scheduler_id: None,
        submitted_at: None,
        started_at: None,
        ended_at: None,
        exit: None,
        nodes: None,
        stdout_path: None,
        stderr_path: None,
        tasks: None,
    };
    let ended = JobStatus {
        state: JobState::Failed,
        freshness: Freshness::Stale,
        run: 1,
        reason: Some("NonZeroExitCode".into()),
        cancel_wanted_at: Some(at(15)),
        scheduler_id: Some("123".into()),
        submitted_at: Some(at(1)),
        started_at: Some(at(10)),
        ended_at: Some(at(20)),
        exit: Some(Exit {
            code: 3,
            signal: None,
        }),
        nodes: Some("n[1-2]".into()),
        stdout_path: Some("/home/alice/out".into()),
        stderr_path: Some("/home/alice/err".into()),
        tasks: Some(10),
    };
    let job = |status| Job {
        id: job_id(),
        rev: 4,
        created_at: at(0),
        owner: "alice".into(),
        site: site(),
        spec: small_spec(),
        status,
    };
    frozen!("job_queued", job(queued));
    frozen!(
        "jobs_page",
        Page {
            items: vec![job(ended)],
            next: Some("Y3Vyc29y".into())
        }
    );
    frozen!("job_task", task());
}

#[test]
fn api_events_and_logs() {
    let event = |kind, message: Option<&str>| JobEvent {
        seq: 2,
        at: at(1),
        run: 0,
        kind,
        message: message.map(Into::into),
    };
    frozen!(
        "events",
        vec![
            event(
                EventKind::State {
                    state: JobState::Pending
                },
                None
            ),
            event(EventKind::CancelWanted, None),
            event(
                EventKind::Freshness {
                    freshness: Freshness::Missing
                },
                Some("The controller does not list it.")
            ),
        ]
    );
    frozen!(
        "log_items",
        vec![
            LogItem::Text {
                offset: 0,
                next: 6,
                text: "grün\n".into()
            },
            LogItem::Skipped {
                offset: 6,
                next: 4096
            },
            LogItem::End { offset: 4096 },
        ]
    );
    frozen!("log_streams", vec![LogStream::Stdout, LogStream::Stderr]);
}

#[test]
fn api_clusters_and_me() {
    frozen!(
        "cluster",
        Cluster {
            name: cluster(),
            site: site(),
            integration: "slurm".into(),
            rev: 7,
            status: cluster_status(),
        }
    );
    frozen!(
        "me",
        Me {
            id: user_id(),
            name: "alice".into()
        }
    );
    let me = Me {
        id: user_id(),
        name: "alice".into(),
    };
    frozen!(
        "signed_in",
        SignedIn {
            me: me.clone(),
            expires_at: at(0),
        }
    );
    frozen!(
        "page_settings",
        PageSettings {
            version: "0.1.0".into(),
            realtime_url: Some("https://portal.example.org".into()),
            me: Some(me),
        }
    );
    let sign_in = SignIn {
        token: "fb_secret".into(),
    };
    assert!(!format!("{sign_in:?}").contains("secret"));
    frozen!("sign_in", sign_in);
    frozen!(
        "health",
        Health {
            ok: false,
            version: "0.1.0".into(),
            message: Some("The database is away.".into())
        }
    );
}

#[test]
fn problems() {
    let mut problem = Problem::invalid("spec.resources.nodes", "Ask for at least one node.");
    problem.request_id = "r1".into();
    frozen!("problem", problem);
    let codes = [
        Code::Malformed,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::Conflict,
        Code::IdempotencyMismatch,
        Code::Superseded,
        Code::TooLarge,
        Code::RangeNotSatisfiable,
        Code::Invalid,
        Code::Version,
        Code::Busy,
        Code::Internal,
        Code::SchedulerError,
        Code::Unavailable,
        Code::Deadline,
    ];
    let table: Vec<_> = codes.iter().map(|c| (c, c.status(), c.retry())).collect();
    insta::assert_json_snapshot!("problem_codes", table);
}

#[test]
fn link_sessions() {
    frozen!(
        "link_open_session",
        link::OpenSession {
            version_min: 1,
            version_max: 1,
            agent_version: "0.1.0".into(),
            installation: Some(uuid::Uuid::from_u128(7)),
            clusters: vec![link::ClusterDeclaration {
                name: cluster(),
                integration: "slurm".into(),
            }],
            process: Some(uuid::Uuid::from_u128(11)),
            again: true,
        }
    );
    frozen!(
        "link_enrol",
        link::Enrol {
            public_key: "00ff".into(),
        }
    );
    frozen!(
        "link_enrolled",
        link::Enrolled {
            site: site(),
            key: forebay_wire::KeyId::from_uuid(uuid::Uuid::from_u128(5)),
            installation: uuid::Uuid::from_u128(7),
        }
    );
    frozen!(
        "link_assertion",
        link::Assertion {
            key: forebay_wire::KeyId::from_uuid(uuid::Uuid::from_u128(5)),
            statement: "{}".into(),
            signature: "00ff".into(),
        }
    );
    frozen!(
        "link_statement",
        link::Statement {
            site: site(),
            aud: uuid::Uuid::from_u128(7),
            issued_at: "2026-03-01T12:00:00Z".parse().expect("a time"),
            expires_at: "2026-03-01T12:01:00Z".parse().expect("a time"),
            jti: uuid::Uuid::from_u128(9),
            open: link::OpenSession {
                version_min: 1,
                version_max: 1,
                agent_version: "0.1.0".into(),
                installation: None,
                clusters: vec![],
                process: None,
                again: false,
            },
        }
    );
    frozen!(
        "link_session",
        link::Session {
            token: "t".into(),
            expires_in_s: 600,
            epoch: 3,
            version: 1,
            installation: uuid::Uuid::from_u128(7),
            site: site(),
            acked_seq: 41,
            desired_after: "1.700.12".into(),
        }
    );
}

#[test]
fn link_work() {
    let work = link::Work {
        job: job_id(),
        owner: link::Owner {
            user: user_id(),
            identity: "alice".into(),
        },
        spec: small_spec(),
        cancel_wanted: true,
    };
    frozen!(
        "link_claim",
        link::Claim {
            cluster: cluster(),
            free: 8,
            request_id: uuid::Uuid::from_u128(9)
        }
    );
    frozen!(
        "link_claimed",
        link::Claimed {
            jobs: vec![work.clone()],
            more: true
        }
    );
    frozen!(
        "link_open_jobs",
        link::OpenJobs {
            jobs: vec![link::Open {
                work,
                state: JobState::Running
            }],
            next: Some(job_id()),
        }
    );
    let line = |want| link::Desired {
        cursor: "1.700.13".into(),
        want,
    };
    frozen!(
        "link_desired",
        vec![
            line(link::Want::Heartbeat),
            line(link::Want::Work { cluster: cluster() }),
            line(link::Want::Cancel { job: job_id() }),
            line(link::Want::Resync),
        ]
    );
}

#[test]
fn link_reports() {
    use link::Observation as Saw;
    let saw = |saw| link::Report::Job {
        job: job_id(),
        at: at(5),
        run: 1,
        saw,
    };
    let reports = link::Reports {
        epoch: 3,
        from_seq: 42,
        items: vec![
            saw(Saw::Released {
                scheduler_id: "123".into(),
                submitted_at: at(1),
                stdout_path: Some("/home/alice/out".into()),
                stderr_path: None,
            }),
            saw(Saw::Refused {
                message: "There is no partition `x`.".into(),
            }),
            saw(Saw::Waiting {
                reason: "Priority".into(),
            }),
            saw(Saw::Started {
                nodes: Some("n1".into()),
            }),
            saw(Saw::Ending),
            saw(Saw::Requeued),
            saw(Saw::Ended {
                end: JobState::Succeeded,
                exit: Some(Exit {
                    code: 0,
                    signal: None,
                }),
                started_at: Some(at(2)),
                nodes: Some("n1".into()),
                message: None,
            }),
            saw(Saw::Vanished {
                message: "Neither knows it.".into(),
            }),
            saw(Saw::Tasks {
                total: 10,
                tasks: vec![task()],
            }),
            saw(Saw::Freshness {
                freshness: Freshness::Stale,
                message: None,
            }),
            link::Report::Cluster {
                cluster: cluster(),
                status: cluster_status(),
            },
            link::Report::LogTail {
                job: job_id(),
                stream: LogStream::Stdout,
                task: None,
                offset: 0,
                text: "done\n".into(),
            },
            link::Report::nothing(),
        ],
    };
    frozen!("link_reports", reports);
    frozen!(
        "link_reports_applied",
        link::ReportsApplied { acked_seq: 53 }
    );
}

#[test]
fn ipc_calls() {
    frozen!(
        "ipc_hello",
        ipc::Hello {
            version: 1,
            program_version: "0.1.0".into(),
            uid: 1001
        }
    );
    frozen!(
        "ipc_prepare",
        ipc::Prepare {
            script: "#!/bin/sh\n".into()
        }
    );
    frozen!(
        "ipc_prepared",
        ipc::Prepared {
            home: "/home/alice".into(),
            directory: "/home/alice/.local/state/forebay/dev/jobs/j1".into(),
            script: "/home/alice/.local/state/forebay/dev/jobs/j1/script".into(),
        }
    );
    frozen!(
        "ipc_run",
        ipc::Run {
            program: "sbatch".into(),
            args: vec!["--hold".into()],
            stdin: Some("#!/bin/sh\n".into()),
            environment: BTreeMap::from([("A".into(), "1".into())]),
            directory: Some("/home/alice".into()),
            deadline_ms: 30_000,
        }
    );
    frozen!(
        "ipc_ran",
        ipc::Ran {
            code: Some(0),
            signal: None,
            stdout: "123\n".into(),
            stderr: String::new()
        }
    );
}

#[test]
fn ipc_local_jobs() {
    frozen!(
        "ipc_local_start",
        ipc::LocalStart {
            job: job_id(),
            marker: "forebay:i:j".into(),
            script: "/s".into(),
            directory: "/d".into(),
            stdout: "/o".into(),
            stderr: "/e".into(),
            environment: BTreeMap::new(),
            time_limit_s: Some(60),
        }
    );
    let job = |phase| ipc::LocalJob {
        job: job_id(),
        marker: "forebay:i:j".into(),
        submitted_at: at(0),
        phase,
    };
    frozen!(
        "ipc_local_jobs",
        ipc::LocalJobs {
            jobs: vec![
                job(ipc::LocalPhase::Held),
                job(ipc::LocalPhase::Running { started_at: at(1) }),
                job(ipc::LocalPhase::Ended {
                    started_at: Some(at(1)),
                    ended_at: at(2),
                    exit: Exit {
                        code: 0,
                        signal: Some(9)
                    },
                    timed_out: true,
                    cancelled: false,
                }),
                job(ipc::LocalPhase::Gone),
            ],
        }
    );
}

/// What a newer server added is no reason not to read its answer.
#[test]
fn unknown_fields_are_ignored_everywhere() {
    let answer = r#"{"id": "u06bw315kbyn7j3ff024000000", "name": "alice", "new": 1}"#;
    let error = serde_json::from_str::<Me>(answer).expect_err("25 characters");
    assert!(error.to_string().contains("27 characters"), "{error}");
    let answer = serde_json::json!({"id": user_id(), "name": "alice", "new": 1});
    assert!(serde_json::from_value::<Me>(answer).is_ok());

    let spec = serde_json::json!({
        "cluster": "hpc", "command": ["x"], "new": 1, "resources": {"nodes": 2, "new": 1},
        "output": {"new": 1}, "slurm": {"new": 1},
    });
    let job = serde_json::json!({
        "id": job_id(), "rev": 1, "created_at": at(1), "owner": "alice", "site": "home", "new": 1,
        "spec": spec, "status": {"state": "queued", "freshness": "live", "run": 0, "new": 1},
    });
    let job: Job = serde_json::from_value(job).expect("a job");
    assert_eq!(job.spec.resources.nodes, Some(2));
    let work = serde_json::json!({
        "job": job_id(), "owner": {"user": user_id(), "identity": "alice", "new": 1},
        "spec": spec, "new": 1,
    });
    let work: link::Work = serde_json::from_value(work).expect("work");
    assert_eq!(work.spec, job.spec);
    // And whoever wants to know of them can.
    let raw = serde_json::json!({"jobs": [{"job": job_id(), "owner": work.owner, "spec": spec, "state": "pending"}]});
    let raw: link::OpenJobs<serde_json::Value> = serde_json::from_value(raw).expect("open jobs");
    assert_eq!(raw.jobs[0].work.spec["slurm"]["new"], 1);
}
