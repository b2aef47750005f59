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
#[derive(Debug)]
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
        self.replace(|old| Snapshot {
            serial: old.serial + 1,
            loaded_at: now,
            routes: Arc::clone(&routes),
            domains: Arc::clone(&domains),
            keys: Arc::clone(&old.keys),
            revoked: Arc::clone(&old.revoked),
        })
    }

    /// Publishes new keys under the same serial.
    pub fn publish_keys(&self, keys: &Arc<KeyRing>) {
        self.replace(|old| Snapshot {
            serial: old.serial,
            loaded_at: old.loaded_at,
            routes: Arc::clone(&old.routes),
            domains: Arc::clone(&old.domains),
            keys: Arc::clone(keys),
            revoked: Arc::clone(&old.revoked),
        });
    }

    /// Publishes new revocations under the same serial.
    pub fn publish_revoked(&self, revoked: &Arc<Revoked>) {
        self.replace(|old| Snapshot {
            serial: old.serial,
            loaded_at: old.loaded_at,
            routes: Arc::clone(&old.routes),
            domains: Arc::clone(&old.domains),
            keys: Arc::clone(&old.keys),
            revoked: Arc::clone(revoked),
        });
    }

    /// Frees what was replaced and is no longer used by any request. To be called now and then by the publisher.
    pub fn sweep(&self) {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// Only publishers come here, one at a time; readers never wait for the lock.
    fn replace(&self, make: impl Fn(&Snapshot) -> Snapshot) -> u64 {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.current.load_full();
        let new = Arc::new(make(&old));
        let serial = new.serial;
        self.current.store(new);
        retired.push(old);
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        serial
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
