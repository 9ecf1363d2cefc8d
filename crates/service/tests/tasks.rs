//! Tasks under supervision, on real time with short intervals.
#![allow(clippy::unwrap_used, reason = "a test")]

use forebay_service::{Backoff, Cut, Ended, Every, Metrics, Nudge, TaskKind, Tasks};
use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

const SHORT: Duration = Duration::from_millis(5);

fn quick() -> Backoff {
    Backoff::new(Duration::from_millis(1), SHORT)
}

async fn until(what: &str, check: impl Fn() -> bool) {
    let waited = timeout(Duration::from_secs(10), async {
        while !check() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

#[tokio::test]
async fn a_supervised_task_is_restarted_whatever_ends_it() {
    let tasks = Tasks::new();
    let metrics = Metrics::new();
    tasks.publish(&metrics);
    let starts = Arc::new(AtomicU32::new(0));
    let counter = starts.clone();
    tasks.supervise("watch", quick(), move |stop| {
        let start = counter.fetch_add(1, Ordering::SeqCst);
        async move {
            match start {
                0 => Err(io::Error::other("lost the line")),
                1 => panic!("on {}", "purpose"),
                2 => Ok(()),
                _ => {
                    stop.cancelled().await;
                    Ok(())
                }
            }
        }
    });
    until("fourth start", || {
        starts.load(Ordering::SeqCst) == 4 && tasks.status()[0].running
    })
    .await;
    let status = tasks.status().remove(0);
    assert_eq!(
        (status.name.as_str(), status.kind),
        ("watch", TaskKind::Supervised)
    );
    assert_eq!((status.runs, status.restarts, status.failing), (4, 3, 3));
    assert_eq!(
        status.last_error.as_deref(),
        Some("ended although it was not asked to")
    );
    assert!(
        metrics
            .encode()
            .contains("forebay_task_restarts_total{task=\"watch\"} 3\n")
    );

    tasks.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        starts.load(Ordering::SeqCst),
        4,
        "not restarted when stopping"
    );
    assert_eq!(tasks.status(), []);
}

#[tokio::test]
async fn a_panic_before_the_first_wait_is_caught_too() {
    let tasks = Tasks::new();
    tasks.supervise(
        "panics",
        quick(),
        |_stop| -> std::future::Ready<Result<(), Infallible>> { panic!("in the factory") },
    );
    until("three restarts", || tasks.status()[0].restarts >= 3).await;
    assert_eq!(
        tasks.status()[0].last_error.as_deref(),
        Some("panicked: in the factory")
    );
    tasks.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn one_task_can_be_stopped_alone() {
    let tasks = Tasks::new();
    let wait = |stop: forebay_service::CancellationToken| async move {
        stop.cancelled().await;
        Ok::<_, Infallible>(())
    };
    let first = tasks.supervise("first", quick(), wait);
    let _second = tasks.supervise("second", quick(), wait);
    first.stop();
    timeout(Duration::from_secs(5), first.ended())
        .await
        .unwrap();
    until("row gone", || tasks.status().len() == 1).await;
    assert_eq!(tasks.status()[0].name, "second");
    tasks.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn one_shot_tasks_finish_while_draining() {
    let tasks = Tasks::new();
    let done = Arc::new(AtomicBool::new(false));
    let flag = done.clone();
    tasks.spawn("mutation", async move {
        sleep(Duration::from_millis(50)).await;
        flag.store(true, Ordering::SeqCst);
    });
    let answer = tasks.spawn("answer", async { 42 });
    assert_eq!(answer.await, Ok(42));
    let panics = tasks.spawn("panics", async { panic!("oh") });
    assert_eq!(panics.await, Err::<(), _>(Ended::Panicked("oh".to_owned())));
    tasks.drain(Duration::from_secs(5)).await.unwrap();
    assert!(done.load(Ordering::SeqCst));
}

#[tokio::test]
async fn what_does_not_end_is_cut_at_the_deadline() {
    struct Dropped(Arc<AtomicBool>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let tasks = Tasks::new();
    let dropped = Arc::new(AtomicBool::new(false));
    let guard = Dropped(dropped.clone());
    let stuck = tasks.spawn("stuck", async move {
        let _guard = guard;
        pending::<()>().await;
    });
    tasks.supervise("deaf", quick(), |_stop| pending::<Result<(), Infallible>>());
    let started = Instant::now();
    assert_eq!(
        tasks.drain(Duration::from_millis(50)).await,
        Err(Cut { tasks: 2 })
    );
    assert!(started.elapsed() < Duration::from_millis(900));
    assert_eq!(stuck.await, Err(Ended::Cut));
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(tasks.count(), 0);
}

#[tokio::test]
async fn a_periodic_task_runs_on_time_and_when_nudged() {
    let tasks = Tasks::new();
    let runs = Arc::new(AtomicU32::new(0));
    let nudge = Nudge::new();
    let counter = runs.clone();
    let hour = Every::new(Duration::from_secs(3600));
    tasks.periodic("sweep", hour, nudge.clone(), move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async {
            sleep(Duration::from_millis(20)).await;
            Ok::<_, Infallible>(())
        }
    });
    until("first run", || runs.load(Ordering::SeqCst) == 1).await;
    // A hundred nudges during a run are one more run, not a hundred and not none.
    for _ in 0..100 {
        nudge.nudge();
    }
    until("second run", || runs.load(Ordering::SeqCst) == 2).await;
    until("at rest", || !tasks.status()[0].running).await;
    sleep(Duration::from_millis(60)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);

    let ticks = Arc::new(AtomicU32::new(0));
    let counter = ticks.clone();
    tasks.periodic("tick", Every::new(SHORT), Nudge::new(), move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(()) }
    });
    until("ten ticks", || ticks.load(Ordering::SeqCst) > 10).await;
    tasks.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_failing_periodic_task_goes_on_and_shows_it() {
    let tasks = Tasks::new();
    let every = Every::new(SHORT).deadline(Duration::from_millis(20));
    let mut run = 0;
    tasks.periodic("sweep", every, Nudge::new(), move || {
        run += 1;
        let run = run;
        async move {
            match run {
                1 => Err(io::Error::other("down")),
                2 => panic!("oh"),
                3 => pending().await,
                _ => Ok(()),
            }
        }
    });
    until("recovered", || {
        let status = &tasks.status()[0];
        status.runs > 4 && status.failing == 0
    })
    .await;
    let status = tasks.status().remove(0);
    assert_eq!(status.restarts, 3);
    assert_eq!(status.last_error.as_deref(), Some("took longer than 20ms"));
    tasks.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn nudges_keep_the_gap() {
    let tasks = Tasks::new();
    let runs = Arc::new(AtomicU32::new(0));
    let counter = runs.clone();
    let nudge = Nudge::new();
    let every = Every::new(Duration::from_secs(3600)).gap(Duration::from_millis(100));
    tasks.periodic("poll", every, nudge.clone(), move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(()) }
    });
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(250) {
        nudge.nudge();
        sleep(Duration::from_millis(1)).await;
    }
    let runs = runs.load(Ordering::SeqCst);
    assert!((2..=4).contains(&runs), "{runs}");
    tasks.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn without_an_essential_task_the_service_stops() {
    let tasks = Tasks::new();
    tasks.spawn_essential("lock", async { panic!("lost") });
    timeout(Duration::from_secs(5), tasks.stopping().cancelled())
        .await
        .unwrap();
    assert_eq!(
        tasks.fatal_reason(),
        Some("the essential task \"lock\" panicked: lost")
    );
    tasks.drain(Duration::from_secs(5)).await.unwrap();

    let tasks = Tasks::new();
    let stop = tasks.stopping();
    tasks.spawn_essential("server", async move { stop.cancelled().await });
    tasks.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(tasks.fatal_reason(), None);
}

#[test]
fn metrics_are_openmetrics_text() {
    let metrics = Metrics::new();
    metrics
        .counter("jobs_submitted", "Jobs submitted")
        .inc_by(2);
    metrics
        .seconds("claim_seconds", "Time of a claim")
        .observe(0.003);
    let text = metrics.encode();
    for line in [
        "# TYPE forebay_jobs_submitted counter\n",
        "forebay_jobs_submitted_total 2\n",
        "forebay_claim_seconds_count 1\n",
        "# TYPE forebay_process_resident_memory_bytes gauge\n",
        "# EOF\n",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
