//! Every refusal that a real `sbatch` can be brought to.

use forebay_slurm::options::{Policy, parse_words};
use forebay_slurm::submit::{NodeCount, Options};
use forebay_slurm::{CancelOptions, RefusalReason, SubmitError, TimeLimit};
use forebay_testbed::need;

use crate::world::{World, job};

/// What is asked for, and why it is refused.
fn cases() -> Vec<(&'static str, Options, RefusalReason)> {
    use RefusalReason as R;
    let text = |value: &str| Some(value.to_owned());
    let none = Options::default;
    let extra = |words: &[&str]| Options {
        extra: parse_words(words, Policy::strict()).expect("options"),
        ..none()
    };
    vec![
        (
            "partition",
            Options {
                partition: text("nosuch"),
                ..none()
            },
            R::InvalidPartition,
        ),
        (
            "account",
            Options {
                account: text("nosuch"),
                ..none()
            },
            R::InvalidAccount,
        ),
        (
            "qos",
            Options {
                qos: text("nosuch"),
                ..none()
            },
            R::InvalidQos,
        ),
        (
            "qos of others",
            Options {
                qos: text("tiny"),
                ..none()
            },
            R::InvalidQos,
        ),
        (
            "nodes",
            Options {
                nodes: Some(99.into()),
                ..none()
            },
            R::TooManyCpus,
        ),
        (
            "tasks",
            Options {
                ntasks: Some(999),
                ..none()
            },
            R::TooManyCpus,
        ),
        (
            "cpus",
            Options {
                cpus_per_task: Some(99),
                ..none()
            },
            R::TooManyCpus,
        ),
        (
            "memory",
            Options {
                mem_mib: Some(900 << 10),
                ..none()
            },
            R::TooMuchMemory,
        ),
        (
            "time",
            Options {
                partition: text("short"),
                time_limit: Some(TimeLimit::from_minutes(60)),
                ..none()
            },
            R::TimeLimit,
        ),
        (
            "feature",
            Options {
                constraint: text("nofeat"),
                ..none()
            },
            R::InvalidFeature,
        ),
        (
            "dependency",
            Options {
                dependency: text("bogus"),
                ..none()
            },
            R::InvalidDependency,
        ),
        (
            "array above the limit",
            Options {
                array: text("0-99999"),
                ..none()
            },
            R::InvalidArray,
        ),
        (
            "array",
            Options {
                array: text("5-1x"),
                ..none()
            },
            R::InvalidArray,
        ),
        (
            "licence",
            Options {
                licenses: text("foo:1"),
                ..none()
            },
            R::InvalidLicense,
        ),
        (
            "licences",
            Options {
                licenses: text("matlab:9"),
                ..none()
            },
            R::InvalidLicense,
        ),
        (
            "reservation",
            Options {
                reservation: text("none"),
                ..none()
            },
            R::InvalidReservation,
        ),
        (
            "group",
            Options {
                partition: text("staff"),
                ..none()
            },
            R::AccessDenied,
        ),
        (
            "inactive",
            Options {
                partition: text("inact"),
                ..none()
            },
            R::PartitionUnavailable,
        ),
        (
            "drained",
            Options {
                partition: text("drain"),
                ..none()
            },
            R::PartitionUnavailable,
        ),
        (
            "node count",
            Options {
                partition: text("one"),
                nodes: Some(2.into()),
                ..none()
            },
            R::InvalidNodeCount,
        ),
        (
            "node range",
            Options {
                nodes: Some(NodeCount { min: 2, max: 1 }),
                ..none()
            },
            R::InvalidNodeCount,
        ),
        (
            "memory of the partition",
            Options {
                partition: text("one"),
                mem_mib: Some(800),
                ..none()
            },
            R::TooMuchMemory,
        ),
        (
            "node",
            Options {
                nodelist: text("nonode"),
                ..none()
            },
            R::InvalidNode,
        ),
        (
            "gres",
            Options {
                gres: text("gpu:1"),
                ..none()
            },
            R::InvalidGres,
        ),
        (
            "gpus",
            Options {
                gpus: text("1"),
                ..none()
            },
            R::InvalidGres,
        ),
        (
            "begin",
            Options {
                begin: text("notatime"),
                ..none()
            },
            R::InvalidTime,
        ),
        (
            "mail",
            Options {
                mail_type: text("zzz"),
                ..none()
            },
            R::InvalidOption,
        ),
        (
            "exclusive",
            Options {
                exclusive: text("zz"),
                ..none()
            },
            R::InvalidOption,
        ),
        ("batch", extra(&["--batch=zz"]), R::InvalidFeature),
        (
            "export-file",
            extra(&["--export-file=/nonexist"]),
            R::InvalidOption,
        ),
        (
            "memory twice",
            Options {
                mem_mib: Some(1),
                mem_per_cpu_mib: Some(1),
                ..none()
            },
            R::InvalidOption,
        ),
    ]
}

#[tokio::test]
async fn each_has_its_reason_and_a_sentence() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(2);
    for (what, options, wanted) in cases() {
        let mut submission = job("true");
        // Kept, so that the sentence is seen to name what was asked for.
        let named = options
            .partition
            .clone()
            .filter(|_| wanted == RefusalReason::InvalidPartition);
        submission.options = Options {
            output: submission.options.output,
            ..options
        };
        match cli.submit(&submission).await {
            Err(SubmitError::Refused {
                reason,
                message,
                raw,
            }) => {
                assert_eq!(reason, wanted, "{what}: {raw}");
                assert!(
                    message.ends_with('.') && !message.contains('\n'),
                    "{what}: {message}"
                );
                assert!(
                    named.is_none_or(|name| message.contains(&name)),
                    "{message}"
                );
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    // A script that sbatch will not take, past this crate's own check.
    for script in ["true\n", "#!/bin/sh\r\n", "\n", "#!/bin/sh\n\0"] {
        let mut submission = job("");
        submission.script = script.as_bytes().to_vec();
        match cli.submit(&submission).await {
            Err(SubmitError::Refused {
                reason: RefusalReason::InvalidScript,
                ..
            }) => {}
            other => panic!("{script:?}: {other:?}"),
        }
    }
    let mut large = job("");
    large.script = [b"#!/bin/sh\n".to_vec(), vec![b'#'; 5 << 20]].concat();
    assert!(matches!(
        cli.submit(&large).await,
        Err(SubmitError::Refused {
            reason: RefusalReason::TooLong,
            ..
        })
    ));
    let mut nowhere = job("true");
    nowhere.dir = Some("/nowhere/at/all".into());
    assert!(matches!(
        cli.submit(&nowhere).await,
        Err(SubmitError::Refused {
            reason: RefusalReason::InvalidDirectory,
            ..
        })
    ));
    // Nothing of all that became a job.
    let query = forebay_slurm::QueueQuery {
        users: vec![world.users[2].uid.to_string()],
        ..Default::default()
    };
    let names: Vec<String> = cli
        .queue(&query)
        .await
        .expect("a list")
        .into_iter()
        .map(|job| job.name)
        .collect();
    assert!(!names.contains(&"nowhere".to_owned()));
}

#[tokio::test]
async fn a_limit_on_jobs_may_pass_later() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(3);
    for (account, qos) in [(Some("small"), None), (None, Some("tiny"))] {
        let mut submission = job("true");
        submission.options.hold = true;
        submission.options.account = account.map(str::to_owned);
        submission.options.qos = qos.map(str::to_owned);
        let first = cli.submit(&submission).await.expect("the first").id;
        match cli.submit(&submission).await {
            Err(SubmitError::Refused { reason, raw, .. }) => {
                assert!(
                    reason == RefusalReason::SubmitLimit && reason.may_pass_later(),
                    "{raw}"
                );
            }
            other => panic!("{other:?}"),
        }
        cli.cancel(&[first], &CancelOptions::default())
            .await
            .expect("answers");
        let second = cli.submit(&submission).await.expect("room again").id;
        cli.cancel(&[second], &CancelOptions::default())
            .await
            .expect("answers");
    }
}
