//! What operators see of the running process: counters for Prometheus, one decision line per request, the process log.
//!
//! The bottom layer: it takes plain values and knows nothing of policy, tokens or sockets. Both views of a request
//! come from one [`RequestRecord`], so that log and metrics cannot disagree. Each thread that serves requests reports
//! them to a [`Local`] of its own; what happens now and then is told to [`Telemetry`], which all share.

mod calendar;
mod digits;
mod line;
mod local;
pub mod log;
mod metrics;
mod record;
mod sink;
mod spans;
mod trace;
mod trays;
mod writer;

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use calendar::{moment, rfc3339, unix_seconds};
pub use digits::hexadecimal;
pub use local::Local;
pub use record::{Figures, RequestId, RequestRecord, Text};
pub use sink::{Destination, Rotation};
pub use spans::Export;
pub use trace::{Trace, Traced, TracedRequests};

use metrics::Metrics;
use sink::{Sink, Stream};
use trace::Tracer;
use writer::{Counts, DecisionLog};

/// How long [`Telemetry::flush`] waits at most.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// The one place that upstreams, keys and reloads are reported to; shared by all threads.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Metrics,
    decisions: Option<DecisionLog>,
    /// Whether no request may be forwarded whose line cannot be written.
    is_audited: bool,
    /// The way of traced requests, once somebody sends their spans.
    tracer: OnceLock<Tracer>,
}

impl Telemetry {
    /// The `Content-Type` of what [`render`](Self::render) writes.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Starts at zero. With `decisions`, one JSON line per request goes to standard output.
    pub fn new(version: &'static str, decisions: bool) -> Arc<Self> {
        if decisions { Self::writing_to(version, Box::new(std::io::stdout())) } else { Self::silent(version) }
    }

    /// The same with the decision lines going to `out`.
    pub fn writing_to(version: &'static str, out: Box<dyn Write + Send>) -> Arc<Self> {
        Self::sinking_to(Metrics::new(version), Box::new(Stream::new(out)), false)
    }

    /// The same with the decision lines going to `destination`. `is_audited`: [`Local::admit`] lets no request in whose
    /// line cannot be written, and lines that cannot be written now are kept and written later.
    ///
    /// # Errors
    /// The destination cannot be opened.
    pub fn logging_to(version: &'static str, destination: &Destination, is_audited: bool) -> io::Result<Arc<Self>> {
        let metrics = Metrics::new(version);
        let sink = destination.open(metrics.lines_cut.clone())?;
        Ok(Self::sinking_to(metrics, sink, is_audited))
    }

    fn sinking_to(metrics: Metrics, sink: Box<dyn Sink>, is_audited: bool) -> Arc<Self> {
        let counts = Counts { dropped: metrics.lines_dropped.clone(), writable: metrics.log_writable.clone() };
        let decisions = Some(DecisionLog::start(sink, counts, is_audited));
        Arc::new(Self { metrics, decisions, is_audited, tracer: OnceLock::new() })
    }

    fn silent(version: &'static str) -> Arc<Self> {
        Arc::new(Self { metrics: Metrics::new(version), decisions: None, is_audited: false, tracer: OnceLock::new() })
    }

    /// The end of the current thread, for its requests and connections.
    pub fn local(self: &Arc<Self>) -> Local {
        Local::new(Arc::clone(self))
    }

    /// From now on, new [`Local`]s hand their traced requests over to whoever asked first; `None` to everybody else.
    pub fn traced_requests(&self) -> Option<TracedRequests> {
        let (tracer, requests) = Tracer::new(self.metrics.spans_dropped.clone());
        self.tracer.set(tracer).is_ok().then_some(requests)
    }

    /// So many spans were taken by their collector.
    pub fn spans_sent(&self, spans: u64) {
        self.metrics.spans_sent.inc_by(spans);
    }

    /// So many spans were lost.
    pub fn spans_dropped(&self, spans: u64) {
        self.metrics.spans_dropped.inc_by(spans);
    }

    /// All metrics as Prometheus reads them (OpenMetrics text).
    pub fn render(&self) -> String {
        self.metrics.render()
    }

    /// A policy with this serial is in force since `at` (Unix seconds).
    pub fn policy_loaded(&self, serial: u64, at: u64) {
        self.metrics.policy_loaded(serial, at);
    }

    /// An older policy is in force again since `at` (Unix seconds), under this serial.
    pub fn policy_rolled_back(&self, serial: u64, at: u64) {
        self.metrics.policy_rolled_back(serial, at);
    }

    /// Whether an older policy is in force than the files say, because somebody went back to it.
    pub fn rolled_back(&self, is: bool) {
        self.metrics.rolled_back.set(i64::from(is));
    }

    /// Whether the policy in force is that of the last good documents, because the files could not be used at the start.
    pub fn policy_stale(&self, is: bool) {
        self.metrics.stale.set(i64::from(is));
    }

    /// Whether requests are judged by a candidate policy, too.
    pub fn candidate_running(&self, is: bool) {
        self.metrics.candidate_running.set(i64::from(is));
    }

    /// What a candidate policy says of one request: a word of a closed list.
    pub fn candidate_request(&self, outcome: &'static str) {
        self.metrics.candidate_request(outcome);
    }

    /// The last good documents could not be written.
    pub fn last_good_failed(&self) {
        self.metrics.last_good_failed.inc();
    }

    /// A reload was published, so long after it was asked for.
    pub fn reload_took(&self, duration: Duration) {
        self.metrics.reload_took(duration);
    }

    /// A reload at `at` (Unix seconds) was good, but held; the old policy stays.
    pub fn reload_held(&self, at: u64) {
        self.metrics.reload_held(at);
    }

    /// A reload at `at` (Unix seconds) failed; the old policy stays.
    pub fn reload_failed(&self, at: u64) {
        self.metrics.reload_failed(at);
    }

    /// The keys of an issuer were fetched at `at` (Unix seconds).
    pub fn keys_fetched(&self, issuer: &str, at: u64) {
        self.metrics.keys_fetched(issuer, at);
    }

    /// Fetching the keys of an issuer failed.
    pub fn keys_failed(&self, issuer: &str) {
        self.metrics.keys_failed(issuer);
    }

    /// So many revocations are in force since `at` (Unix seconds).
    pub fn revoked_loaded(&self, entries: usize, at: u64) {
        self.metrics.revoked_loaded(entries, at);
    }

    /// A file of revocations could not be used; the old ones stay.
    pub fn revoked_failed(&self) {
        self.metrics.revoked_failed.inc();
    }

    /// A running exchange was cut because it was judged again, and the answer was no.
    pub fn exchange_cut(&self) {
        self.metrics.exchanges_cut.inc();
    }

    /// How long ago, in seconds, the rows of a domain were known to be those of its database.
    pub fn grants_age(&self, domain: &str, seconds: u64) {
        self.metrics.grants_age(domain, seconds);
    }

    /// An object was looked up, with this outcome: `hit`, `found`, `unknown`, `late`, `failed`.
    pub fn object_looked_up(&self, outcome: &'static str) {
        self.metrics.object_looked_up(outcome);
    }

    /// How long ago the keys of an issuer were fetched, in seconds; `None` while there are none. To be told before
    /// [`render`](Self::render), for it grows by itself.
    pub fn keys_age(&self, issuer: &str, age: Option<u64>) {
        self.metrics.keys_age(issuer, age);
    }

    /// How often tokens were remembered since the start, how often not, and how many are. To be told before
    /// [`render`](Self::render): whoever looks tokens up counts for itself, which is cheaper than telling each time.
    pub fn token_cache(&self, hits: u64, misses: u64, entries: u64) {
        self.metrics.token_cache(hits, misses, entries);
    }

    /// A client's TLS handshake failed or took too long.
    pub fn handshake_failed(&self) {
        self.metrics.handshakes_failed.inc();
    }

    /// A connection did not begin with the header of the PROXY protocol that its listener asks for, or came from somebody
    /// who may not send one.
    pub fn proxy_header_rejected(&self) {
        self.metrics.proxy_headers_rejected.inc();
    }

    /// The certificate of a listener in this file ends at `at` (Unix seconds).
    pub fn certificate_ends(&self, file: &str, at: u64) {
        self.metrics.certificate_ends(file, at);
    }

    /// An idle client connection was closed to make room for others.
    pub fn connection_shed(&self) {
        self.metrics.connections_shed.inc();
    }

    /// A client's connection was closed because the client had too many.
    pub fn connection_refused(&self) {
        self.metrics.connections_refused.inc();
    }

    /// A client sent a request head that never became a request, for this cause: `malformed`, `too_large`, `too_slow`.
    pub fn head_rejected(&self, cause: &'static str) {
        self.metrics.head_rejected(cause);
    }

    /// A connection to an upstream server (`http://host:port`) was opened.
    pub fn upstream_opened(&self, server: &str) {
        self.metrics.upstream_opened(server);
    }

    /// An upstream server could not be connected to.
    pub fn upstream_failed(&self, server: &str) {
        self.metrics.upstream_failed(server);
    }

    /// A request was tried again at an upstream.
    pub fn upstream_retried(&self, upstream: &Arc<str>) {
        self.metrics.upstream_retried(upstream);
    }

    /// A request found no place at an upstream in time.
    pub fn upstream_shed(&self, upstream: &Arc<str>) {
        self.metrics.upstream_shed(upstream);
    }

    /// A server of an upstream is left out because it failed.
    pub fn upstream_ejected(&self, upstream: &Arc<str>, server: &Arc<str>) {
        self.metrics.upstream_ejected(upstream, server);
    }

    /// What is told of upstreams before the next [`render`](Self::render) is all that there is.
    pub fn forget_upstreams(&self) {
        self.metrics.forget_upstreams();
    }

    /// So many requests wait for a place at an upstream now. To be told before [`render`](Self::render).
    pub fn upstream(&self, upstream: &Arc<str>, waiting: usize) {
        self.metrics.upstream(upstream, waiting);
    }

    /// Whether a server of an upstream is well and not left out, and how many requests run there now. To be told before
    /// [`render`](Self::render).
    pub fn upstream_server(&self, upstream: &Arc<str>, server: &Arc<str>, fit: bool, running: usize) {
        self.metrics.upstream_server(upstream, server, fit, running);
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.metrics.in_flight.get()).unwrap_or(0)
    }

    /// A tunnel to an upstream was opened.
    pub fn tunnel_opened(&self) {
        self.metrics.tunnels.inc();
    }

    /// A tunnel is gone.
    pub fn tunnel_closed(&self) {
        self.metrics.tunnels.dec();
    }

    /// A tunnel carried so many bytes from its client and to it.
    pub fn tunnel_carried(&self, from_client: u64, to_client: u64) {
        self.metrics.tunnel_in.inc_by(from_client);
        self.metrics.tunnel_out.inc_by(to_client);
    }

    /// Whether decision lines cannot be written at the moment.
    pub fn log_fails(&self) -> bool {
        self.decisions.as_ref().is_some_and(DecisionLog::is_failing)
    }

    /// Whether requests are refused because of that.
    pub fn audit_fails(&self) -> bool {
        self.is_audited && self.log_fails()
    }

    /// Has the decision log open its destination anew, because somebody moved it away.
    pub fn reopen_log(&self) {
        if let Some(decisions) = &self.decisions {
            decisions.reopen();
        }
    }

    /// Waits until every line handed over so far, by any thread, is written, two seconds at most.
    pub fn flush(&self) {
        if let Some(decisions) = &self.decisions {
            decisions.flush(FLUSH_WITHIN);
        }
    }
}
