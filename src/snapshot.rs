//! The one consistent state that requests are judged by, and the pointer through which it is swapped while traffic
//! flows.
//!
//! A request reads the pointer once and keeps what it read, so it never sees two generations. The publisher keeps
//! every replaced snapshot until it is the last to hold it, so that the memory is freed off the request threads.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Cache};

use crate::policy::Domains;
use crate::route::RouteMap;
use crate::token::{KeyRing, Revoked};

/// Everything a decision depends on but the request and the clock.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts the policy changes made by people: 1 at start, one more at each accepted reload.
    pub serial: u64,
    /// When the policy was loaded, in seconds since the Unix epoch.
    pub loaded_at: u64,
    /// Applications, routes and upstreams.
    pub routes: Arc<RouteMap>,
    /// Who holds what.
    pub domains: Arc<Domains>,
    /// The keys that tokens are verified with; they change on their own, without a new serial.
    pub keys: Arc<KeyRing>,
    /// Whose tokens are not believed any more; changes on its own, without a new serial.
    pub revoked: Arc<Revoked>,
}

/// How many replaced snapshots may wait for being taken; then whoever publishes frees what nobody uses.
const MOST_RETIRED: usize = 64;

/// The current snapshot.
#[derive(Debug)]
pub struct Live {
    current: Arc<ArcSwap<Snapshot>>,
    retired: Mutex<Vec<Arc<Snapshot>>>,
}

impl Live {
    /// Starts with a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(first)), retired: Mutex::default() }
    }

    /// The current snapshot. For control work; request threads use a [`Reader`].
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Publishes new policy and returns its serial.
    pub fn publish_policy(&self, routes: Arc<RouteMap>, domains: Arc<Domains>, now: u64) -> u64 {
        self.replace(|old| Some(Snapshot { serial: old.serial + 1, loaded_at: now, routes, domains, ..old.clone() }))
            .map_or(0, |new| new.serial)
    }

    /// Publishes a change of what principals hold, under the same serial: data, not policy. `change` is given what is
    /// live and says what is to follow it; meanwhile nobody else can publish. Returns whether anything was published.
    pub fn publish_change(&self, change: impl FnOnce(&Domains) -> Option<Domains>) -> bool {
        self.replace(|old| Some(Snapshot { domains: Arc::new(change(&old.domains)?), ..old.clone() })).is_some()
    }

    /// Publishes new keys under the same serial.
    pub fn publish_keys(&self, keys: &Arc<KeyRing>) {
        self.replace(|old| Some(Snapshot { keys: Arc::clone(keys), ..old.clone() }));
    }

    /// Publishes new revocations under the same serial.
    pub fn publish_revoked(&self, revoked: &Arc<Revoked>) {
        self.replace(|old| Some(Snapshot { revoked: Arc::clone(revoked), ..old.clone() }));
    }

    /// What was replaced and is no longer used by any request. To be taken now and then, and dropped where it does not
    /// matter that this takes a while.
    pub fn take_unused(&self) -> Vec<Arc<Snapshot>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1).collect()
    }

    /// Only publishers come here, one at a time; readers never wait for the lock.
    fn replace(&self, make: impl FnOnce(&Snapshot) -> Option<Snapshot>) -> Option<Arc<Snapshot>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        let new = Arc::new(make(&old)?);
        self.current.store(Arc::clone(&new));
        if retired.len() >= MOST_RETIRED {
            retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        }
        retired.push(old);
        Some(new)
    }
}

/// One thread's way to the current snapshot: about as cheap as reading a plain pointer while nothing changes.
#[derive(Debug)]
pub struct Reader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl Reader {
    /// A way to what `live` holds, for one thread.
    pub fn new(live: &Live) -> Self {
        Self(Cache::new(Arc::clone(&live.current)))
    }

    /// The current snapshot.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        Live::new(Snapshot {
            serial: 1,
            loaded_at: 100,
            routes: Arc::default(),
            domains: Arc::default(),
            keys: Arc::new(KeyRing::empty(0)),
            revoked: Arc::default(),
        })
    }

    #[test]
    fn a_change_of_data_keeps_the_serial_and_reaches_every_reader() {
        let live = live();
        let mut reader = Reader::new(&live);
        let before = Arc::clone(&reader.load().domains);
        assert!(live.publish_change(|domains| Some(domains.clone())));
        let after = reader.load();
        assert!(!Arc::ptr_eq(&before, &after.domains));
        assert_eq!((after.serial, after.loaded_at), (1, 100));
        assert_eq!(live.publish_policy(Arc::default(), Arc::default(), 200), 2);
        assert_eq!((reader.load().serial, reader.load().loaded_at), (2, 200));
    }

    #[test]
    fn a_change_that_comes_to_nothing_publishes_nothing() {
        let live = live();
        let before = live.load();
        assert!(!live.publish_change(|_| None));
        assert!(Arc::ptr_eq(&before, &live.load()));
    }

    #[test]
    fn what_was_replaced_is_freed_by_the_publisher_and_by_no_reader() {
        let live = live();
        let mut reader = Reader::new(&live);
        let old = Arc::downgrade(&reader.load().domains);
        assert!(live.publish_change(|domains| Some(domains.clone())));
        drop(live.take_unused());
        assert!(old.upgrade().is_some(), "a reader still has it");
        // The reader lets go of it, on a thread of its own; that does not free it.
        std::thread::scope(|scope| {
            let other = scope.spawn(|| assert_eq!(reader.load().serial, 1));
            other.join().unwrap();
        });
        assert!(old.upgrade().is_some(), "the last to hold it is the publisher");
        drop(live.take_unused());
        assert!(old.upgrade().is_none());
    }
}
