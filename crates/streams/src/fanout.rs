//! One sender, many readers, a bounded memory between them.
//!
//! Sending never waits and never grows anything: it overwrites the oldest item. A reader who was
//! too slow is told how much it missed and goes on with what is sent from then on; it must take a
//! new snapshot of whatever the items are about.

use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};

/// Sends items to all its [`Subscription`]s, in order.
#[derive(Clone, Debug)]
pub struct Fanout<T> {
    sender: broadcast::Sender<T>,
}

/// What a reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The next item.
    Item(T),
    /// This many items were missed. Snapshot again; items sent from now on follow.
    Lagged(u64),
}

impl<T: Clone> Fanout<T> {
    /// Keeps the last `capacity` items for readers who are behind: 1 to 2²⁰, rounded up to a power
    /// of two. The slots are allocated once, here.
    pub fn new(capacity: usize) -> Self {
        Self {
            sender: broadcast::Sender::new(capacity.clamp(1, 1 << 20)),
        }
    }

    /// Send to everybody who is subscribed now. Never waits. Returns how many that are.
    pub fn send(&self, item: T) -> usize {
        // An error says that nobody listens, and gives the item back.
        self.sender.send(item).unwrap_or(0)
    }

    /// Receive what is sent from now on. To join a snapshot and the items after it without a gap:
    /// subscribe first, then take the snapshot.
    pub fn subscribe(&self) -> Subscription<T> {
        Subscription {
            receiver: self.sender.subscribe(),
        }
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.sender.receiver_count()
    }
}

/// One reader's place in the stream.
#[derive(Debug)]
pub struct Subscription<T> {
    receiver: broadcast::Receiver<T>,
}

impl<T: Clone> Subscription<T> {
    /// Wait for the next item; none when every [`Fanout`] handle is gone and all has been read.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Received<T>> {
        match self.receiver.recv().await {
            Ok(item) => Some(Received::Item(item)),
            Err(RecvError::Lagged(missed)) => Some(self.lagged(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// What there is to read now, without waiting; none when there is nothing.
    pub fn try_next(&mut self) -> Option<Received<T>> {
        match self.receiver.try_recv() {
            Ok(item) => Some(Received::Item(item)),
            Err(TryRecvError::Lagged(missed)) => Some(self.lagged(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }

    /// Skip to the present: what is still kept is of no use to a reader that must snapshot anyway,
    /// and reading it would let it fall behind again.
    fn lagged(&mut self, missed: u64) -> Received<T> {
        let kept = u64::try_from(self.receiver.len()).unwrap_or(u64::MAX);
        self.receiver = self.receiver.resubscribe();
        Received::Lagged(missed.saturating_add(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    #[tokio::test]
    async fn items_arrive_in_order_from_the_time_of_subscribing() {
        let fanout = Fanout::new(8);
        assert_eq!(fanout.send(0), 0);
        let mut early = fanout.subscribe();
        assert_eq!(fanout.send(1), 1);
        let mut late = fanout.subscribe();
        assert_eq!(fanout.send(2), 2);
        assert_eq!(early.next().await, Some(Received::Item(1)));
        assert_eq!(early.next().await, Some(Received::Item(2)));
        assert_eq!(early.try_next(), None);
        assert_eq!(late.next().await, Some(Received::Item(2)));
        drop(fanout);
        assert_eq!(late.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_and_delays_nobody() {
        let fanout = Fanout::new(4);
        let mut slow = fanout.subscribe();
        let mut quick = fanout.subscribe();
        let weight = Arc::new(());
        for n in 0..10_000u64 {
            fanout.send((n, weight.clone()));
            assert!(matches!(quick.try_next(), Some(Received::Item((m, _))) if m == n));
        }
        assert!(Arc::strong_count(&weight) <= 5, "only the capacity is kept");
        assert!(matches!(slow.next().await, Some(Received::Lagged(10_000))));
        assert!(slow.try_next().is_none(), "goes on in the present");
        fanout.send((7, weight));
        assert!(matches!(slow.next().await, Some(Received::Item((7, _)))));
    }

    #[tokio::test]
    async fn many_readers_cost_the_sender_little() {
        let fanout = Fanout::new(64);
        let readers: Vec<_> = (0..5_000).map(|_| fanout.subscribe()).collect();
        let started = Instant::now();
        for n in 0..10_000 {
            fanout.send(n);
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(fanout.readers(), readers.len());
    }
}
