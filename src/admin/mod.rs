//! The operators' listener: health, metrics, status, reload. Plain HTTP/1.1, loopback by default, one request a
//! connection, bounded in connections, head and time, apart from the threads that serve clients.
//!
//! | call | answer |
//! |---|---|
//! | `GET /livez` | 200 while the process runs |
//! | `GET /readyz` | 200, or 503 with what is missing |
//! | `GET /metrics` | metrics in the OpenMetrics text format |
//! | `GET /version` | name and version |
//! | `GET /status` | serial, counts, ages |
//! | `POST /reload` | reads the live documents again; needs the token of `admin.token_file` |
//!
//! All but the metrics are JSON objects; [`answer`] describes each. No answer holds a secret or the content of a
//! document, save the faults of a rejected reload, which only the holder of the token sees.

pub mod answer;
pub mod token;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::reload::{Handle, Trigger};
use crate::snapshot::Live;
use crate::telemetry::Telemetry;
use crate::token::Verifier;

/// Most connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 64;
/// How long a request head may take.
const HEAD: Duration = Duration::from_secs(10);
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
    /// The metrics.
    pub telemetry: Arc<Telemetry>,
    /// The way to reload.
    pub reload: Handle,
    /// Whether the process is ending.
    pub draining: watch::Receiver<bool>,
    /// The file with the token of mutating calls.
    pub token_file: Option<PathBuf>,
}

/// Answers operators until it is dropped.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let admin = Arc::clone(&admin);
                tokio::spawn(async move {
                    connection(stream, admin).await;
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

async fn connection(stream: TcpStream, admin: Arc<Admin>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let admin = Arc::clone(&admin);
        // No call has a body that says anything.
        let (head, _body) = request.into_parts();
        async move { Ok::<_, Infallible>(admin.answer(&head).await) }
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
    async fn answer(&self, head: &Parts) -> Answer {
        let method = &head.method;
        match head.uri.path() {
            "/livez" | "/readyz" | "/metrics" | "/version" | "/status" if !reads(method) => not_allowed("GET, HEAD"),
            "/livez" => json(StatusCode::OK, &answer::livez()),
            "/readyz" => self.readyz(),
            "/metrics" => text(OPENMETRICS, self.telemetry.render()),
            "/version" => json(StatusCode::OK, &answer::version(self.version)),
            "/status" => json(StatusCode::OK, &answer::status(self)),
            "/reload" if *method != Method::POST => not_allowed("POST"),
            "/reload" => self.reload(head).await,
            _ => problem(StatusCode::NOT_FOUND, "not_found", "there is no such page"),
        }
    }

    fn readyz(&self) -> Answer {
        let ready = answer::readyz(self);
        if ready.ready {
            return json(StatusCode::OK, &ready.body);
        }
        with(json(StatusCode::SERVICE_UNAVAILABLE, &ready.body), RETRY_AFTER, "1")
    }

    async fn reload(&self, head: &Parts) -> Answer {
        let file = self.token_file.clone();
        let authorization = head.headers.get_all(AUTHORIZATION).iter().cloned().collect();
        // Reading the file may block, and it is read each time so that the token can be changed.
        let checked = tokio::task::spawn_blocking(move || token::check(file.as_deref(), authorization)).await;
        match checked {
            Ok(Ok(())) => {}
            Ok(Err(fault @ (token::Fault::NotConfigured | token::Fault::Unusable))) => {
                return problem(StatusCode::FORBIDDEN, fault.code(), fault.text());
            }
            Ok(Err(fault @ (token::Fault::Absent | token::Fault::Wrong))) => {
                let answer = problem(StatusCode::UNAUTHORIZED, fault.code(), fault.text());
                return with(answer, WWW_AUTHENTICATE, "Bearer realm=\"portcullis admin\"");
            }
            Err(_panicked_or_cancelled) => {
                return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the token could not be checked");
            }
        }
        match self.reload.reload(Trigger::Request).await {
            Some(outcome) => {
                let status = answer::reload_status(&outcome);
                json(status, &answer::reload(&outcome))
            }
            None => {
                let text = "too many reloads are waiting already, or the process is ending";
                with(problem(StatusCode::SERVICE_UNAVAILABLE, "busy", text), RETRY_AFTER, "1")
            }
        }
    }
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn reads(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

fn json(status: StatusCode, body: &Value) -> Answer {
    let mut answer = text("application/json", format!("{body}\n"));
    *answer.status_mut() = status;
    answer
}

fn problem(status: StatusCode, code: &str, message: &str) -> Answer {
    json(status, &serde_json::json!({ "error": code, "message": message }))
}

fn not_allowed(methods: &'static str) -> Answer {
    let message = format!("this page answers {methods} only");
    with(problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message), ALLOW, methods)
}

fn text(content_type: &'static str, body: String) -> Answer {
    let answer = Response::new(Full::new(Bytes::from(body)));
    with(with(answer, CONTENT_TYPE, content_type), CACHE_CONTROL, "no-store")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}
