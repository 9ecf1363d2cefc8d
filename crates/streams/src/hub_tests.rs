//! Tests of the hub: what is read, what is skipped, and the bounds.

use proptest::prelude::*;

use super::*;

/// A revision of an object, and the numbers of all revisions it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rev {
    object: u8,
    stands_for: Vec<u64>,
}

impl Item for Rev {
    type Key = u8;

    fn key(&self) -> u8 {
        self.object
    }

    fn bytes(&self) -> usize {
        self.stands_for.len()
    }

    fn replacing(mut self, mut older: Self) -> Self {
        older.stands_for.append(&mut self.stands_for);
        older
    }
}

fn rev(object: u8, number: u64) -> Rev {
    Rev {
        object,
        stands_for: vec![number],
    }
}

const ROOMY: Bounds = Bounds {
    items: 1_000,
    bytes: 1_000,
};

#[tokio::test]
async fn items_arrive_in_order_from_the_time_of_subscribing() {
    let hub: Hub<&str, Rev> = Hub::new();
    assert_eq!(hub.send("a", &rev(0, 0)), 0);
    let mut early = hub.reader(ROOMY);
    early.subscribe("a");
    early.subscribe("a");
    assert_eq!(hub.send("a", &rev(1, 1)), 1);
    let mut late = hub.reader(ROOMY);
    late.subscribe("a");
    late.subscribe("b");
    assert_eq!(hub.send("a", &rev(2, 2)), 2);
    assert_eq!(hub.send("b", &rev(3, 3)), 1);
    assert_eq!(early.next().await, Received::Item(rev(1, 1)));
    assert_eq!(early.next().await, Received::Item(rev(2, 2)));
    assert!(early.is_empty() && early.try_next().is_none());
    assert_eq!(late.next().await, Received::Item(rev(2, 2)));
    assert_eq!(late.next().await, Received::Item(rev(3, 3)));
    assert_eq!(hub.subscriptions(), 3);
    late.unsubscribe(&"b");
    assert!(!hub.is_wanted("b"));
    assert_eq!(hub.wanted(|source| Some(*source)), ["a"]);
    drop((early, late));
    assert_eq!(hub.subscriptions(), 0);
    assert!(hub.wanted(|source| Some(*source)).is_empty());
}

#[tokio::test]
async fn of_each_object_only_the_newest_waits() {
    let hub: Hub<(), Rev> = Hub::new();
    let mut reader = hub.reader(ROOMY);
    reader.subscribe(());
    for (object, number) in [(1, 1), (2, 2), (1, 3), (3, 4), (1, 5)] {
        hub.send(&(), &rev(object, number));
    }
    let stands_for = vec![1, 3, 5];
    assert_eq!(reader.next().await, Received::Item(rev(2, 2)));
    assert_eq!(reader.next().await, Received::Item(rev(3, 4)));
    let merged = Rev {
        object: 1,
        stands_for,
    };
    assert_eq!(reader.next().await, Received::Item(merged));
    assert!(reader.try_next().is_none());
}

#[tokio::test]
async fn a_slow_reader_is_told_and_delays_nobody() {
    let hub: Hub<(), Rev> = Hub::new();
    let bounds = Bounds {
        items: 4,
        bytes: 1_000,
    };
    let (mut slow, mut quick) = (hub.reader(bounds), hub.reader(bounds));
    slow.subscribe(());
    quick.subscribe(());
    for number in 0..10_000u64 {
        let object = u8::try_from(number % 256).expect("below 256");
        let item = rev(object, number);
        hub.send(&(), &item);
        assert_eq!(quick.try_next(), Some(Received::Item(item)));
        assert!(slow.mailbox.held().items.len() <= 4);
    }
    assert_eq!(slow.next().await, Received::Lagged(10_000));
    assert!(slow.try_next().is_none(), "goes on in the present");
    hub.send(&(), &rev(7, 7));
    assert_eq!(slow.next().await, Received::Item(rev(7, 7)));
    hub.lag_all();
    assert_eq!(quick.next().await, Received::Lagged(1));
}

/// Waiting and sending at once: no wake-up is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_waits_is_woken() {
    let hub: Hub<(), Rev> = Hub::new();
    let mut reader = hub.reader(ROOMY);
    reader.subscribe(());
    let sender = hub.clone();
    let sending = std::thread::spawn(move || {
        for number in 0..1_000 {
            sender.send(&(), &rev(0, number));
            std::thread::yield_now();
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 1_000 {
        match reader.next().await {
            Received::Item(item) => seen.extend(item.stands_for),
            Received::Lagged(_) => panic!("there was room"),
        }
    }
    sending.join().expect("sent");
    assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
}

proptest! {
    /// Whatever is sent and read in whatever order: a reader that has read all knows the
    /// newest of each object, unless it was told that it lagged, and the bounds hold.
    #[test]
    fn nothing_is_lost_without_a_word(
        steps in proptest::collection::vec((0u8..12, 0u8..3), 1..200),
        items in 1usize..8,
        bytes in 1usize..12,
    ) {
        let hub: Hub<(), Rev> = Hub::new();
        let mut reader = hub.reader(Bounds { items, bytes });
        reader.subscribe(());
        let mut owed: Vec<u64> = Vec::new();
        let read = |received: Received<Rev>, owed: &mut Vec<u64>| match received {
            Received::Item(item) => {
                owed.retain(|number| !item.stands_for.contains(number));
                prop_assert!(item.stands_for.is_sorted());
                Ok(())
            }
            Received::Lagged(_) => { owed.clear(); Ok(()) }
        };
        for (number, (object, reads)) in steps.into_iter().enumerate() {
            hub.send(&(), &rev(object, number as u64));
            owed.push(number as u64);
            {
                let held = reader.mailbox.held();
                prop_assert!(held.items.len() <= items && held.bytes <= bytes);
                prop_assert_eq!(held.items.len(), held.places.len());
                let sum: usize = held.items.values().map(Item::bytes).sum();
                prop_assert_eq!(sum, held.bytes);
            }
            for _ in 0..reads {
                if let Some(received) = reader.try_next() {
                    read(received, &mut owed)?;
                }
            }
        }
        while let Some(received) = reader.try_next() {
            read(received, &mut owed)?;
        }
        prop_assert!(owed.is_empty(), "{owed:?}");
        prop_assert!(reader.is_empty());
    }
}
