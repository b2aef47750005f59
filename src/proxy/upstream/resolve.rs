//! From host names to addresses. Names are looked up anew for new connections; look-ups of one name run one at a time,
//! so that a name server that does not answer holds one thread of the blocking pool for each name, not for each
//! request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long an outcome is used, so that a burst of new connections asks once.
const MEMORY: Duration = Duration::from_secs(1);
/// More names than any route map has; what is remembered beyond that goes.
const MOST_REMEMBERED: usize = 1024;

/// Finds the addresses of a name. Not for addresses written as such.
pub(super) type LookUp = Box<dyn Fn(Arc<str>) -> Finding>;
/// A look-up that runs.
pub(super) type Finding = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// What came of a look-up, and when.
#[derive(Clone)]
struct Found {
    at: Instant,
    addresses: Result<Arc<[IpAddr]>, Arc<str>>,
}

/// The look-ups of one thread.
pub(super) struct Resolver {
    look_up: LookUp,
    memory: Duration,
    names: RefCell<HashMap<Arc<str>, watch::Receiver<Option<Found>>>>,
}

impl Resolver {
    /// A resolver that asks in this way.
    pub(super) fn new(look_up: LookUp) -> Self {
        Self { look_up, memory: MEMORY, names: RefCell::default() }
    }

    /// A resolver that asks the system, on its blocking pool.
    pub(super) fn of_system() -> Self {
        Self::new(Box::new(|name| {
            Box::pin(async move {
                let found = tokio::net::lookup_host((&*name, 0)).await?;
                Ok(found.map(|address| address.ip()).collect())
            })
        }))
    }

    /// The addresses of a name, at least one.
    pub(super) async fn addresses(&self, name: &Arc<str>) -> io::Result<Arc<[IpAddr]>> {
        let mut running = self.running(name);
        let found = running.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        match found.map(|found| found.addresses) {
            Some(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Some(Ok(_)) => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            Some(Err(fault)) => Err(io::Error::other(fault.to_string())),
            None => Err(io::Error::other("the look-up broke")),
        }
    }

    /// The look-up that runs or has just ended, or a new one. It goes on when nobody waits any more.
    fn running(&self, name: &Arc<str>) -> watch::Receiver<Option<Found>> {
        let mut names = self.names.borrow_mut();
        if let Some(known) = names.get(name)
            && self.is_usable(known)
        {
            return known.clone();
        }
        if names.len() >= MOST_REMEMBERED {
            names.retain(|_, known| self.is_usable(known));
        }
        let (tell, found) = watch::channel(None);
        let finding = (self.look_up)(Arc::clone(name));
        tokio::spawn(async move {
            let addresses = finding.await.map(Arc::from).map_err(|fault| Arc::from(fault.to_string()));
            tell.send_replace(Some(Found { at: Instant::now(), addresses }));
        });
        names.insert(Arc::clone(name), found.clone());
        found
    }

    /// Whether a look-up still runs, or its outcome may be used.
    fn is_usable(&self, known: &watch::Receiver<Option<Found>>) -> bool {
        match &*known.borrow() {
            Some(found) => found.at.elapsed() < self.memory,
            // Without its other side it broke.
            None => known.has_changed().is_ok(),
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolver").field("names", &self.names.borrow().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
    }

    fn counted(answer: impl Fn(usize) -> Finding + 'static) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let look_up = Box::new(move |_| answer(counter.fetch_add(1, Ordering::SeqCst)));
        (Resolver::new(look_up), asked)
    }

    #[test]
    fn a_name_server_that_does_not_answer_is_asked_once_whoever_waits() {
        run(async {
            let (resolver, asked) = counted(|_| Box::pin(std::future::pending()));
            let name = Arc::from("slow.test");
            for _ in 0..100 {
                let waited = tokio::time::timeout(Duration::from_millis(1), resolver.addresses(&name)).await;
                assert!(waited.is_err());
            }
            assert_eq!(asked.load(Ordering::SeqCst), 1);
        });
    }

    #[test]
    fn a_burst_asks_once_and_later_connections_ask_again() {
        run(async {
            let last = |number| Ipv4Addr::new(127, 0, 0, u8::try_from(number).unwrap() + 1);
            let (mut resolver, asked) =
                counted(move |number| Box::pin(async move { Ok(vec![IpAddr::V4(last(number))]) }));
            resolver.memory = Duration::from_secs(3600);
            let name = Arc::from("moves.test");
            for _ in 0..10 {
                assert_eq!(*resolver.addresses(&name).await.unwrap(), [IpAddr::V4(last(0))]);
            }
            assert_eq!(asked.load(Ordering::SeqCst), 1);
            // Whatever was found is older than no time at all.
            resolver.memory = Duration::ZERO;
            assert_eq!(*resolver.addresses(&name).await.unwrap(), [IpAddr::V4(last(1))]);
        });
    }

    #[test]
    fn a_name_without_addresses_and_a_failed_or_broken_look_up_are_faults() {
        run(async {
            for answer in [0, 1, 2] {
                let (resolver, _) = counted(move |_| {
                    Box::pin(async move {
                        match answer {
                            0 => Ok(Vec::new()),
                            1 => Err(io::Error::other("the name server is away")),
                            _ => panic!("on purpose"),
                        }
                    })
                });
                let fault = resolver.addresses(&Arc::from("a.test")).await.unwrap_err().to_string();
                let expected = ["the name has no address", "the name server is away", "the look-up broke"];
                assert_eq!(fault, expected[answer]);
            }
        });
    }
}
