//! Who sent a request: the connection it came on, the address behind trusted proxies, and the names it goes by.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::{Request, Version};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::Asker;
use super::bound::Bound;
use super::headers;
use super::idle::Alarm;
use super::listener::Terms;
use super::numbers::Numbers;
use super::seats::Occupant;
use super::settings::{Network, Sample, Timeouts};
use super::trace::{self, Context};
use super::tunnel::Tunnel;
use super::watch::Fault;
use crate::model::ClientCertificate;
use crate::pep::Environment;
use crate::telemetry::RequestId;

/// A request as it came from its connection, before anybody looked at it.
#[derive(Debug)]
pub(super) struct Arrival {
    /// What hyper read.
    pub(super) request: Request<Incoming>,
    /// Who sent it.
    pub(super) caller: Rc<Caller>,
    /// How an answer of the gateway's own is to look.
    pub(super) asker: Asker,
    /// What is wrong with its bytes, though hyper took them.
    pub(super) fault: Option<Fault>,
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
    /// The certificate that the client showed.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
    server_name: Option<Arc<str>>,
    terms: Arc<Terms>,
    requests: Cell<usize>,
    quiet_since: Cell<Instant>,
    /// When the first byte of what may become the next request came; of HTTP/1, where nothing else comes.
    head_since: Cell<Option<Instant>>,
    /// Whether a request ever ran on it.
    used: Cell<bool>,
    /// Whether its stream is between two messages.
    between: Cell<bool>,
    /// Its place among all connections, as other threads see it.
    occupant: OnceCell<Arc<Occupant>>,
    broken: Cell<bool>,
    stalled: Cell<bool>,
    severed: Notify,
    heads: Cell<u64>,
    faulty: Cell<Option<(u64, Fault)>>,
    /// What goes on here once HTTP/1.1 has ended. Few connections have one, or the next: no room is kept for them.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    /// The upstream connection that was authenticated for this one.
    bound: RefCell<Option<Box<Bound>>>,
    /// For the time that a request may take as a whole.
    pub(super) alarm: RefCell<Alarm>,
}

impl Connection {
    /// A new connection by a listener of these terms.
    pub(super) fn new(terms: &Arc<Terms>, peer: Peer, session: Option<Session>) -> Rc<Self> {
        let Peer { address: peer, trusted } = peer;
        let peer_header =
            HeaderValue::try_from(peer.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let secure = session.is_some();
        let Session { server_name, certificate } = session.unwrap_or_default();
        Rc::new(Self {
            peer,
            peer_header,
            trusted,
            secure,
            certificate,
            server_name,
            terms: Arc::clone(terms),
            requests: Cell::new(0),
            quiet_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            used: Cell::new(false),
            between: Cell::new(true),
            occupant: OnceCell::new(),
            broken: Cell::new(false),
            stalled: Cell::new(false),
            severed: Notify::new(),
            heads: Cell::new(0),
            faulty: Cell::new(None),
            tunnel: RefCell::default(),
            bound: RefCell::default(),
            alarm: RefCell::default(),
        })
    }

    /// What the judge must know of it, at a moment in Unix seconds.
    pub(super) fn environment(&self, now: u64, has_body: bool) -> Environment<'_> {
        Environment {
            now,
            trusted_peer: self.trusted,
            secure: self.secure,
            has_body,
            server_name: self.server_name.as_ref(),
            certificate: self.certificate.as_ref(),
        }
    }

    /// The port of HTTPS that every request on it is sent to, if that is all that its listener does.
    pub(super) fn redirect_to_https(&self) -> Option<u16> {
        self.terms.redirect_to_https
    }

    /// Sets what its listener has in every answer. One line of HSTS, the listener's: a client that is told two things
    /// reads the first (RFC 6797 section 8.1), and a backend must not take back what the operator of the listener
    /// promises.
    pub(super) fn adorn(&self, headers: &mut HeaderMap) {
        if let Some(hsts) = self.terms.hsts.as_ref().filter(|_| self.secure) {
            headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }

    /// The head of this number (from 1) has a fault that hyper does not see.
    pub(super) fn faulty_head(&self, number: u64, fault: Fault) {
        self.faulty.set(Some((number, fault)));
    }

    /// One more head came to its end. What is wrong with it, or with one before it: nothing behind a fault is believed.
    pub(super) fn next_head(&self) -> Option<Fault> {
        self.heads.set(self.heads.get() + 1);
        self.faulty.get().filter(|(number, _)| *number <= self.heads.get()).map(|(_, fault)| fault)
    }

    /// It has a place among all connections.
    pub(super) fn takes(&self, occupant: &Arc<Occupant>) {
        // A connection has one place in its life.
        let _ = self.occupant.set(Arc::clone(occupant));
    }

    /// A request on it was permitted.
    pub(super) fn becomes_known(&self) {
        if let Some(occupant) = self.occupant.get() {
            occupant.becomes_known();
        }
    }

    /// Bytes came on it.
    pub(super) fn received(&self) {
        if self.requests.get() == 0 && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// One more request runs on it.
    pub(super) fn request_started(&self) {
        self.used.set(true);
        self.head_since.set(None);
        if self.requests.replace(self.requests.get() + 1) == 0
            && let Some(occupant) = self.occupant.get()
        {
            occupant.is_busy();
        }
    }

    /// One request less runs on it.
    pub(super) fn request_finished(&self) {
        self.requests.set(self.requests.get().saturating_sub(1));
        let now = Instant::now();
        self.quiet_since.set(now);
        if self.requests.get() == 0
            && let Some(occupant) = self.occupant.get()
        {
            occupant.is_idle(now);
        }
    }

    /// Until when it must have moved on, and for a connection on which a request runs, when to look again. Looked at by
    /// then, and never later, because no time that begins in between can be over before.
    pub(super) fn due(&self, timeouts: &Timeouts, multiplexed: bool) -> Instant {
        let (head, idle) = (timeouts.client_head, timeouts.client_idle);
        let now = Instant::now();
        if self.requests.get() > 0 {
            return now + head.min(idle);
        }
        let due = match self.head_since.get().filter(|_| !multiplexed) {
            _ if !self.used.get() => self.quiet_since.get() + head,
            Some(since) => since + head,
            None => self.quiet_since.get() + idle,
        };
        due.min(now + head.min(idle))
    }

    /// For how long nothing has come on it and no request has run; zero as long as bytes of a message are on their way in
    /// either direction.
    pub(super) fn quiet_for(&self) -> Duration {
        match self.requests.get() == 0 && self.head_since.get().is_none() && self.between.get() {
            true => self.quiet_since.get().elapsed(),
            false => Duration::ZERO,
        }
    }

    /// Whether all that was sent is with the system and all that came is whole messages, of HTTP/1.
    pub(super) fn is_between_messages(&self, between: bool) {
        self.between.set(between);
    }

    /// Whether no request runs on it.
    pub(super) fn is_quiet(&self) -> bool {
        self.requests.get() == 0
    }

    /// Whether a part of a head came, or the first head never began.
    pub(super) fn awaits_head(&self) -> bool {
        self.head_since.get().is_some() || !self.used.get()
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

    /// After the answer that is being sent, which switches protocols, this goes on here.
    pub(super) fn switches_to(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(Box::new(tunnel)));
    }

    /// What goes on here now that HTTP/1.1 has ended.
    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.take().map(|tunnel| *tunnel)
    }

    /// Keeps an authenticated upstream connection, in place of the one before.
    pub(super) fn keep_bound(&self, bound: Bound) {
        self.bound.replace(Some(Box::new(bound)));
    }

    /// The authenticated upstream connection, if it fits.
    pub(super) fn take_bound(&self, fits: impl FnOnce(&Bound) -> bool) -> Option<Bound> {
        self.bound.borrow_mut().take_if(|bound| fits(bound)).map(|bound| *bound)
    }

    /// Gives up whatever is kept for it. It may hold the connection in turn, so nobody else would.
    pub(super) fn clear(&self) {
        self.tunnel.take();
        self.bound.take();
    }

    /// Whether an answer on it broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// The address; an IPv4 address never in its mapped form, in which a dual-stack listener writes it.
    pub(super) address: IpAddr,
    /// Whether it is a trusted proxy.
    pub(super) trusted: bool,
}

impl Peer {
    /// A peer at this address, trusted or not.
    pub(super) fn at(address: SocketAddr, trusted: impl Fn(IpAddr) -> bool) -> Self {
        let address = address.ip().to_canonical();
        Self { address, trusted: trusted(address) }
    }
}

/// What a TLS handshake said.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The name that the client asked for (SNI), in lower case and without a final dot.
    pub(super) server_name: Option<Arc<str>>,
    /// The certificate that it showed.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// Who sent one request.
#[derive(Debug)]
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
    /// Its trace, where requests are traced.
    pub(super) trace: Option<Context>,
    /// When the head had been read.
    pub(super) started: Instant,
}

impl Caller {
    /// Reads what a trusted peer says in `headers`; of others, nothing is read.
    pub(super) fn of(
        headers: &HeaderMap,
        connection: &Rc<Connection>,
        (numbers, traces): (&Numbers, Option<(Sample, Version)>),
        trusted: impl Fn(IpAddr) -> bool,
    ) -> Rc<Self> {
        let peer = connection.peer;
        let (client, given) = match connection.trusted {
            true => (headers::client_of(headers, peer, trusted), headers::given_request_id(headers)),
            false => (peer, None),
        };
        let id =
            given.unwrap_or_else(|| RequestId::Made((u128::from(numbers.next()) << 64) | u128::from(numbers.next())));
        // Both kinds of id are made of characters that a header may have.
        let id_header = match &id {
            RequestId::Made(number) => HeaderValue::from_bytes(&RequestId::digits(*number)),
            RequestId::Given(text) => HeaderValue::from_str(text),
        };
        let id_header = id_header.unwrap_or_else(|_| HeaderValue::from_static("-"));
        let trace = traces.map(|(sample, version)| {
            trace::context(headers, (connection.trusted, connection.secure, version), &id, sample, || numbers.next())
        });
        let (started, span) = (Instant::now(), numbers.next());
        Rc::new(Self { connection: Rc::clone(connection), client, id, id_header, span, trace, started })
    }

    /// The address that has to answer for what is asked; `None` for a trusted proxy that names no client: it speaks for
    /// many, who must not pay for each other.
    pub(super) fn account(&self, trusted: &[Network]) -> Option<IpAddr> {
        let speaks_for_many = self.connection.trusted && trusted.iter().any(|network| network.contains(self.client));
        (!speaks_for_many).then_some(self.client)
    }
}

#[cfg(test)]
impl Connection {
    /// A connection by a listener without terms of its own.
    pub(super) fn from(peer: &str, secure: bool, trusted: impl Fn(IpAddr) -> bool) -> Rc<Self> {
        let peer = Peer::at(peer.parse().unwrap(), trusted);
        Self::new(&Rc::default(), peer, secure.then(Session::default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_peer_may_name_the_client_and_the_request() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9, 10.0.0.7"));
        headers.insert("x-request-id", HeaderValue::from_static("given-by-the-proxy"));
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let numbers = Numbers::seeded();
        for (peer, client, given) in [("10.0.0.1:1", "203.0.113.9", true), ("192.0.2.1:1", "192.0.2.1", false)] {
            let connection = Connection::from(peer, true, trusted);
            let caller = Caller::of(&headers, &connection, (&numbers, None), trusted);
            assert_eq!(caller.client.to_string(), client);
            assert_eq!(caller.id_header == "given-by-the-proxy", given);
        }
    }

    #[test]
    fn a_mapped_peer_is_an_ipv4_peer() {
        let connection = Connection::from("[::ffff:192.0.2.1]:5", false, |_| false);
        assert_eq!(connection.peer_header, "192.0.2.1");
    }
}
