//! One sender, many readers, each with a bounded mailbox of its own.
//!
//! Sending never waits. Of each object a mailbox holds only the newest item, so a reader that is
//! somewhat slow skips what is outdated anyway. A mailbox that would grow beyond its [`Bounds`] is
//! emptied instead: its reader is told that it [lagged](Received::Lagged), and takes a new snapshot
//! of whatever the items are about. What a reader costs is so bounded, whatever it does, and no
//! reader delays another.
//!
//! To join a snapshot and the items after it without a gap: subscribe first, then take the
//! snapshot.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// What is sent. Cloned for each reader: make it an `Arc`.
pub trait Item: Clone {
    /// Which object it tells of.
    type Key: Clone + Eq + Hash;

    /// The object that it tells of. An item takes the place of an older one with the same key.
    fn key(&self) -> Self::Key;

    /// How much it counts against [`Bounds::bytes`].
    fn bytes(&self) -> usize;

    /// What takes the place of `older` in a mailbox. By default this item, as it is; one that says
    /// only what is new takes over what the older one said.
    #[must_use]
    fn replacing(self, older: Self) -> Self {
        drop(older);
        self
    }
}

/// How much a mailbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Items.
    pub items: usize,
    /// The sum of [`Item::bytes`].
    pub bytes: usize,
}

/// What a reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The next item.
    Item(T),
    /// Items were missed, so many at least. Snapshot again; items sent from now on follow.
    Lagged(u64),
}

/// Sends items to those who subscribed to their source. Clones are the same hub.
pub struct Hub<S, T: Item> {
    shared: Arc<Shared<S, T>>,
}

/// Who is subscribed: by source, and within it by reader.
type Sources<S, T> = HashMap<S, HashMap<u64, Arc<Mailbox<T>>>>;

struct Shared<S, T: Item> {
    sources: Mutex<Sources<S, T>>,
    next_reader: AtomicU64,
}

impl<S, T: Item> Clone for Hub<S, T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, T: Item> fmt::Debug for Hub<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl<S: Clone + Eq + Hash, T: Item> Default for Hub<S, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Eq + Hash, T: Item> Hub<S, T> {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                sources: Mutex::default(),
                next_reader: AtomicU64::new(0),
            }),
        }
    }

    /// A reader that is subscribed to nothing yet.
    pub fn reader(&self, bounds: Bounds) -> Reader<S, T> {
        Reader {
            number: self.shared.next_reader.fetch_add(1, Ordering::Relaxed),
            sources: Vec::new(),
            mailbox: Arc::new(Mailbox {
                bounds,
                held: Mutex::default(),
                arrived: Notify::new(),
            }),
            hub: self.clone(),
        }
    }

    /// Sends to everybody who is subscribed to `source` now, and returns how many that are.
    pub fn send<Q>(&self, source: &Q, item: &T) -> usize
    where
        S: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let sources = self.sources();
        let Some(readers) = sources.get(source) else {
            return 0;
        };
        for mailbox in readers.values() {
            mailbox.put(item.clone());
        }
        readers.len()
    }

    /// Tells every reader that it lagged: something was lost before it came here.
    pub fn lag_all(&self) {
        for readers in self.sources().values() {
            for mailbox in readers.values() {
                mailbox.lag();
            }
        }
    }

    /// Whether anybody is subscribed to `source`.
    pub fn is_wanted<Q>(&self, source: &Q) -> bool
    where
        S: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.sources().contains_key(source)
    }

    /// The sources that somebody is subscribed to, those that `pick` makes something of.
    pub fn wanted<P>(&self, pick: impl FnMut(&S) -> Option<P>) -> Vec<P> {
        self.sources().keys().filter_map(pick).collect()
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.sources().values().map(HashMap::len).sum()
    }

    fn sources(&self) -> MutexGuard<'_, Sources<S, T>> {
        self.shared
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader: its subscriptions, which end with it, and its mailbox.
pub struct Reader<S: Clone + Eq + Hash, T: Item> {
    number: u64,
    sources: Vec<S>,
    mailbox: Arc<Mailbox<T>>,
    hub: Hub<S, T>,
}

impl<S: Clone + Eq + Hash + fmt::Debug, T: Item> fmt::Debug for Reader<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

impl<S: Clone + Eq + Hash, T: Item> Reader<S, T> {
    /// Receives what is sent to `source` from now on.
    pub fn subscribe(&mut self, source: S) {
        if self.sources.contains(&source) {
            return;
        }
        let mut sources = self.hub.sources();
        let readers = sources.entry(source.clone()).or_default();
        readers.insert(self.number, Arc::clone(&self.mailbox));
        drop(sources);
        self.sources.push(source);
    }

    /// No longer. What is in the mailbox already still comes.
    pub fn unsubscribe(&mut self, source: &S) {
        self.sources.retain(|subscribed| subscribed != source);
        remove(&self.hub, self.number, source);
    }

    /// Waits for the next item. Cancel-safe.
    pub async fn next(&mut self) -> Received<T> {
        loop {
            if let Some(received) = self.try_next() {
                return received;
            }
            self.mailbox.arrived.notified().await;
        }
    }

    /// What there is to read now, without waiting; none when there is nothing.
    pub fn try_next(&mut self) -> Option<Received<T>> {
        self.mailbox.held().take()
    }

    /// Whether there is nothing to read now.
    pub fn is_empty(&self) -> bool {
        let held = self.mailbox.held();
        held.items.is_empty() && held.missed == 0
    }
}

impl<S: Clone + Eq + Hash, T: Item> Drop for Reader<S, T> {
    fn drop(&mut self) {
        for source in &self.sources {
            remove(&self.hub, self.number, source);
        }
    }
}

fn remove<S: Clone + Eq + Hash, T: Item>(hub: &Hub<S, T>, reader: u64, source: &S) {
    let mut sources = hub.sources();
    if let Some(readers) = sources.get_mut(source) {
        readers.remove(&reader);
        if readers.is_empty() {
            sources.remove(source);
        }
    }
}

struct Mailbox<T: Item> {
    bounds: Bounds,
    held: Mutex<Held<T>>,
    arrived: Notify,
}

/// What is in a mailbox. An empty one takes no memory beyond itself.
struct Held<T: Item> {
    /// In order of arrival.
    items: BTreeMap<u64, T>,
    places: HashMap<T::Key, u64>,
    bytes: usize,
    next_place: u64,
    /// Since the reader fell behind; it has not been told yet.
    missed: u64,
}

impl<T: Item> Default for Held<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            places: HashMap::new(),
            bytes: 0,
            next_place: 0,
            missed: 0,
        }
    }
}

impl<T: Item> Mailbox<T> {
    fn held(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, item: T) {
        self.held().put(item, self.bounds);
        self.arrived.notify_one();
    }

    fn lag(&self) {
        let mut held = self.held();
        held.empty();
        held.missed += 1;
        drop(held);
        self.arrived.notify_one();
    }
}

impl<T: Item> Held<T> {
    fn put(&mut self, item: T, bounds: Bounds) {
        if self.missed > 0 {
            self.missed += 1;
            return;
        }
        let key = item.key();
        let item = match self.places.remove(&key) {
            Some(place) => match self.items.remove(&place) {
                Some(older) => {
                    self.bytes -= older.bytes();
                    item.replacing(older)
                }
                None => item,
            },
            None => item,
        };
        self.bytes += item.bytes();
        self.places.insert(key, self.next_place);
        self.items.insert(self.next_place, item);
        self.next_place += 1;
        if self.items.len() > bounds.items || self.bytes > bounds.bytes {
            self.missed = self.items.len() as u64;
            self.empty();
        }
    }

    fn take(&mut self) -> Option<Received<T>> {
        if self.missed > 0 {
            return Some(Received::Lagged(std::mem::take(&mut self.missed)));
        }
        let (_, item) = self.items.pop_first()?;
        self.places.remove(&item.key());
        self.bytes -= item.bytes();
        if self.items.is_empty() {
            self.empty();
        }
        Some(Received::Item(item))
    }

    /// Gives the memory back, too.
    fn empty(&mut self) {
        self.items = BTreeMap::new();
        self.places = HashMap::new();
        self.bytes = 0;
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
