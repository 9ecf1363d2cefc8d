//! The doorbell under load, and through a restart.

use std::time::{Duration, Instant};

use forebay_postgres::doorbell::{Listener, PAUSE, Ringer};
use tokio_util::sync::CancellationToken;

use crate::support::{Instance, need};

#[tokio::test(flavor = "multi_thread")]
async fn many_rings_become_few_and_all_hear_them() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool();
    let ringer = Ringer::new(pool.clone(), "feed").expect("a channel");
    // Another process, as far as the doorbell can tell.
    let listener = Listener::new(instance.pool(), "feed").expect("a channel");
    let (mut first, mut second) = (listener.subscribe(), listener.subscribe());
    let stop = CancellationToken::new();
    let test = async {
        first.wait(Duration::from_secs(10)).await; // It listens now.
        second.wait(Duration::from_secs(10)).await;

        let began = Instant::now();
        let (mut rings, mut heard) = (0_u64, 0_u64);
        let ring = async {
            while began.elapsed() < Duration::from_secs(1) {
                for _ in 0..100 {
                    ringer.ring();
                    rings += 1;
                }
                tokio::task::yield_now().await;
            }
        };
        let hear = async {
            loop {
                first.wait(Duration::from_secs(60)).await;
                heard += 1;
            }
        };
        tokio::select! { () = ring => (), () = hear => unreachable!("it never ends") }
        let took = began.elapsed();
        tokio::time::sleep(PAUSE * 5).await;
        let (_, stats) = *pool
            .query_stats()
            .iter()
            .find(|(name, _)| *name == "doorbell.notify")
            .expect("it rang");
        let most =
            u64::try_from((took + PAUSE * 5).as_millis() / PAUSE.as_millis()).expect("small") + 1;
        assert!(rings > 10_000, "{rings} rings are no load");
        assert!(
            (10..=most).contains(&stats.calls),
            "{} notifications in {took:?}, at most {most}",
            stats.calls
        );
        assert!(heard >= 10, "heard {heard} of {}", stats.calls);
        assert_eq!(stats.errors, 0);

        // A single ring is heard soon, by everybody.
        second.wait(Duration::from_millis(1)).await;
        let mut third = listener.subscribe();
        let began = Instant::now();
        ringer.ring();
        tokio::join!(
            second.wait(Duration::from_secs(10)),
            third.wait(Duration::from_secs(10))
        );
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        stop.cancel();
    };
    tokio::join!(ringer.run(stop.clone()), listener.run(stop.clone()), test);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_comes_back_and_rings_once() {
    need!(postgres);
    let instance = Instance::start();
    let pool = instance.pool_with(|config| config.wait_max = Duration::from_secs(20));
    let ringer = Ringer::new(pool.clone(), "feed").expect("a channel");
    let listener = Listener::new(pool, "feed").expect("a channel");
    let mut bell = listener.subscribe();
    let stop = CancellationToken::new();
    let test = async {
        bell.wait(Duration::from_secs(10)).await;
        instance.kill_server();
        // Nobody rings: what it hears is "you may have missed something".
        let began = Instant::now();
        bell.wait(Duration::from_secs(30)).await;
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
        let began = Instant::now();
        ringer.ring();
        bell.wait(Duration::from_secs(30)).await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        stop.cancel();
    };
    tokio::join!(ringer.run(stop.clone()), listener.run(stop.clone()), test);
}

#[test]
fn channels_are_plain_names() {
    let target = forebay_postgres::Target::Private {
        socket_dir: "/nowhere".into(),
        database: "x".into(),
        role: "x".into(),
    };
    let pool =
        forebay_postgres::Pool::new(forebay_postgres::Config::new(target, "tests")).expect("good");
    for bad in ["", "a b", "feed; DROP TABLE feed", "Feed", "1", "\"x\""] {
        assert!(
            Ringer::new(pool.clone(), bad).is_err() && Listener::new(pool.clone(), bad).is_err(),
            "{bad:?}"
        );
    }
}
