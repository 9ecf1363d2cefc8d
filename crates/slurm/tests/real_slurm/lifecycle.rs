//! Jobs from their submission to every kind of end.

use forebay_slurm::{BaseState, CancelOptions, ControlError, ExitStatus, JobId, TimeLimit};
use forebay_testbed::need;

use crate::world::{World, job, wait_for, wait_for_ends, wait_for_records};

#[tokio::test]
async fn fifty_held_jobs_are_released_in_one_call_and_end() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(0);
    let mut ids = Vec::new();
    for number in 0..50 {
        let mut submission = job("true");
        submission.options.hold = true;
        submission.options.comment = Some(format!(
            "forebay:0b1c:j{number} the user's \"own\" | comment"
        ));
        ids.push(cli.submit(&submission).await.expect("a job").id);
    }
    let held = wait_for(&cli, &ids, "fifty", |jobs| jobs.len() == 50).await;
    assert!(
        held.iter().all(|job| job.is_held() && !job.has_started()),
        "{held:#?}"
    );
    assert!(
        held.iter()
            .all(|job| job.uid == world.users[0].uid && job.user == world.users[0].name)
    );

    // One that does not exist in the middle harms none of the others.
    let mut wanted = ids.clone();
    wanted.insert(25, JobId::new(4_049_999));
    let results = cli.release(&wanted).await.expect("answers");
    for (id, result) in results {
        let missing = id == JobId::new(4_049_999);
        assert_eq!(
            result,
            if missing {
                Err(ControlError::NotFound)
            } else {
                Ok(())
            },
            "{id}"
        );
    }
    let ended = wait_for_ends(&cli, &ids).await;
    assert_eq!(ended.len(), 50);
    for job in &ended {
        assert_eq!(job.state.base, BaseState::Completed);
        assert!(job.exit.is_some_and(ExitStatus::success) && job.has_started());
    }
    // Accounting knows all of them, comments unchanged.
    let records = wait_for_records(&cli, &ids, |records| {
        records.len() == 50 && records.iter().all(|record| record.state.is_terminal())
    })
    .await;
    for record in &records {
        assert!(
            record.comment.starts_with("forebay:0b1c:j"),
            "{}",
            record.comment
        );
        assert!(
            record.comment.ends_with(" the user's \"own\" | comment"),
            "{}",
            record.comment
        );
        assert_eq!(record.uid, Some(world.users[0].uid));
    }
    // Released once more they have ended, and that is no reason to fail the call.
    let again = cli.release(&ids[..2]).await.expect("answers");
    assert!(
        again
            .iter()
            .all(|(_, result)| *result == Err(ControlError::Ended)),
        "{again:?}"
    );
}

#[tokio::test]
async fn every_end_is_told_apart() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(1);
    let submit = async |script: &str| cli.submit(&job(script)).await.expect("a job").id;
    let failed = submit("exit 3").await;
    let killed = submit("kill -9 $$").await;
    let running = submit("sleep 300").await;
    let mut overdue = job("sleep 300");
    overdue.options.time_limit = Some(TimeLimit::from_minutes(1));
    let overdue = cli.submit(&overdue).await.expect("a job").id;
    let mut held = job("true");
    held.options.hold = true;
    let held = cli.submit(&held).await.expect("a job").id;

    let one = |id: &JobId| std::slice::from_ref(id).to_vec();
    let ended = wait_for_ends(&cli, &one(&failed)).await;
    assert_eq!(
        (
            &ended[0].state.base,
            ended[0].exit.map(|exit| (exit.code, exit.signal))
        ),
        (&BaseState::Failed, Some((3, 0)))
    );
    let ended = wait_for_ends(&cli, &one(&killed)).await;
    assert_eq!(
        (
            &ended[0].state.base,
            ended[0].exit.map(|exit| (exit.code, exit.signal))
        ),
        (&BaseState::Failed, Some((0, 9)))
    );

    wait_for(&cli, &one(&running), "running", |jobs| {
        jobs[0].state.is_active()
    })
    .await;
    let signalled = CancelOptions {
        signal: Some("CONT".into()),
        ..CancelOptions::default()
    };
    assert_eq!(
        cli.cancel(&one(&running), &signalled)
            .await
            .expect("answers")[0]
            .1,
        Ok(())
    );
    // Not 4,000,001: where that shares a slot of the controller's hash table (MaxJobCount wide)
    // with an array, Slurm says that it has ended.
    let missing = JobId::new(4_049_999);
    let ids = [held.clone(), missing.clone(), running.clone()];
    let results = cli
        .cancel(&ids, &CancelOptions::default())
        .await
        .expect("answers");
    let results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
    assert_eq!(results, [Ok(()), Err(ControlError::NotFound), Ok(())]);
    let ended = wait_for_ends(&cli, &[held.clone(), running.clone()]).await;
    for job in &ended {
        assert_eq!(job.state.base, BaseState::Cancelled);
        assert_eq!(job.has_started(), job.id == running);
    }
    let again = cli
        .cancel(&one(&running), &CancelOptions::default())
        .await
        .expect("answers");
    assert_eq!(again[0].1, Err(ControlError::Ended));
    // Another user may neither cancel nor release.
    let stranger = world.cli(2);
    let foreign = stranger
        .cancel(&one(&overdue), &CancelOptions::default())
        .await
        .expect("answers");
    assert_eq!(foreign[0].1, Err(ControlError::Denied));
    let foreign = stranger.release(&one(&overdue)).await.expect("answers");
    assert_eq!(foreign[0].1, Err(ControlError::Denied));

    let ended = wait_for_ends(&cli, &one(&overdue)).await;
    assert_eq!(ended[0].state.base, BaseState::Timeout);

    let all = [failed, killed, running, overdue, held];
    let records = wait_for_records(&cli, &all, |records| {
        records.len() == 5 && records.iter().all(|record| record.state.is_terminal())
    })
    .await;
    let uid = world.users[1].uid;
    for (id, base, started, by) in [
        (&all[0], BaseState::Failed, true, None),
        (&all[1], BaseState::Failed, true, None),
        (&all[2], BaseState::Cancelled, true, Some(uid)),
        (&all[3], BaseState::Timeout, true, None),
        (&all[4], BaseState::Cancelled, false, Some(uid)),
    ] {
        let record = records
            .iter()
            .find(|record| record.id == *id)
            .expect("a record");
        assert_eq!(
            (
                &record.state.base,
                record.has_started(),
                record.state.cancelled_by
            ),
            (&base, started, by),
            "{record:#?}"
        );
    }
}

#[tokio::test]
async fn an_array_is_one_record_until_its_tasks_start() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(2);
    let dir = world.dir(2, "array");
    let mut array = job("echo $SLURM_ARRAY_TASK_ID; sleep 1; exit $SLURM_ARRAY_TASK_ID");
    array.options.array = Some("0-5%2".into());
    array.options.hold = true;
    array.options.output = Some(format!("{}/out-%A_%a", dir.display()));
    let id = cli.submit(&array).await.expect("an array").id;
    let waiting = wait_for(&cli, std::slice::from_ref(&id), "a record", |jobs| {
        jobs.len() == 1
    })
    .await;
    assert_eq!(waiting[0].id.to_string(), format!("{id}_[0-5%2]"));
    assert!(waiting[0].is_held() && id.covers(&waiting[0].id));

    // One of its tasks is cancelled while it waits, the others run, two at a time.
    let task = JobId::of_task(id.job(), 4);
    assert_eq!(
        cli.cancel(std::slice::from_ref(&task), &CancelOptions::default())
            .await
            .expect("answers")[0]
            .1,
        Ok(())
    );
    assert_eq!(
        cli.release(std::slice::from_ref(&id))
            .await
            .expect("answers")[0]
            .1,
        Ok(())
    );
    let mixed = wait_for(&cli, std::slice::from_ref(&id), "two running", |jobs| {
        jobs.iter().filter(|job| job.state.is_active()).count() == 2
    })
    .await;
    assert!(
        mixed
            .iter()
            .filter(|job| job.state.is_active())
            .all(|job| job.id.task().is_some()),
        "{mixed:#?}"
    );
    let ended = wait_for_ends(&cli, std::slice::from_ref(&id)).await;
    // Task 4 has no row: one that is cancelled while its array waits leaves no trace, neither
    // with the controller nor, in 22.05, in accounting.
    let mut tasks: Vec<(u64, BaseState, u32)> = ended
        .iter()
        .map(|job| {
            (
                job.id.task().expect("a task"),
                job.state.base.clone(),
                job.exit.map_or(0, |exit| exit.code),
            )
        })
        .collect();
    tasks.sort_by_key(|(task, ..)| *task);
    assert_eq!(
        tasks,
        [
            (0, BaseState::Completed, 0),
            (1, BaseState::Failed, 1),
            (2, BaseState::Failed, 2),
            (3, BaseState::Failed, 3),
            (5, BaseState::Failed, 5),
        ]
    );
    for job in ended.iter().filter(|job| job.has_started()) {
        let text = std::fs::read_to_string(&job.stdout).expect("the file that the list names");
        assert_eq!(text, format!("{}\n", job.id.task().expect("a task")));
    }
    // A task is found by its own number too.
    let third = ended
        .iter()
        .find(|job| job.id.task() == Some(3))
        .expect("task 3");
    let found = cli
        .job(&JobId::new(third.job_id))
        .await
        .expect("an answer")
        .expect("the task");
    assert_eq!(
        found.job.id.task().is_some(),
        found.job.job_id == third.job_id
    );
    let records = wait_for_records(&cli, std::slice::from_ref(&id), |records| {
        records
            .iter()
            .filter(|record| record.state.is_terminal())
            .count()
            >= 5
    })
    .await;
    assert!(
        records.iter().all(|record| id.covers(&record.id)),
        "{records:#?}"
    );
}

#[tokio::test]
async fn a_long_list_of_tasks_is_not_cut() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(2);
    let tasks: Vec<u64> = (0..120).map(|number| number * number % 997).collect();
    let mut array = job("true");
    array.options.array = Some(
        tasks
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(","),
    );
    array.options.hold = true;
    let id = cli.submit(&array).await.expect("an array").id;
    let waiting = wait_for(&cli, std::slice::from_ref(&id), "a record", |jobs| {
        jobs.len() == 1
    })
    .await;
    for task in tasks {
        assert!(
            waiting[0].id.covers(&JobId::of_task(id.job(), task)),
            "{task} in {}",
            waiting[0].id
        );
    }
    cli.cancel(&[id], &CancelOptions::default())
        .await
        .expect("answers");
}

#[tokio::test]
async fn the_cluster_describes_itself() {
    need!(Slurm, SlurmAccounting);
    let world = World::shared().await;
    let cli = world.cli(0);
    let controllers = cli.ping().await.expect("controllers");
    assert!(
        controllers.len() == 1 && controllers[0].up,
        "{controllers:?}"
    );
    let config = cli.config().await.expect("a configuration");
    assert_eq!(config.cluster, world.slurm.cluster_name());
    assert!(config.accounting && config.stores_comments);
    let (year, month) = world.slurm.version();
    assert_eq!(
        config
            .release()
            .map(|release| (release.year, release.month)),
        Some((year, month))
    );
    let partitions = cli.partitions().await.expect("partitions");
    assert!(partitions.skipped.is_empty(), "{:?}", partitions.skipped);
    let debug = partitions
        .items
        .iter()
        .find(|partition| partition.name == "debug")
        .expect("debug");
    assert!(
        debug.default && debug.cpus_total == 32 && debug.nodes_total == 2,
        "{debug:?}"
    );
    assert_eq!(debug.time_limit, TimeLimit::from_minutes(1440));
}
