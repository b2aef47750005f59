//! Every metric of the product: its name, its labels, and what moves it.
//!
//! Labels are names from the operators' own files (applications, routes, upstream servers, issuers) and codes from a
//! closed list, never paths, users or anything else that clients choose, so the number of series is bounded.

mod cells;
mod index;
mod labels;
mod sums;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use labels::{Direction, Named, Refused, ServerOf};
use sums::{Board, Sum, Summed};

pub(super) use index::Index;

/// Upper bounds in seconds for reloads: a few routes take milliseconds, millions of principals seconds.
const RELOAD_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// All metrics. The public ones are moved by [`super::Telemetry`] directly.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// What each thread counts for itself: all that moves with every request or connection.
    board: Arc<Board>,
    /// Requests in flight.
    pub(super) in_flight: Gauge,
    /// TLS handshakes that came to nothing.
    pub(super) handshakes_failed: Counter,
    /// Idle client connections that were closed to make room for others.
    pub(super) connections_shed: Counter,
    /// Client connections that were closed because their client had too many.
    pub(super) connections_refused: Counter,
    /// Connections without the header of the PROXY protocol that their listener asks for.
    pub(super) proxy_headers_rejected: Counter,
    certificate_ends: Family<Named, Gauge>,
    heads_rejected: Family<Refused, Counter>,
    /// Decision lines that were lost.
    pub(super) lines_dropped: Counter,
    /// Decision lines of which the destination took only the beginning.
    pub(super) lines_cut: Counter,
    /// Whether decision lines can be written; 1 without a log.
    pub(super) log_writable: Gauge,
    /// Spans that their collector took.
    pub(super) spans_sent: Counter,
    /// Spans that were lost.
    pub(super) spans_dropped: Counter,
    upstream_opened: Family<Named, Counter>,
    upstream_failed: Family<Named, Counter>,
    upstream_healthy: Family<ServerOf, Gauge>,
    upstream_requests: Family<ServerOf, Gauge>,
    upstream_waiting: Family<Named, Gauge>,
    upstream_retries: Family<Named, Counter>,
    upstream_shed: Family<Named, Counter>,
    upstream_ejections: Family<ServerOf, Counter>,
    serial: Gauge,
    loaded_at: Gauge,
    reloaded: Gauge,
    reload_at: Gauge,
    reloads: Family<Named, Counter>,
    /// Whether an older policy is in force than the files say.
    pub(super) rolled_back: Gauge,
    /// Whether the policy in force is that of the last good documents.
    pub(super) stale: Gauge,
    /// Last good documents that could not be written.
    pub(super) last_good_failed: Counter,
    /// Whether requests are judged by a candidate, too.
    pub(super) candidate_running: Gauge,
    candidate_requests: Family<Named, Counter>,
    reload_took: Histogram,
    keys_fetched_at: Family<Named, Gauge>,
    keys_failed: Family<Named, Counter>,
    revoked_entries: Gauge,
    revoked_at: Gauge,
    /// Files of revocations that could not be used.
    pub(super) revoked_failed: Counter,
    /// Exchanges that were cut because they were judged again, and the answer was no.
    pub(super) exchanges_cut: Counter,
    /// Open tunnels.
    pub(super) tunnels: Gauge,
    tunnel_bytes: Family<Direction, Counter>,
    /// Bytes that tunnels carried from clients.
    pub(super) tunnel_in: Counter,
    /// Bytes that tunnels carried to clients.
    pub(super) tunnel_out: Counter,
    keys_age: Family<Named, Gauge>,
    grants_age: Family<Named, Gauge>,
    object_lookups: Family<Named, Counter>,
    token_lookups: Family<Named, Counter>,
    token_entries: Gauge,
}

impl Metrics {
    pub(super) fn new(version: &'static str) -> Self {
        let tunnel_bytes = Family::<Direction, Counter>::default();
        let carried = |direction| tunnel_bytes.get_or_create(&Direction { direction }).clone();
        let mut metrics = Self {
            registry: Registry::with_prefix("portcullis"),
            board: Arc::default(),
            in_flight: Gauge::default(),
            handshakes_failed: Counter::default(),
            proxy_headers_rejected: Counter::default(),
            certificate_ends: Family::default(),
            connections_shed: Counter::default(),
            connections_refused: Counter::default(),
            heads_rejected: Family::default(),
            lines_dropped: Counter::default(),
            lines_cut: Counter::default(),
            log_writable: Gauge::default(),
            spans_sent: Counter::default(),
            spans_dropped: Counter::default(),
            upstream_opened: Family::default(),
            upstream_failed: Family::default(),
            upstream_healthy: Family::default(),
            upstream_requests: Family::default(),
            upstream_waiting: Family::default(),
            upstream_retries: Family::default(),
            upstream_shed: Family::default(),
            upstream_ejections: Family::default(),
            serial: Gauge::default(),
            loaded_at: Gauge::default(),
            reloaded: Gauge::default(),
            reload_at: Gauge::default(),
            reloads: Family::default(),
            rolled_back: Gauge::default(),
            stale: Gauge::default(),
            last_good_failed: Counter::default(),
            candidate_running: Gauge::default(),
            candidate_requests: Family::default(),
            reload_took: Histogram::new(RELOAD_SECONDS),
            keys_fetched_at: Family::default(),
            keys_failed: Family::default(),
            revoked_entries: Gauge::default(),
            revoked_at: Gauge::default(),
            revoked_failed: Counter::default(),
            exchanges_cut: Counter::default(),
            tunnels: Gauge::default(),
            tunnel_in: carried("in"),
            tunnel_out: carried("out"),
            tunnel_bytes,
            keys_age: Family::default(),
            grants_age: Family::default(),
            object_lookups: Family::default(),
            token_lookups: Family::default(),
            token_entries: Gauge::default(),
        };
        metrics.log_writable.set(1);
        metrics.register(version);
        metrics
    }

    fn register(&mut self, version: &'static str) {
        let sum = |of| Sum { board: Arc::clone(&self.board), of };
        let all = &mut self.registry;
        all.register("build", "The running version", Info::new(vec![("version", version)]));
        all.register("requests", "Requests by what became of them", sum(Summed::Requests));
        let help = "Requests that went on only because nothing is enforced there";
        all.register("shadow_denials", help, sum(Summed::ShadowDenials));
        all.register("tokens_refused", "Refused tokens by cause", sum(Summed::TokensRefused));
        let (help, seconds) = ("From the request's head to the end of its answer", sum(Summed::Whole));
        all.register_with_unit("request_duration", help, Unit::Seconds, seconds);
        let (help, seconds) = ("From judged to the head of the upstream's answer", sum(Summed::Upstream));
        all.register_with_unit("upstream_duration", help, Unit::Seconds, seconds);
        let (help, seconds) = ("Judging a request, token included", sum(Summed::Decide));
        all.register_with_unit("decide_duration", help, Unit::Seconds, seconds);
        all.register("requests_in_flight", "Requests being answered", self.in_flight.clone());
        all.register("connections", "Open client connections", sum(Summed::Connections));
        all.register("connections_accepted", "Client connections accepted", sum(Summed::Accepted));
        all.register("tls_handshakes_failed", "TLS handshakes that came to nothing", self.handshakes_failed.clone());
        let (help, rejected) = ("Connections without a due PROXY header", self.proxy_headers_rejected.clone());
        all.register("proxy_headers_rejected", help, rejected);
        let (help, ends) = ("When a listener's certificate ends", self.certificate_ends.clone());
        all.register_with_unit("certificate_not_after_timestamp", help, Unit::Seconds, ends);
        let (help, shed) = ("Idle client connections closed to make room", self.connections_shed.clone());
        all.register("connections_shed", help, shed);
        let (help, refused) = ("Client connections beyond the limit of their client", self.connections_refused.clone());
        all.register("connections_refused", help, refused);
        let (help, rejected) = ("Request heads that never became a request, by cause", self.heads_rejected.clone());
        all.register("heads_rejected", help, rejected);
        all.register("log_lines_dropped", "Decision lines that were lost", self.lines_dropped.clone());
        all.register("log_lines_cut", "Decision lines too long for a datagram", self.lines_cut.clone());
        all.register("log_writable", "Whether decision lines can be written", self.log_writable.clone());
        all.register("spans_sent", "Spans that their collector took", self.spans_sent.clone());
        all.register("spans_dropped", "Spans that were lost", self.spans_dropped.clone());
        all.register("upstream_connections_opened", "Connections to upstreams", self.upstream_opened.clone());
        all.register("upstream_connections_failed", "Failed connection attempts", self.upstream_failed.clone());
        let help = "Whether a server is well by its health checks and not left out";
        all.register("upstream_healthy", help, self.upstream_healthy.clone());
        all.register("upstream_requests", "Requests that run at a server", self.upstream_requests.clone());
        all.register("upstream_requests_waiting", "Requests that wait for a place", self.upstream_waiting.clone());
        all.register("upstream_retries", "Requests that were tried again", self.upstream_retries.clone());
        all.register("upstream_overloaded", "Requests that found no place in time", self.upstream_shed.clone());
        all.register("upstream_ejections", "Servers left out because they failed", self.upstream_ejections.clone());
        all.register("policy_serial", "The serial of the policy in force", self.serial.clone());
        let (help, at) = ("When the policy in force was loaded", self.loaded_at.clone());
        all.register_with_unit("policy_loaded_timestamp", help, Unit::Seconds, at);
        all.register("last_reload_successful", "Whether the last reload succeeded", self.reloaded.clone());
        let (help, at) = ("When the last reload was tried", self.reload_at.clone());
        all.register_with_unit("last_reload_timestamp", help, Unit::Seconds, at);
        all.register("reloads", "Reloads by outcome", self.reloads.clone());
        let help = "Whether an older policy is in force than the files say";
        all.register("policy_rolled_back", help, self.rolled_back.clone());
        let help =
            "Whether the policy in force is that of the last good documents, the files being broken at the start";
        all.register("policy_stale", help, self.stale.clone());
        let help = "Last good documents that could not be written";
        all.register("last_good_failed", help, self.last_good_failed.clone());
        let help = "Whether requests are judged by a candidate policy, too";
        all.register("candidate_running", help, self.candidate_running.clone());
        let help = "Requests by what a candidate policy says of them";
        all.register("candidate_requests", help, self.candidate_requests.clone());
        let (help, took) = ("From a change that was noticed to the policy that decides", self.reload_took.clone());
        all.register_with_unit("reload_duration", help, Unit::Seconds, took);
        let (help, at) = ("When an issuer's keys were last fetched", self.keys_fetched_at.clone());
        all.register_with_unit("keys_fetched_timestamp", help, Unit::Seconds, at);
        all.register("keys_fetches_failed", "Failed fetches of an issuer's keys", self.keys_failed.clone());
        all.register("revoked_entries", "Revocations in force", self.revoked_entries.clone());
        let (help, at) = ("When the revocations in force were loaded", self.revoked_at.clone());
        all.register_with_unit("revoked_timestamp", help, Unit::Seconds, at);
        all.register("revoked_loads_failed", "Files of revocations not usable", self.revoked_failed.clone());
        all.register("exchanges_cut", "Running exchanges that may not go on", self.exchanges_cut.clone());
        all.register("tunnels", "Open tunnels of WebSocket", self.tunnels.clone());
        let (help, bytes) = ("Bytes that tunnels carried", self.tunnel_bytes.clone());
        all.register_with_unit("tunnel", help, Unit::Bytes, bytes);
        let (help, age) = ("Since an issuer's keys were last fetched", self.keys_age.clone());
        all.register_with_unit("keys_age", help, Unit::Seconds, age);
        let (help, age) = ("Since a domain's rows were known to be those of its database", self.grants_age.clone());
        all.register_with_unit("grants_age", help, Unit::Seconds, age);
        all.register("object_lookups", "Look-ups of objects by outcome", self.object_lookups.clone());
        all.register("token_cache_lookups", "Tokens that were remembered, or not", self.token_lookups.clone());
        all.register("token_cache_entries", "Tokens that are remembered", self.token_entries.clone());
    }

    /// What one more thread counts with.
    pub(super) fn index(&self) -> Index {
        Index::new(self.board.cells())
    }

    pub(super) fn certificate_ends(&self, file: &str, at: u64) {
        self.certificate_ends.get_or_create(&Named::of("file", file)).set(signed(at));
    }

    pub(super) fn object_looked_up(&self, outcome: &'static str) {
        self.object_lookups.get_or_create(&Named::of("outcome", outcome)).inc();
    }

    pub(super) fn head_rejected(&self, cause: &'static str) {
        self.heads_rejected.get_or_create(&Refused { cause }).inc();
    }

    pub(super) fn upstream_opened(&self, server: &str) {
        self.upstream_opened.get_or_create(&Named::of("server", server)).inc();
    }

    pub(super) fn upstream_failed(&self, server: &str) {
        self.upstream_failed.get_or_create(&Named::of("server", server)).inc();
    }

    pub(super) fn upstream_retried(&self, upstream: &Arc<str>) {
        self.upstream_retries.get_or_create(&Named::new("upstream", Some(upstream))).inc();
    }

    pub(super) fn upstream_shed(&self, upstream: &Arc<str>) {
        self.upstream_shed.get_or_create(&Named::new("upstream", Some(upstream))).inc();
    }

    pub(super) fn upstream_ejected(&self, upstream: &Arc<str>, server: &Arc<str>) {
        let server = ServerOf { upstream: Arc::clone(upstream), server: Arc::clone(server) };
        self.upstream_ejections.get_or_create(&server).inc();
    }

    /// Those of the last time are forgotten, for servers come and go.
    pub(super) fn forget_upstreams(&self) {
        self.upstream_healthy.clear();
        self.upstream_requests.clear();
        self.upstream_waiting.clear();
    }

    pub(super) fn upstream(&self, upstream: &Arc<str>, waiting: usize) {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.upstream_waiting.get_or_create(&Named::new("upstream", Some(upstream))).set(waiting);
    }

    pub(super) fn upstream_server(&self, upstream: &Arc<str>, server: &Arc<str>, fit: bool, running: usize) {
        let server = ServerOf { upstream: Arc::clone(upstream), server: Arc::clone(server) };
        self.upstream_healthy.get_or_create(&server).set(i64::from(fit));
        self.upstream_requests.get_or_create(&server).set(i64::try_from(running).unwrap_or(i64::MAX));
    }

    pub(super) fn policy_loaded(&self, serial: u64, at: u64) {
        self.serial.set(signed(serial));
        self.loaded_at.set(signed(at));
        self.reload_at.set(signed(at));
        self.reloaded.set(1);
        self.reloads.get_or_create(&Named::of("outcome", "published")).inc();
    }

    pub(super) fn policy_rolled_back(&self, serial: u64, at: u64) {
        self.serial.set(signed(serial));
        self.loaded_at.set(signed(at));
        self.reloads.get_or_create(&Named::of("outcome", "rolled_back")).inc();
    }

    pub(super) fn candidate_request(&self, outcome: &'static str) {
        self.candidate_requests.get_or_create(&Named::of("outcome", outcome)).inc();
    }

    pub(super) fn reload_took(&self, duration: Duration) {
        self.reload_took.observe(duration.as_secs_f64());
    }

    pub(super) fn reload_held(&self, at: u64) {
        self.reload_at.set(signed(at));
        self.reloaded.set(0);
        self.reloads.get_or_create(&Named::of("outcome", "held")).inc();
    }

    pub(super) fn reload_failed(&self, at: u64) {
        self.reload_at.set(signed(at));
        self.reloaded.set(0);
        self.reloads.get_or_create(&Named::of("outcome", "failed")).inc();
    }

    pub(super) fn keys_fetched(&self, issuer: &str, at: u64) {
        self.keys_fetched_at.get_or_create(&Named::of("issuer", issuer)).set(signed(at));
    }

    pub(super) fn keys_failed(&self, issuer: &str) {
        self.keys_failed.get_or_create(&Named::of("issuer", issuer)).inc();
    }

    pub(super) fn revoked_loaded(&self, entries: usize, at: u64) {
        self.revoked_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
        self.revoked_at.set(signed(at));
    }

    pub(super) fn keys_age(&self, issuer: &str, age: Option<u64>) {
        let named = Named::of("issuer", issuer);
        match age {
            Some(age) => drop(self.keys_age.get_or_create(&named).set(signed(age))),
            None => drop(self.keys_age.remove(&named)),
        }
    }

    pub(super) fn grants_age(&self, domain: &str, age: u64) {
        self.grants_age.get_or_create(&Named::of("domain", domain)).set(signed(age));
    }

    /// The counts are those of whoever looks tokens up, since the start of the process.
    pub(super) fn token_cache(&self, hits: u64, misses: u64, entries: u64) {
        for (result, count) in [("hit", hits), ("miss", misses)] {
            let counter = self.token_lookups.get_or_create(&Named::of("result", result));
            counter.inner().fetch_max(count, Ordering::Relaxed);
        }
        self.token_entries.set(signed(entries));
    }

    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            // Writing to a string does not fail; an empty page shows as a failed scrape rather than as wrong numbers.
            Err(_) => String::new(),
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::cells::{DECIDE_MICROS, REQUEST_MICROS};
    use super::sums::seconds;
    use super::*;
    use crate::telemetry::record::{RequestRecord, Text};

    fn ended(status: u16, (application, route): (&str, &str), reason: Option<&'static str>) -> RequestRecord {
        let mut record = RequestRecord::new(true);
        record.set(Text::Application, application);
        record.set(Text::Route, route);
        record.reason_code = reason.map(Into::into);
        record.figures.status = status;
        record
    }

    #[test]
    fn names_and_labels_are_those_that_dashboards_use() {
        let metrics = Metrics::new("1.2.3");
        let thread = metrics.index();
        let mut denied = ended(403, ("oms", "officer.read"), Some("right_missing"));
        denied.figures.serial = 3;
        denied.set(Text::Path, "/secret");
        denied.set(Text::Principal, "olga");
        thread.request(&denied);
        let mut expired = RequestRecord::new(true);
        (expired.figures.status, expired.token_fault) = (401, Some("expired"));
        thread.request(&expired);
        metrics.policy_loaded(3, 1000);
        metrics.reload_took(Duration::from_millis(7));
        metrics.reload_failed(1001);
        metrics.keys_fetched("https://issuer.example/v2.0", 999);
        metrics.keys_failed("https://issuer.example/v2.0");
        metrics.keys_age("https://issuer.example/v2.0", Some(61));
        metrics.keys_age("https://gone.example", Some(61));
        metrics.keys_age("https://gone.example", None);
        metrics.grants_age("app", 7);
        metrics.object_looked_up("late");
        metrics.token_cache(9, 2, 7);
        metrics.token_cache(10, 3, 4);
        metrics.upstream_opened("http://127.0.0.1:9001");
        metrics.certificate_ends("tls.crt", 1003);
        let [app, gone, server] = ["app", "gone", "http://127.0.0.1:9001"].map(Arc::from);
        metrics.upstream_server(&gone, &server, true, 3);
        metrics.forget_upstreams();
        metrics.upstream(&app, 2);
        metrics.upstream_server(&app, &server, false, 3);
        metrics.upstream_retried(&app);
        metrics.upstream_shed(&app);
        metrics.upstream_ejected(&app, &server);
        metrics.revoked_loaded(12, 1002);
        metrics.revoked_failed.inc();
        metrics.head_rejected("too_large");
        let text = metrics.render();
        for expected in [
            "portcullis_build_info{version=\"1.2.3\"} 1",
            "portcullis_requests_total{application=\"oms\",route=\"officer.read\",decision=\"deny\",\
             reason=\"right_missing\",status=\"4xx\"} 1",
            "portcullis_requests_total{application=\"\",route=\"\",decision=\"deny\",reason=\"\",status=\"4xx\"} 1",
            "portcullis_tokens_refused_total{cause=\"expired\"} 1",
            "portcullis_request_duration_seconds_count{application=\"oms\"} 1",
            "portcullis_decide_duration_seconds_count 1",
            "portcullis_requests_in_flight 0",
            "portcullis_connections 0",
            "portcullis_connections_accepted_total 0",
            "portcullis_certificate_not_after_timestamp_seconds{file=\"tls.crt\"} 1003",
            "portcullis_proxy_headers_rejected_total 0",
            "portcullis_connections_shed_total 0",
            "portcullis_connections_refused_total 0",
            "portcullis_heads_rejected_total{cause=\"too_large\"} 1",
            "portcullis_log_lines_dropped_total 0",
            "portcullis_policy_serial 3",
            "portcullis_policy_loaded_timestamp_seconds 1000",
            "portcullis_last_reload_successful 0",
            "portcullis_last_reload_timestamp_seconds 1001",
            "portcullis_reloads_total{outcome=\"failed\"} 1",
            "portcullis_reload_duration_seconds_bucket{le=\"0.005\"} 0",
            "portcullis_reload_duration_seconds_bucket{le=\"0.01\"} 1",
            "portcullis_keys_fetched_timestamp_seconds{issuer=\"https://issuer.example/v2.0\"} 999",
            "portcullis_keys_fetches_failed_total{issuer=\"https://issuer.example/v2.0\"} 1",
            "portcullis_revoked_entries 12",
            "portcullis_revoked_timestamp_seconds 1002",
            "portcullis_revoked_loads_failed_total 1",
            "portcullis_exchanges_cut_total 0",
            "portcullis_keys_age_seconds{issuer=\"https://issuer.example/v2.0\"} 61",
            "portcullis_grants_age_seconds{domain=\"app\"} 7",
            "portcullis_object_lookups_total{outcome=\"late\"} 1",
            "portcullis_token_cache_lookups_total{result=\"hit\"} 10",
            "portcullis_token_cache_lookups_total{result=\"miss\"} 3",
            "portcullis_token_cache_entries 4",
            "portcullis_upstream_connections_opened_total{server=\"http://127.0.0.1:9001\"} 1",
            "portcullis_upstream_healthy{upstream=\"app\",server=\"http://127.0.0.1:9001\"} 0",
            "portcullis_upstream_requests{upstream=\"app\",server=\"http://127.0.0.1:9001\"} 3",
            "portcullis_upstream_requests_waiting{upstream=\"app\"} 2",
            "portcullis_upstream_retries_total{upstream=\"app\"} 1",
            "portcullis_upstream_overloaded_total{upstream=\"app\"} 1",
            "portcullis_upstream_ejections_total{upstream=\"app\",server=\"http://127.0.0.1:9001\"} 1",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("/secret") && !text.contains("olga"));
        assert!(!text.contains("gone.example"), "keys that are not there have no age");
        assert!(!text.contains("upstream=\"gone\""), "servers that are not there are not well");
    }

    #[test]
    fn a_request_without_an_upstream_is_not_timed_as_one() {
        let metrics = Metrics::new("1");
        let thread = metrics.index();
        thread.request(&RequestRecord::new(true));
        assert!(!metrics.render().contains("upstream_duration_seconds"));
        let mut forwarded = RequestRecord::new(true);
        forwarded.figures.upstream_us = 1;
        thread.request(&forwarded);
        assert!(metrics.render().contains("upstream_duration_seconds_count{application=\"\"} 1"));
    }

    #[test]
    fn before_the_first_request_nothing_is_said_of_requests() {
        let metrics = Metrics::new("1");
        let _thread = metrics.index();
        let text = metrics.render();
        for name in ["requests", "tokens_refused", "request_duration_seconds", "upstream_duration_seconds"] {
            assert!(!text.contains(&format!("# TYPE portcullis_{name} ")), "{name}: {text}");
        }
        assert!(text.contains("portcullis_decide_duration_seconds_count 0"));
    }

    #[test]
    fn durations_fall_into_the_buckets_that_the_library_finds_for_them() {
        let metrics = Metrics::new("1");
        let thread = metrics.index();
        let (whole, decide) = (REQUEST_MICROS.map(seconds), DECIDE_MICROS.map(seconds));
        let (expected, expected_decide) = (Histogram::new(whole), Histogram::new(decide));
        let edges = REQUEST_MICROS.into_iter().chain(DECIDE_MICROS).flat_map(|edge| [edge - 1, edge, edge + 1]);
        for micros in edges.chain([59_999_999, 3_600_000_000]) {
            let mut record = ended(200, ("app", "route"), None);
            (record.figures.serial, record.figures.total_us, record.figures.decide_us) = (1, micros, micros);
            thread.request(&record);
            expected.observe(seconds(micros));
            expected_decide.observe(seconds(micros));
        }
        let mut registry = Registry::with_prefix("portcullis");
        let family = Family::<Named, Histogram, _>::new_with_constructor(move || expected.clone());
        drop(family.get_or_create(&Named::of("application", "app")));
        registry.register_with_unit("request_duration", "", Unit::Seconds, family);
        registry.register_with_unit("decide_duration", "", Unit::Seconds, expected_decide);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        let samples = |text: &str| -> Vec<String> {
            // Those of requests; others are the library's own.
            let named = ["portcullis_request_duration_seconds", "portcullis_decide_duration_seconds"];
            let ours = |line: &&str| named.iter().any(|name| line.starts_with(name));
            // The library adds seconds, each of them rounded.
            text.lines().filter(ours).filter(|line| !line.contains("_sum")).map(str::to_owned).collect()
        };
        assert_eq!(samples(&metrics.render()), samples(&text));
        assert_eq!(samples(&text).len(), 17 - 1 + 13 - 1);
    }

    #[test]
    fn the_sum_of_durations_is_in_seconds() {
        let metrics = Metrics::new("1");
        let threads = [metrics.index(), metrics.index()];
        for (thread, micros) in threads.iter().zip([1_500_000, 250_000]) {
            let mut record = ended(200, ("app", "route"), None);
            record.figures.total_us = micros;
            thread.request(&record);
        }
        assert!(metrics.render().contains("portcullis_request_duration_seconds_sum{application=\"app\"} 1.75"));
    }

    #[test]
    fn what_threads_count_for_themselves_adds_up_exactly_also_for_who_reads_meanwhile() {
        const THREADS: u64 = 4;
        const EACH: u64 = 20_000;
        let metrics = Metrics::new("1");
        let count = |text: &str, series: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(series));
            line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
        };
        let even = "portcullis_requests_total{application=\"app\",route=\"even\",decision=\"deny\",reason=\"no_token\"";
        let durations = "portcullis_request_duration_seconds_count{application=\"app\"}";
        std::thread::scope(|scope| {
            let working: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let thread = metrics.index();
                        for number in 0..EACH {
                            let (route, reason) =
                                [("even", "no_token"), ("odd", "rate_limited")][(number % 2) as usize];
                            thread.connection_opened();
                            // A policy that was loaded anew has new names that say the same.
                            thread.request(&ended(401, (&String::from("app"), route), Some(reason)));
                            thread.connection_closed();
                        }
                    })
                })
                .collect();
            let mut before = 0;
            while working.iter().any(|thread| !thread.is_finished()) {
                let text = metrics.render();
                let now = count(&text, even);
                assert!(before <= now && now <= THREADS * EACH / 2, "{before} {now}");
                before = now;
                let bucket = "portcullis_request_duration_seconds_bucket";
                if let Some(last) = text.lines().rfind(|line| line.starts_with(bucket)) {
                    assert_eq!(last.rsplit(' ').next(), Some(&*count(&text, durations).to_string()), "{text}");
                }
            }
        });
        // The threads have ended; what they counted has not.
        let text = metrics.render();
        assert_eq!(count(&text, even), THREADS * EACH / 2);
        assert_eq!(count(&text, durations), THREADS * EACH);
        assert_eq!(count(&text, "portcullis_connections_accepted_total"), THREADS * EACH);
        assert_eq!(count(&text, "portcullis_connections "), 0);
        assert_eq!(text.matches("route=\"even\"").count(), 1, "one series for all threads:\n{text}");
    }

    #[test]
    fn routes_of_one_name_in_two_applications_are_two() {
        let metrics = Metrics::new("1");
        let thread = metrics.index();
        for (application, status, reason) in [
            ("a", 200, None),
            ("b", 200, None),
            ("b", 204, None),
            ("b", 404, None),
            ("b", 404, Some("x")),
            ("", 404, None),
        ] {
            thread.request(&ended(status, (application, "read"), reason));
        }
        let text = metrics.render();
        for (application, reason, class, count) in
            [("a", "", 2, 1), ("b", "", 2, 2), ("b", "", 4, 1), ("b", "x", 4, 1), ("", "", 4, 1)]
        {
            let series = format!(
                "portcullis_requests_total{{application=\"{application}\",route=\"read\",decision=\"deny\",\
                 reason=\"{reason}\",status=\"{class}xx\"}} {count}\n"
            );
            assert!(text.contains(&series), "{series} is missing in\n{text}");
        }
    }
}
