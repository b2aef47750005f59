//! The data plane: the only code that touches the sockets of clients and upstreams.
//!
//! One current-thread runtime per core runs [`listener::serve`]; each has its own [`Worker`] with its own upstream
//! pools, and what they share ([`Gateway`]) is read-only, behind one pointer. `Worker::handle` is a whole request.

mod answer;
mod body;
mod bound;
mod caller;
pub mod certificate;
mod client_certificate;
mod cors;
mod destination;
mod exchange;
mod flood;
mod form;
mod forward;
mod grpc;
mod guest;
mod handling;
mod headers;
pub mod health;
mod identity;
mod idle;
mod io;
mod kind;
mod layers;
mod ledger;
pub mod listener;
mod looking;
mod numbers;
pub mod objects;
pub mod operator;
pub mod probe;
pub mod proxy_protocol;
mod rates;
mod running;
mod seats;
mod seldom;
mod settings;
mod shares;
mod sni;
pub mod tls;
mod trace;
mod trailers;
mod tunnel;
mod turns;
mod upgrade;
mod upload;
mod upstream;
mod watch;
mod watched;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::Instant;

use body::Held;
pub use body::{Body, BrokenBody};
pub use rates::Limiter;
pub use settings::{ClientNetwork, Limits, Network, NotANetwork, Rate, Rates, Sample, Settings, Timeouts};
pub use upstream::{
    CertificateFault, CertificateFile, Fleet, ServerState, UpstreamState, check_authorities, check_identity,
};

use answer::Asker;
use caller::{Arrival, Caller, Connection};
use forward::{Failed, Outbound};
use handling::Handling;
use ledger::Ledger;
use listener::Accepted;
use numbers::Numbers;
use objects::Objects;
use rates::Limiters;
use running::Running;
use seats::Seats;
use shares::Shares;
use turns::Turns;
use upstream::{Connector, Upstreams};
use watched::Watched;

use crate::candidate::{self, Stand};
use crate::model::Reason;
use crate::pep::{self, Recalled, Refusal, Verdict};
use crate::snapshot::{Live, Reader};
use crate::telemetry::{self, Telemetry};
use crate::token::{AssertionKey, LocalVerifier, Verifier, WantedKey};

/// How often a worker complains in the process log about upstreams; each failed request has its own decision line.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// What all workers share.
pub struct Gateway {
    live: Arc<Live>,
    verifier: Arc<Verifier>,
    /// Signs what backends are told.
    assertions: Arc<AssertionKey>,
    telemetry: Arc<Telemetry>,
    wake: mpsc::Sender<WantedKey>,
    settings: Settings,
    /// Places for client connections, one count for all listeners and workers.
    seats: Arc<Seats>,
    /// Which worker has how many of them.
    shares: Arc<Shares<Accepted>>,
    /// How often anybody has asked.
    limiters: Limiters,
    /// What all workers know of the upstreams.
    fleet: Arc<Fleet>,
    /// Where a candidate policy may stand.
    stand: Arc<Stand>,
    /// Looks up what requests are about.
    objects: Arc<dyn Objects>,
}

impl Gateway {
    /// A gateway that judges by what `live` holds, signs what it tells backends with `assertions`, and reports keys
    /// that should be fetched to `wake`. What requests are about is looked up by `objects`.
    pub fn new(
        live: &Arc<Live>,
        verifier: Arc<Verifier>,
        assertions: Arc<AssertionKey>,
        telemetry: Arc<Telemetry>,
        (wake, objects): (mpsc::Sender<WantedKey>, Arc<dyn Objects>),
        settings: Settings,
    ) -> Arc<Self> {
        let stand = Stand::new(live, &verifier, &telemetry);
        let seats = Seats::new(&settings.limits, &telemetry);
        let limiters = Limiters::new(settings.rates, settings.limits.failed_tokens_per_client);
        let fleet = Arc::new(Fleet::new(Arc::clone(&telemetry)));
        let (live, shares) = (Arc::clone(live), Arc::default());
        Arc::new(Self {
            live,
            verifier,
            assertions,
            telemetry,
            wake,
            settings,
            seats,
            shares,
            limiters,
            fleet,
            objects,
            stand,
        })
    }

    /// What is known of the upstreams.
    pub const fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Where a candidate policy is put up that requests are offered to.
    pub const fn candidate(&self) -> &Arc<Stand> {
        &self.stand
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gateway").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What one thread has for itself.
pub struct Worker {
    gateway: Arc<Gateway>,
    reader: RefCell<Reader>,
    verifier: LocalVerifier,
    /// What this thread counts and logs.
    telemetry: telemetry::Local,
    turns: Turns,
    upstreams: Upstreams,
    numbers: Numbers,
    complained: Cell<Option<Instant>>,
    /// Answers on HTTP/2 streams, for which nobody else notices that the client does not read, and long ones.
    streams: Watched<Held>,
    /// Exchanges that are judged again while they run.
    running: Rc<Running>,
    askers: objects::Askers,
    candidate: candidate::Reader,
}

impl Worker {
    /// The part of `gateway` that this thread runs.
    fn new(gateway: Arc<Gateway>) -> Rc<Self> {
        let reader = RefCell::new(Reader::new(&gateway.live));
        let verifier = LocalVerifier::new(Arc::clone(&gateway.verifier));
        let telemetry = gateway.telemetry.local();
        let Settings { limits, timeouts, .. } = &gateway.settings;
        let connector = Connector::new(Arc::clone(&gateway.telemetry), timeouts);
        let fleet = Arc::clone(&gateway.fleet);
        let upstreams = Upstreams::new(connector, fleet, limits.upstream_idle, timeouts.upstream_idle);
        let candidate = candidate::Reader::new(&gateway.stand);
        Rc::new(Self {
            gateway,
            reader,
            verifier,
            telemetry,
            turns: Turns::default(),
            upstreams,
            numbers: Numbers::seeded(),
            complained: Cell::new(None),
            streams: Watched::default(),
            running: Rc::default(),
            askers: objects::Askers::default(),
            candidate,
        })
    }

    /// The whole request: judge its head, then forward it or say no; its record is written wherever it ends. What is
    /// judged by its head alone is judged at once; only what has to wait is a future with memory of its own.
    fn handle(self: &Rc<Self>, arrival: Arrival) -> Handling {
        if let Some(fault) = arrival.fault {
            return Handling::Done(self.refuse_unjudged(&arrival, &Refusal::about(Reason::BadHeader, fault)));
        }
        let Arrival { request, caller, mut asker, .. } = arrival;
        let (mut head, mut body) = request.into_parts();
        headers::drop_connection_options(&mut head.headers);
        let at = now_ms();
        let now = at / 1000;
        let mut ledger = Ledger::open(self, (&head.method, &head.uri, &head.headers), &caller, at);
        upgrade::mean_get(&mut head);
        if head.method == Method::CONNECT || pep::asks_for_websocket(&head) {
            // Whoever asks for another protocol may speak it already, and that must not be read as a request (RFC
            // 9931).
            asker = asker.closing();
        }
        // Synchronous and without I/O: no other request of this thread runs in between, and no guard is held over an
        // await.
        let has_body = !hyper::body::Body::is_end_stream(&body);
        let environment = caller.connection.environment(now, has_body);
        ledger.offers(self.candidate.copy(&head, environment));
        let recalled = {
            let mut reader = self.reader.borrow_mut();
            match caller.connection.redirect_to_https() {
                Some(port) => Recalled::Judged(pep::redirect(reader.load(), head, port)),
                None => pep::recall(reader.load(), &self.verifier, head, environment),
            }
        };
        ledger.judged();
        let recalled = match recalled {
            Recalled::Judged(verdict) if !handling::waits(&verdict) => {
                return self.conclude(verdict, body, (caller, asker), (now, has_body), ledger);
            }
            waiting => waiting,
        };
        let worker = Rc::clone(self);
        Handling::Waiting(Box::pin(async move {
            let environment = caller.connection.environment(now, has_body);
            let waiting = (recalled, &mut body, &mut asker);
            let verdict = handling::judge(&worker, waiting, &caller, environment, &mut ledger).await;
            // What the backend is told is told as of now: a token or a form may have been waited for.
            worker.conclude(verdict, body, (caller, asker), (now_ms() / 1000, has_body), ledger).await
        }))
    }

    /// Does what the verdict says.
    fn conclude(
        self: &Rc<Self>,
        verdict: Verdict,
        body: Incoming,
        (caller, asker): (Rc<Caller>, Asker),
        (now, has_body): (u64, bool),
        mut ledger: Ledger,
    ) -> Handling {
        ledger.tell_candidate(&verdict);
        let (failed, full_detail) = match verdict {
            Verdict::Permitted(permitted) => {
                if let Some(watched) = &permitted.grounds().watched
                    && let Some(key) = &watched.refusal.wake
                {
                    let _ = self.gateway.wake.try_send((**key).clone());
                }
                let environment = caller.connection.environment(now, has_body);
                match forward::prepare(self, permitted, body, (&caller, environment), ledger) {
                    Ok(outbound) => return self.forward(outbound, caller, asker),
                    Err(failed) => (*failed, false),
                }
            }
            Verdict::Answered { answer, grounds } => {
                ledger.grounds(&grounds, true);
                let (response, sent) = answer::own(&answer, &grounds, asker, &caller);
                ledger.answered_here(&answer, response.status(), sent);
                return Handling::Done(response);
            }
            Verdict::FormNeeded { grounds, .. } | Verdict::ObjectNeeded { grounds, .. } => {
                // Whatever was needed was waited for.
                ledger.grounds(&grounds, false);
                (Failed::of(Refusal::of(Reason::Internal), &grounds, ledger), false)
            }
            Verdict::Refused { refusal, grounds, .. } => {
                ledger.grounds(&grounds, false);
                let full = grounds.application.as_ref().is_some_and(|application| application.full_detail);
                (Failed::of(refusal, &grounds, ledger), full)
            }
        };
        Handling::Done(self.refuse(failed, full_detail, asker, &caller))
    }

    fn forward(self: &Rc<Self>, outbound: Outbound, caller: Rc<Caller>, asker: Asker) -> Handling {
        let worker = Rc::clone(self);
        Handling::Waiting(Box::pin(async move {
            match forward::forward(&worker, outbound).await {
                Ok(response) => response,
                Err(failed) => {
                    // The rest of the body may still come.
                    let ended_early = failed.was_cut || failed.refusal.reason == Reason::RequestTimeout;
                    worker.refuse(*failed, false, if ended_early { asker.closing() } else { asker }, &caller)
                }
            }
        }))
    }

    /// Says no.
    fn refuse(&self, failed: Failed, full_detail: bool, asker: Asker, caller: &Caller) -> Response<Body> {
        let Failed { mut refusal, readers, mut ledger, was_cut: _ } = failed;
        if let Some(key) = refusal.wake.take() {
            // A full queue means that enough others have asked already.
            let _ = self.gateway.wake.try_send(*key);
        }
        let (mut response, sent) = answer::refusal(&refusal, full_detail, asker, caller);
        if refusal.reason != Reason::CorsRefused {
            readers.tell(response.headers_mut());
        }
        ledger.refused(&refusal, sent);
        response
    }

    /// Says no to a request that nobody looked at.
    fn refuse_unjudged(self: &Rc<Self>, arrival: &Arrival, refusal: &Refusal) -> Response<Body> {
        let (response, sent) = answer::refusal(refusal, false, arrival.asker, &arrival.caller);
        let request = &arrival.request;
        let head = (request.method(), request.uri(), request.headers());
        Ledger::open(self, head, &arrival.caller, now_ms()).refused(refusal, sent);
        response
    }

    /// The answer when handling a request panicked.
    fn panicked(&self, asker: Asker, caller: &Caller) -> Response<Body> {
        tracing::error!("request {} ended in a panic: this is a defect of the gateway, please report it", caller.id);
        answer::refusal(&Refusal::of(Reason::Internal), false, asker, caller).0
    }

    /// Who sent a request, under which name.
    fn arrival(&self, request: Request<Incoming>, connection: &Rc<Connection>) -> Arrival {
        let Settings { trusted_proxies, traces, .. } = &self.gateway.settings;
        let traces = traces.map(|sample| (sample, request.version()));
        let caller = Caller::of(request.headers(), connection, (&self.numbers, traces), |address| {
            trusted_proxies.iter().any(|network| network.contains(address))
        });
        let (asker, fault) = (Asker::of(&request), connection.next_head());
        // Behind a fault nobody knows where the next request begins.
        let asker = if fault.is_some() { asker.closing() } else { asker };
        Arrival { request, caller, asker, fault }
    }

    /// Tells the process log that a server cannot be reached, now and then.
    fn complain(&self, server: &str, fault: &dyn fmt::Display) {
        if self.complained.get().is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            self.complained.set(Some(Instant::now()));
            tracing::warn!("upstream server {server} cannot be reached: {fault}");
        }
    }

    /// What has to be done now and then: close idle upstream connections, and with that look at the snapshot, so that a
    /// thread without requests does not hold on to an old one.
    fn tick(&self) {
        self.upstreams.sweep(&self.reader.borrow_mut().load().routes);
        self.streams.retain(|held| held.look_after(self.gateway.settings.timeouts.client_body));
    }

    /// Cuts running exchanges that may not go on.
    fn judge_again(&self) {
        let snapshot = Arc::clone(self.reader.borrow_mut().load());
        let cut = self.running.judge_again(&snapshot, &self.gateway.verifier, now_ms() / 1000);
        self.running.look_up_again(&self.gateway.objects);
        (0..cut).for_each(|_| self.gateway.telemetry.exchange_cut());
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Worker").field("upstreams", &self.upstreams).finish_non_exhaustive()
    }
}

/// Milliseconds since the Unix epoch: the one place where wall-clock time enters the data plane.
#[expect(clippy::disallowed_methods, reason = "the edge at which time enters")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
