//! A Slurm that is down, or does not answer, or keeps no accounting.

use std::time::Duration;

use forebay_slurm::{AcctQuery, CancelOptions, Cli, Error, JobId, QueueQuery, SubmitError};
use forebay_testbed::need;

use crate::world::{World, job, wait_for};

/// Every question fails, and none of the answers can be taken for "there is no such job".
async fn assert_silent(cli: &Cli, id: &JobId) {
    let ids = std::slice::from_ref(id);
    let (everything, one, options) = (
        QueueQuery::default(),
        QueueQuery {
            ids: ids.to_vec(),
            ..QueueQuery::default()
        },
        CancelOptions::default(),
    );
    // Side by side, because each takes as long as the clients try.
    let errors = tokio::join!(
        async { cli.queue(&everything).await.map(drop) },
        async { cli.queue(&one).await.map(drop) },
        async { cli.job(id).await.map(drop) },
        async { cli.release(ids).await.map(drop) },
        async { cli.hold(ids).await.map(drop) },
        async { cli.cancel(ids, &options).await.map(drop) },
        async { cli.config().await.map(drop) },
        async { cli.partitions().await.map(drop) },
    );
    let errors: [_; 8] = errors.into();
    for (number, result) in errors.into_iter().enumerate() {
        let error = result.expect_err("silence");
        assert!(error.is_unavailable(), "question {number}: {error:?}");
    }
}

#[tokio::test]
async fn a_controller_that_is_down_or_hangs_is_never_an_empty_list() {
    need!(Slurm);
    // Two seconds instead of ten until the clients give up.
    let world = World::start(false, "MessageTimeout=2\n").await;
    let cli = world.cli(0);
    let mut held = job("true");
    held.options.hold = true;
    held.options.comment = Some("forebay:a:first".into());
    let id = cli.submit(&held).await.expect("a job").id;
    assert!(matches!(
        cli.accounting(&AcctQuery {
            ids: vec![id.clone()],
            ..AcctQuery::default()
        })
        .await,
        Err(Error::NoAccounting)
    ));
    assert!(!cli.config().await.expect("a configuration").accounting);

    // It hangs: the request is in its socket, and it acts on it when it goes on.
    world.slurm.pause_controller().await.expect("a pause");
    let hasty = world.hasty_cli(0);
    assert!(
        hasty
            .queue(&QueueQuery::default())
            .await
            .expect_err("silence")
            .is_unavailable()
    );
    held.options.comment = Some("forebay:a:late".into());
    let late = hasty.submit(&held).await.expect_err("silence");
    assert!(late.maybe_submitted(), "{late:?}");
    world.slurm.resume_controller().await.expect("a resume");
    let everything = QueueQuery::default();
    let mut found = Vec::new();
    for _ in 0..100 {
        found = cli
            .queue(&everything)
            .await
            .map(|listing| listing.items)
            .unwrap_or_default();
        if found.iter().any(|job| job.comment == "forebay:a:late") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // It was made in spite of the error, and it is held, so that it does no harm.
    let late = found
        .iter()
        .find(|job| job.comment == "forebay:a:late")
        .expect("the late job");
    assert!(late.is_held());

    // It is down: nothing can have arrived.
    world.slurm.stop_controller().await.expect("a stop");
    assert_silent(&cli, &id).await;
    let down = cli.ping().await.expect("an answer");
    assert!(down.iter().all(|controller| !controller.up), "{down:?}");
    match cli.submit(&held).await {
        Err(SubmitError::Unavailable {
            maybe_submitted: false,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    // It is back, and knows its jobs.
    world.slurm.start_controller().await.expect("a start");
    wait_for(&cli, std::slice::from_ref(&id), "the job", |jobs| {
        jobs.len() == 1 && jobs[0].is_held()
    })
    .await;
    assert_eq!(
        cli.job(&JobId::new(4_049_999)).await.expect("an answer"),
        None
    );
    world.slurm.stop().await.expect("a stop");
}

#[tokio::test]
async fn accounting_that_is_down_is_never_an_empty_list() {
    need!(Slurm, SlurmAccounting);
    let world = World::start(true, "").await;
    let cli = world.cli(0);
    let query = AcctQuery {
        ids: vec![JobId::new(1)],
        ..AcctQuery::default()
    };
    assert!(
        cli.accounting(&query)
            .await
            .expect("an answer")
            .items
            .is_empty()
    );
    world.slurm.stop_dbd().await.expect("a stop");
    let error = cli.accounting(&query).await.expect_err("silence");
    assert!(error.is_unavailable(), "{error:?}");
    // The controller goes on without it.
    assert!(cli.queue(&QueueQuery::default()).await.is_ok());
    world.slurm.stop().await.expect("a stop");
}
