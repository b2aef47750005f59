//! Who sent a request: the connection it came on, the address behind trusted proxies, and the names it goes by.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::Request;
use http::header::{HeaderMap, HeaderValue};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::Asker;
use super::headers;
use crate::telemetry::RequestId;

/// A request as it came from its connection, before anybody looked at it.
#[derive(Debug)]
pub(super) struct Arrival {
    /// What hyper read.
    pub(super) request: Request<Incoming>,
    /// Who sent it.
    pub(super) caller: Caller,
    /// How an answer of the gateway's own is to look.
    pub(super) asker: Asker,
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// The address at its other end.
    pub(super) peer: IpAddr,
    /// The same as `X-Forwarded-For` has it, written once.
    pub(super) peer_header: HeaderValue,
    /// Whether that is a trusted proxy.
    pub(super) trusted: bool,
    /// Whether it is encrypted.
    pub(super) secure: bool,
    requests: Cell<usize>,
    quiet_since: Cell<Instant>,
    broken: Cell<bool>,
    stalled: Cell<bool>,
    severed: Notify,
}

impl Connection {
    /// A new connection from `peer`.
    pub(super) fn new(peer: SocketAddr, secure: bool, trusted: impl Fn(IpAddr) -> bool) -> Rc<Self> {
        // A dual-stack listener writes IPv4 peers in their mapped form.
        let peer = peer.ip().to_canonical();
        let peer_header =
            HeaderValue::try_from(peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Rc::new(Self {
            peer,
            peer_header,
            trusted: trusted(peer),
            secure,
            requests: Cell::new(0),
            quiet_since: Cell::new(Instant::now()),
            broken: Cell::new(false),
            stalled: Cell::new(false),
            severed: Notify::new(),
        })
    }

    /// One more request runs on it.
    pub(super) fn request_started(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// One request less runs on it.
    pub(super) fn request_finished(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
        self.quiet_since.set(Instant::now());
    }

    /// Since when no request runs on it; `None` while one does.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        (self.requests.get() == 0).then(|| self.quiet_since.get())
    }

    /// An answer on it broke off, so it must not end like a complete one.
    pub(super) fn must_not_look_complete(&self) {
        self.broken.set(true);
    }

    /// The client has not taken what it was sent for too long.
    pub(super) fn stalls(&self) {
        self.stalled.set(true);
    }

    /// Whether that was so.
    pub(super) fn has_stalled(&self) -> bool {
        self.stalled.get()
    }

    /// An answer on it was ended from outside: if nothing else runs on it, as with HTTP/1, it is to be closed at once,
    /// whether or not the client reads.
    pub(super) fn sever(&self) {
        self.must_not_look_complete();
        self.severed.notify_one();
    }

    /// Waits until it is to be closed at once.
    pub(super) async fn severed(&self) {
        self.severed.notified().await;
    }

    /// Whether an answer on it broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }
}

/// Who sent one request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The connection.
    pub(super) connection: Rc<Connection>,
    /// The client's address, as far as trusted proxies say.
    pub(super) client: IpAddr,
    /// The request's name.
    pub(super) id: RequestId,
    /// The same as a header has it.
    pub(super) id_header: HeaderValue,
    /// The name of this hop, should a trace need one.
    pub(super) span: u64,
    /// When the head had been read.
    pub(super) started: Instant,
}

impl Caller {
    /// Reads what a trusted peer says in `headers`; of others, nothing is read.
    pub(super) fn of(
        headers: &HeaderMap,
        connection: &Rc<Connection>,
        numbers: &Numbers,
        trusted: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let peer = connection.peer;
        let (client, given) = match connection.trusted {
            true => (headers::client_of(headers, peer, trusted), headers::given_request_id(headers)),
            false => (peer, None),
        };
        let id =
            given.unwrap_or_else(|| RequestId::Made((u128::from(numbers.next()) << 64) | u128::from(numbers.next())));
        // Both kinds of id are made of characters that a header may have.
        let id_header = HeaderValue::try_from(id.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"));
        let started = Instant::now();
        Self { connection: Rc::clone(connection), client, id, id_header, span: numbers.next(), started }
    }
}

/// Random numbers for names of requests: xoshiro256++, seeded from the operating system. Unlikely to repeat, fast, and
/// not for secrets.
#[derive(Debug)]
pub(super) struct Numbers(Cell<[u64; 4]>);

impl Numbers {
    /// A generator of its own for each thread.
    pub(super) fn seeded() -> Self {
        // The standard library takes the keys of its hashers from the operating system.
        let seed = RandomState::new();
        Self(Cell::new([0, 1, 2, 3].map(|part: u64| seed.hash_one(part))))
    }

    /// The next number.
    pub(super) fn next(&self) -> u64 {
        let [a, b, c, d] = self.0.get();
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c1, d1) = (c ^ a, d ^ b);
        self.0.set([a ^ d1, b ^ c1, c1 ^ (b << 17), d1.rotate_left(45)]);
        result
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_follow_the_published_generator() {
        // The first outputs of xoshiro256++ from the state 1, 2, 3, 4.
        let numbers = Numbers(Cell::new([1, 2, 3, 4]));
        let first: Vec<u64> = (0..4).map(|_| numbers.next()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn two_threads_do_not_name_their_requests_alike() {
        let (one, other) = (Numbers::seeded(), Numbers::seeded());
        let seen: HashSet<u64> = (0..1000).flat_map(|_| [one.next(), other.next()]).collect();
        assert_eq!(seen.len(), 2000);
    }

    #[test]
    fn only_a_trusted_peer_may_name_the_client_and_the_request() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9, 10.0.0.7"));
        headers.insert("x-request-id", HeaderValue::from_static("given-by-the-proxy"));
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let numbers = Numbers::seeded();
        for (peer, client, given) in [("10.0.0.1:1", "203.0.113.9", true), ("192.0.2.1:1", "192.0.2.1", false)] {
            let connection = Connection::new(peer.parse().unwrap(), true, trusted);
            let caller = Caller::of(&headers, &connection, &numbers, trusted);
            assert_eq!(caller.client.to_string(), client);
            assert_eq!(caller.id_header == "given-by-the-proxy", given);
        }
    }

    #[test]
    fn a_mapped_peer_is_an_ipv4_peer() {
        let connection = Connection::new("[::ffff:192.0.2.1]:5".parse().unwrap(), false, |_| false);
        assert_eq!(connection.peer_header, "192.0.2.1");
    }
}
