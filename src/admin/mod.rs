//! The operators' listener: health, metrics, status, reload, revocations. HTTP/1.1, plain or with TLS, loopback by default, one
//! request a connection, bounded in connections, head and time, apart from the threads that serve clients.
//!
//! | call | answer |
//! |---|---|
//! | `GET /livez` | 200 while the process runs |
//! | `GET /readyz` | 200, or 503 with what is missing |
//! | `GET /metrics` | metrics in the OpenMetrics text format |
//! | `GET /version` | name and version |
//! | `GET /status` | serial, counts, ages |
//! | `GET /openapi.json` | this table for programs: parameters, answers and their schemas (OpenAPI 3.1) |
//! | `GET /.well-known/jwks.json` | the key that assertions to backends are verified with (RFC 7517) |
//! | `POST /reload` | reads the live documents again; needs the token of `admin.token_file`. `?dry_run=true` publishes nothing, `?force=true&reason=TEXT` what the gate would hold |
//! | `GET /history` | what is live and what can be gone back to; needs the token, too, for it names who asked |
//! | `POST /rollback` | publishes an older policy again; needs the token, too. `?serial=N` says which, `?reason=TEXT` why, `?dry_run=true` publishes nothing |
//! | `GET`, `POST`, `DELETE /revoked` | what is revoked, revokes, takes back; needs the token, too |
//! | `POST`, `GET`, `DELETE /shadow` | has a candidate policy judged beside what is live (`?candidate=NAME`), says what would change for whom, takes it down; needs the token, too |
//! | `GET /explain`, `GET /report` | what `portcullis explain` and `report` say, of what is live; need the token, too |
//!
//! All but the metrics are JSON objects; [`answer`] describes each. No answer holds a secret or the content of a
//! document, save the faults of a rejected reload, the list of revocations, explanations and reports, which only the holder
//! of the token sees.

pub mod answer;
mod calls;
mod dry;
mod explain;
mod openapi;
mod pages;
mod query;
mod ready;
mod reload;
mod report;
mod revoked;
mod rollback;
mod shadow;
pub mod token;
mod unanswered;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::proxy::objects::Objects;
use crate::proxy::tls::ServerTls;
use crate::proxy::{Fleet, operator};
use crate::reload::Handle;
use crate::reload::candidate::Candidates;
use crate::snapshot::Live;
use crate::source::jwks::Intervals;
use crate::telemetry::Telemetry;
use crate::token::{AssertionKey, Verifier};

use calls::Caller;
use pages::{Entry, Guarded, Open, Page};

pub use calls::Calls;
pub use shadow::groups;

/// Most connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 64;
/// How long a request head may take.
const HEAD: Duration = Duration::from_secs(3);
/// How long a TLS handshake may take, which costs computing on both sides.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long one connection may take altogether; compiling a large policy is the longest that any call does.
const WHOLE: Duration = Duration::from_secs(150);
/// Largest request head in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// Pause after a failed accept, which is a shortage of descriptors as a rule.
const SHORTAGE: Duration = Duration::from_millis(100);

/// What the listener knows and may do.
pub struct Admin {
    /// The version of the product.
    pub version: &'static str,
    /// When the process started, in seconds since the Unix epoch.
    pub started_at: u64,
    /// What requests are judged by.
    pub live: Arc<Live>,
    /// Knows the issuers that keys are awaited of.
    pub verifier: Arc<Verifier>,
    /// The key that assertions to backends are signed with.
    pub assertions: Arc<AssertionKey>,
    /// How often keys are fetched, to tell whether they are stale.
    pub intervals: Intervals,
    /// The upstreams and how they are.
    pub fleet: Arc<Fleet>,
    /// The metrics.
    pub telemetry: Arc<Telemetry>,
    /// The way to reload.
    pub reload: Handle,
    /// Looks up the objects that a question is about.
    pub objects: Arc<dyn Objects>,
    /// The way to have a candidate judged beside what is live.
    pub candidates: Candidates,
    /// The way to revoke.
    pub revoked: crate::reload::revoked::Handle,
    /// Whether the process is ending.
    pub draining: watch::Receiver<bool>,
    /// Whether an upstream without any fit server makes the process unready.
    pub ready_needs_upstreams: bool,
    /// The certificates of the listener; without them it speaks plain HTTP.
    pub tls: Option<Arc<ServerTls>>,
    /// Names of the certificates that count like the token; without any, all that were shown.
    pub operators: Vec<Arc<str>>,
    /// The file with the token of mutating calls.
    pub token_file: Option<PathBuf>,
    /// How many calls that need it are taken.
    pub calls: Calls,
}

/// Answers operators until it is dropped.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let admin = Arc::clone(&admin);
                tokio::spawn(async move {
                    connection(stream, peer, admin).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("the admin listener cannot accept a connection: {error}");
                tokio::time::sleep(SHORTAGE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, admin: Arc<Admin>) {
    let Some(tls) = admin.tls.clone() else {
        let caller = Caller { address: peer, certificate: None };
        return converse(stream, caller, admin).await;
    };
    match tokio::time::timeout(HANDSHAKE, operator::accept(&tls, stream)).await {
        Ok(Ok((stream, certificate))) => {
            let caller = Caller { address: peer, certificate: certificate.map(Arc::new) };
            converse(stream, caller, admin).await;
        }
        Ok(Err(error)) => tracing::debug!("admin connection: {error}"),
        Err(_elapsed) => tracing::debug!("admin connection: the handshake took longer than {HANDSHAKE:?}"),
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, caller: Caller, admin: Arc<Admin>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let admin = Arc::clone(&admin);
        let (mut head, body) = request.into_parts();
        head.extensions.insert(caller.clone());
        async move { Ok::<_, Infallible>(admin.answer(&head, body).await) }
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    match tokio::time::timeout(WHOLE, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("admin connection: {error}"),
        Err(_elapsed) => tracing::debug!("admin connection: took longer than {WHOLE:?}"),
    }
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    async fn answer<B>(&self, head: &Parts, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(entry) = Entry::of(head.uri.path()) else {
            return problem(StatusCode::NOT_FOUND, "not_found", "there is no such page");
        };
        if !entry.answers(&head.method) {
            return not_allowed(entry.methods);
        }
        match entry.page {
            Page::Open(page) => self.open(page),
            Page::Guarded(page) => self.call((entry.path, page), head, body).await,
        }
    }

    fn open(&self, page: Open) -> Answer {
        match page {
            Open::Livez => json(StatusCode::OK, &answer::livez()),
            Open::Readyz => self.readyz(),
            Open::Metrics => text(OPENMETRICS, answer::metrics(self)),
            Open::Version => json(StatusCode::OK, &answer::version(self.version)),
            Open::Status => json(StatusCode::OK, &answer::status(self)),
            Open::Description => text("application/json", openapi::OPENAPI),
            Open::Keys => text(JWK_SET, self.assertions.jwks().to_owned()),
        }
    }

    /// For calls that carry the token. Only revocations are called with a body that says anything.
    async fn guarded<B>(&self, page: Guarded, head: &Parts, body: B) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match page {
            Guarded::Reload => self.reload(head).await,
            Guarded::History => self.history(),
            Guarded::Rollback => self.roll_back(head).await,
            Guarded::Revoked => self.revoked(head, body).await,
            Guarded::Explain => self.explain(head).await,
            Guarded::Report => self.report(head).await,
            Guarded::Shadow => self.shadow(head).await,
        }
    }

    fn readyz(&self) -> Answer {
        let ready = ready::readyz(self);
        if ready.ready {
            return json(StatusCode::OK, &ready.body);
        }
        with(json(StatusCode::SERVICE_UNAVAILABLE, &ready.body), RETRY_AFTER, "1")
    }
}

/// The type of the key of assertions (RFC 7517 section 8.5.2).
const JWK_SET: &str = "application/jwk-set+json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = text("application/json", format!("{body}\n"));
    *answer.status_mut() = status;
    answer
}

fn problem(status: StatusCode, code: &'static str, message: &str) -> Answer {
    saying(code, json(status, &serde_json::json!({ "error": code, "message": message })))
}

/// What an answer comes to, in a word for the log.
#[derive(Clone, Copy, Debug)]
struct Said(&'static str);

fn saying(word: &'static str, mut answer: Answer) -> Answer {
    answer.extensions_mut().insert(Said(word));
    answer
}

fn not_allowed(methods: &'static str) -> Answer {
    let message = format!("this page answers {methods} only");
    with(problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message), ALLOW, methods)
}

fn text(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let answer = Response::new(Full::new(body.into()));
    with(with(answer, CONTENT_TYPE, content_type), CACHE_CONTROL, "no-store")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::candidate::Stand;
    use crate::diag::Report;
    use crate::model::Guid;
    use crate::reload::revoked::{Keeper, RevokedFiles};
    use crate::reload::{PolicyFiles, Reloader};
    use crate::snapshot::Snapshot;
    use crate::source::file::watch::Watcher;
    use crate::token::mint::DevelopmentKey;
    use crate::token::{Algorithms, Issuer, IssuerKind, Issuers, KeyRing, KeySet, KeySourceId, KeyUse, Rules};

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    const ROUTES: &str = "version: 1\napplications: []\n";

    struct Fixture {
        dir: tempfile::TempDir,
        admin: Admin,
        drain: watch::Sender<bool>,
    }

    fn policy(dir: &Path) -> PolicyFiles {
        PolicyFiles { routes: vec![dir.join("routes.yaml")], grants: Vec::new(), ..PolicyFiles::default() }
    }

    /// A listener over one issuer whose keys are not there yet; its reload task runs.
    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("routes.yaml"), ROUTES).unwrap();
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        let mut report = Report::new();
        let mut loaded = crate::reload::load(&policy(dir.path()), &mut report);
        let compiled = loaded.compiled.take().unwrap_or_else(|| panic!("{}", report.render()));
        let live = Arc::new(Live::new(Snapshot {
            serial: 1,
            loaded_at: 5,
            routes: Arc::new(compiled.routes),
            domains: Arc::new(compiled.domains),
            keys: Arc::new(KeyRing::empty(1)),
            revoked: Arc::default(),
        }));
        let issuer = Issuer {
            tenant: Arc::from("uss"),
            tenant_id: Guid(1),
            url: "https://issuer.example".to_owned(),
            kind: IssuerKind::EntraV2,
            keys: vec![KeyUse { source: KeySourceId(0), audiences: None }],
            authorization_uri: None,
        };
        let rules =
            Rules { leeway: 60, max_lifetime: 3600, algorithms: Algorithms { rs256: true, ps256: false, es256: true } };
        let telemetry = Telemetry::new("0", false);
        let (changed, _changes) = tokio::sync::mpsc::channel(1);
        let watcher = Watcher::start(Vec::new(), changed).unwrap();
        let (reloader, reload) = Reloader::new(
            (policy(dir.path()), crate::reload::Terms::default()),
            loaded,
            Arc::clone(&live),
            Arc::clone(&telemetry),
            watcher,
        );
        tokio::spawn(reloader.run());
        let verifier = Arc::new(Verifier::new(Issuers::new(vec![issuer]), rules, 10));
        let files = RevokedFiles { files: Vec::new(), store: Some(dir.path().join("store.yaml")) };
        let sources = crate::reload::revoked::load(&files, verifier.issuers(), 6, &mut Report::new());
        let (changed, revoked_changes) = tokio::sync::mpsc::channel(1);
        let watching = (Watcher::start(files.paths().cloned().collect(), changed).unwrap(), revoked_changes);
        let (keeper, revoked) =
            Keeper::new(sources, (Arc::clone(&verifier), rules), Arc::clone(&live), Arc::clone(&telemetry), watching);
        tokio::spawn(keeper.run());
        let (drain, draining) = watch::channel(false);
        let stand = Stand::new(&live, &verifier, &telemetry);
        let admin = Admin {
            version: "1.2.3",
            started_at: 5,
            live,
            verifier,
            assertions: Arc::new(AssertionKey::generate().unwrap()),
            intervals: Intervals::default(),
            fleet: Arc::new(Fleet::new(Arc::clone(&telemetry))),
            objects: Arc::new(crate::proxy::objects::Nobody),
            candidates: Candidates::new(None, &reload, &stand),
            telemetry,
            reload,
            revoked,
            draining,
            ready_needs_upstreams: false,
            tls: None,
            operators: Vec::new(),
            token_file: Some(dir.path().join("token")),
            calls: Calls::default(),
        };
        Fixture { dir, admin, drain }
    }

    impl Fixture {
        async fn ask(&self, method: &str, path: &str, authorization: Option<&str>) -> (u16, http::HeaderMap, String) {
            self.send(method, path, authorization, "").await
        }

        async fn send(
            &self,
            method: &str,
            path: &str,
            authorization: Option<&str>,
            body: &str,
        ) -> (u16, http::HeaderMap, String) {
            let mut request = Request::builder().method(method).uri(path);
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            let (head, body) = self.admin.answer(&head, Full::new(Bytes::from(body.to_owned()))).await.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
        }

        async fn json(&self, method: &str, path: &str, authorization: Option<&str>) -> (u16, Value) {
            let (status, headers, body) = self.ask(method, path, authorization).await;
            assert_eq!(headers[CONTENT_TYPE], "application/json");
            assert!(!body.contains(TOKEN), "the token shows");
            (status, serde_json::from_str(&body).unwrap())
        }

        /// Gives it keys that were fetched so many seconds ago.
        fn give_keys(&self, age: u64) {
            let jwks = DevelopmentKey::generate().unwrap().jwks();
            let keys = Arc::new(KeySet::parse(jwks.as_bytes()).unwrap());
            self.admin.live.publish_keys(&Arc::new(self.admin.live.load().keys.with(
                KeySourceId(0),
                keys,
                crate::reload::now() - age,
            )));
        }
    }

    #[tokio::test]
    async fn unknown_pages_and_other_methods_are_refused() {
        let fixture = fixture();
        let cases = [
            ("GET", "/", 404, None),
            ("GET", "/livez/", 404, None),
            ("POST", "/livez", 405, Some("GET, HEAD")),
            ("DELETE", "/metrics", 405, Some("GET, HEAD")),
            ("POST", "/.well-known/jwks.json", 405, Some("GET, HEAD")),
            ("GET", "/reload", 405, Some("POST")),
            ("GET", "/rollback", 405, Some("POST")),
            ("POST", "/history", 405, Some("GET, HEAD")),
            ("PUT", "/revoked", 405, Some("GET, HEAD, POST, DELETE")),
            ("HEAD", "/livez", 200, None),
        ];
        for (method, path, expected, allow) in cases {
            let (status, headers, _) = fixture.ask(method, path, None).await;
            let told = headers.get(ALLOW).map(|value| value.to_str().unwrap());
            assert_eq!((status, told), (expected, allow), "{method} {path}");
        }
    }

    #[tokio::test]
    async fn it_is_alive_whatever_is_missing() {
        assert_eq!(fixture().json("GET", "/livez", None).await, (200, serde_json::json!({"status": "alive"})));
    }

    #[tokio::test]
    async fn it_is_ready_when_all_keys_are_there_and_no_drain_has_begun() {
        let fixture = fixture();
        let (status, body) = fixture.json("GET", "/readyz", None).await;
        let keys = serde_json::json!([{"what": "keys", "tenant": "uss", "issuer": "https://issuer.example"}]);
        assert_eq!((status, &body["status"], &body["missing"]), (503, &Value::from("not_ready"), &keys));
        assert!(fixture.ask("GET", "/readyz", None).await.1.contains_key(RETRY_AFTER));
        fixture.give_keys(0);
        let (status, body) = fixture.json("GET", "/readyz", None).await;
        assert_eq!((status, &body["status"], &body["serial"]), (200, &Value::from("ready"), &Value::from(1)));
        assert!(body.get("missing").is_none());
        fixture.drain.send_replace(true);
        let (status, body) = fixture.json("GET", "/readyz", None).await;
        assert_eq!((status, &body["missing"]), (503, &serde_json::json!([{"what": "draining"}])));
    }

    /// The state of each check, by its name.
    fn checks(body: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        body["checks"].as_array().unwrap().iter().map(|one| (text(&one["check"]), text(&one["state"]))).collect()
    }

    #[tokio::test]
    async fn each_check_says_how_it_is() {
        let fixture = fixture();
        let told = async |expected: [&str; 4]| {
            let (_, body) = fixture.json("GET", "/readyz", None).await;
            let states: Vec<_> = checks(&body).into_iter().map(|(_, state)| state).collect();
            assert_eq!(states, expected, "{body}");
        };
        let (_, body) = fixture.json("GET", "/readyz", None).await;
        let names: Vec<_> = checks(&body).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["draining", "policy", "decision_log", "keys"]);
        told(["ok", "ok", "ok", "fail"]).await;
        fixture.give_keys(2 * 3600 + 10);
        told(["ok", "ok", "ok", "warn"]).await;
        fixture.give_keys(0);
        told(["ok", "ok", "ok", "ok"]).await;
        fs::write(fixture.dir.path().join("routes.yaml"), "version: 1\nbogus: 1\n").unwrap();
        fixture.ask("POST", "/reload", Some(&format!("Bearer {TOKEN}"))).await;
        told(["ok", "warn", "ok", "ok"]).await;
        fixture.drain.send_replace(true);
        told(["fail", "warn", "ok", "ok"]).await;
    }

    #[tokio::test]
    async fn a_failed_reload_is_told_but_does_not_make_it_less_ready() {
        let fixture = fixture();
        fixture.give_keys(0);
        fs::write(fixture.dir.path().join("routes.yaml"), "version: 1\nbogus: 1\n").unwrap();
        let (status, body) = fixture.json("POST", "/reload", Some(&format!("Bearer {TOKEN}"))).await;
        assert_eq!((status, &body["outcome"], &body["serial"]), (422, &Value::from("rejected"), &Value::from(1)));
        let report = body["report"].as_str().unwrap();
        assert!(report.contains("bogus") && report.contains("routes.yaml:2:1"), "{report}");
        let (status, body) = fixture.json("GET", "/readyz", None).await;
        assert_eq!((status, &body["last_reload_failed"]["outcome"]), (200, &Value::from("rejected")));
        let (_, body) = fixture.json("GET", "/status", None).await;
        assert_eq!(body["last_reload"]["errors"], 1);
        assert_eq!(body["last_reload"]["trigger"], "request");
        assert!(!body.to_string().contains("bogus"), "the content of a document shows without a token");
    }

    #[tokio::test]
    async fn a_reload_needs_the_token() {
        let mut fixture = fixture();
        let good = format!("Bearer {TOKEN}");
        let (status, headers, _) = fixture.ask("POST", "/reload", None).await;
        assert_eq!((status, headers.contains_key(WWW_AUTHENTICATE)), (401, true));
        assert_eq!(fixture.json("POST", "/reload", Some("Bearer wrong")).await.0, 401);
        assert_eq!(
            fixture.json("POST", "/reload", Some(&good)).await,
            (200, serde_json::json!({"outcome": "unchanged", "serial": 1}))
        );
        fs::write(fixture.dir.path().join("routes.yaml"), format!("{ROUTES}\n# edited\n")).unwrap();
        let (status, body) = fixture.json("POST", "/reload", Some(&good)).await;
        assert_eq!((status, &body["outcome"], &body["serial"]), (200, &Value::from("published"), &Value::from(2)));
        fixture.admin.token_file = None;
        let (status, body) = fixture.json("POST", "/reload", Some(&good)).await;
        assert_eq!((status, &body["error"]), (403, &Value::from("token_not_configured")));
        assert!(body["message"].as_str().unwrap().contains("`admin.token_file`"));
    }

    impl Fixture {
        /// The status of a call that comes from an address, and how long it says to wait.
        async fn calls(&self, from: &str, token: &str) -> (u16, Option<u64>) {
            let request = Request::get("/revoked").header(AUTHORIZATION, format!("Bearer {token}"));
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            head.extensions.insert(Caller { address: SocketAddr::new(from.parse().unwrap(), 1), certificate: None });
            let answer = self.admin.answer(&head, Full::new(Bytes::new())).await;
            let wait = answer.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse().unwrap());
            (answer.status().as_u16(), wait)
        }

        /// How many calls are answered with a status before they are too many.
        async fn calls_until_bound(&self, from: &str, token: &str, status: u16) -> usize {
            for taken in 0..1000 {
                let (told, wait) = self.calls(from, token).await;
                if told == 429 {
                    assert_eq!(wait, Some(1));
                    return taken;
                }
                assert_eq!(told, status);
            }
            panic!("there is no bound")
        }
    }

    #[tokio::test]
    async fn calls_with_the_token_are_bounded_all_together_and_pages_without_are_not() {
        let fixture = fixture();
        assert!(fixture.calls_until_bound("192.0.2.1", TOKEN, 200).await >= 20);
        assert_eq!(fixture.calls("192.0.2.2", TOKEN).await.0, 429, "another address");
        assert_eq!(fixture.calls("192.0.2.2", "wrong").await.0, 401, "a try is counted apart");
        assert_eq!(fixture.ask("GET", "/readyz", None).await.0, 503, "not for the bound");
        assert_eq!(fixture.ask("GET", "/status", None).await.0, 200);
    }

    #[tokio::test]
    async fn who_guesses_tokens_can_soon_guess_no_more_and_locks_nobody_else_out() {
        let fixture = fixture();
        assert!(fixture.calls_until_bound("2001:db8::1", "wrong", 401).await >= 20);
        assert_eq!(fixture.calls("2001:db8::2", TOKEN).await.0, 429, "the right one is not looked at, either");
        assert_eq!(fixture.calls("2001:db8:0:1::1", TOKEN).await.0, 200);
        for network in 0..5000 {
            fixture.calls(&format!("2001:db8:1:{network:x}::1"), "wrong").await;
        }
        assert_eq!(fixture.calls("2001:db8:0:1::1", TOKEN).await.0, 200, "after a flood");
    }

    #[tokio::test]
    async fn status_tells_serial_counts_and_ages() {
        let fixture = fixture();
        let (_, body) = fixture.json("GET", "/status", None).await;
        assert_eq!((&body["serial"], &body["policy_loaded_at"]), (&Value::from(1), &Value::from(5)));
        assert_eq!(body["counts"]["applications"], 0);
        assert_eq!(body["keys"][0]["age_seconds"], Value::Null);
        assert_eq!(body["last_reload"], Value::Null);
        fixture.give_keys(100);
        let (_, body) = fixture.json("GET", "/status", None).await;
        assert_eq!((&body["keys"][0]["keys"], &body["keys"][0]["stale"]), (&Value::from(1), &Value::from(false)));
        assert!((100..110).contains(&body["keys"][0]["age_seconds"].as_u64().unwrap()));
        assert!(body["keys"][0]["fetched_at"].as_u64().unwrap() > 1_000_000);
        assert_eq!(body["token_cache"], serde_json::json!({"hits": 0, "misses": 0, "entries": 0}));
    }

    #[tokio::test]
    async fn old_keys_are_told_and_too_old_ones_make_it_not_ready() {
        let fixture = fixture();
        let hour = 3600;
        for (age, stale, ready) in [(0, false, true), (2 * hour, false, true), (2 * hour + 10, true, true)] {
            fixture.give_keys(age);
            let (status, body) = fixture.json("GET", "/readyz", None).await;
            assert_eq!((status == 200, &body["keys"][0]["stale"]), (ready, &Value::from(stale)), "{age}: {body}");
            let metrics = fixture.ask("GET", "/metrics", None).await.2;
            assert!(metrics.contains("portcullis_keys_age_seconds{issuer=\"https://issuer.example\"} "), "{metrics}");
        }
        fixture.give_keys(24 * hour + 10);
        let (status, body) = fixture.json("GET", "/readyz", None).await;
        assert_eq!((status, &body["keys"][0]["age_seconds"]), (503, &Value::Null));
        assert_eq!(body["missing"][0]["what"], "keys");
        assert!(!fixture.ask("GET", "/metrics", None).await.2.contains("portcullis_keys_age_seconds{"));
    }

    #[tokio::test]
    async fn metrics_version_and_keys_have_their_types() {
        let fixture = fixture();
        let (status, headers, body) = fixture.ask("GET", "/.well-known/jwks.json", None).await;
        assert_eq!((status, &headers[CONTENT_TYPE]), (200, &HeaderValue::from_static(JWK_SET)));
        assert_eq!(body, fixture.admin.assertions.jwks());
        let (status, headers, body) = fixture.ask("GET", "/metrics", None).await;
        assert_eq!((status, &headers[CONTENT_TYPE]), (200, &HeaderValue::from_static(OPENMETRICS)));
        assert!(body.ends_with("# EOF\n"), "{body}");
        let version = serde_json::json!({"name": "portcullis", "version": "1.2.3"});
        assert_eq!(fixture.json("GET", "/version", None).await, (200, version));
    }

    #[tokio::test]
    async fn what_is_revoked_is_shown_changed_and_taken_back_with_the_token_only() {
        let mut fixture = fixture();
        let good = format!("Bearer {TOKEN}");
        let body = r#"{"principal": {"tenant": "uss", "oid": "00000000-0000-0000-0000-000000000001"}}"#;
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(fixture.send(method, "/revoked", None, body).await.0, 401);
            assert_eq!(fixture.send(method, "/revoked", Some("Bearer wrong"), body).await.0, 401);
        }
        let ask = async |fixture: &Fixture, method: &str, body: &str| {
            let (status, _, text) = fixture.send(method, "/revoked", Some(&good), body).await;
            (status, serde_json::from_str::<Value>(&text).unwrap())
        };
        let (status, answer) = ask(&fixture, "POST", body).await;
        assert_eq!((status, &answer["added"], &answer["generation"]), (200, &Value::from(1), &Value::from(2)));
        let (status, answer) = ask(&fixture, "POST", body).await;
        assert_eq!((status, &answer["known"], &answer["generation"]), (200, &Value::from(1), &Value::from(2)));
        let (_, list) = ask(&fixture, "GET", "").await;
        let shown = &list["revoked"][0];
        assert_eq!((&list["entries"], &list["left_off"]), (&Value::from(1), &Value::from(0)));
        assert_eq!(shown["principal"]["oid"], "00000000-0000-0000-0000-000000000001");
        assert!(shown["source"].as_str().unwrap().ends_with("store.yaml") && shown["added_at"].is_string(), "{list}");
        assert_eq!(fixture.json("GET", "/status", None).await.1["revoked"]["entries"], 1);
        let (status, answer) = ask(&fixture, "DELETE", body).await;
        assert_eq!((status, &answer["removed"], &answer["generation"]), (200, &Value::from(1), &Value::from(3)));
        for (method, body, status, error) in [
            ("DELETE", body, 404, "not_in_store"),
            ("POST", "", 400, "not_json"),
            ("POST", "uti: x", 400, "not_json"),
            ("POST", "{\"uti\": \"x\", \"tenant\": \"nobody\"}", 422, "rejected"),
            ("POST", "{\"uti\": \"x\", \"added_at\": 7}", 422, "rejected"),
            ("POST", "{\"uti\": \"x\", \"uti\": \"y\"}", 422, "rejected"),
            ("POST", "{\"revoked\": []}", 422, "rejected"),
            ("POST", &" ".repeat(1024 * 1024 + 1), 413, "too_large"),
        ] {
            let (got, answer) = ask(&fixture, method, body).await;
            assert_eq!((got, &answer["error"]), (status, &Value::from(error)), "{method} {answer}");
        }
        assert_eq!(ask(&fixture, "POST", "{\n\t\"uti\":\t\"x\"\n}").await.0, 200);
        fixture.admin.token_file = None;
        assert_eq!(ask(&fixture, "POST", body).await.0, 403);
    }
}
