//! Sends the spans of traced requests to a collector, by OTLP over HTTP with JSON. Requests never wait for it: what
//! arrives while the collector cannot be reached waits within bounds, and the rest is dropped and counted.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::http::{Client, Posted, Url};
use crate::telemetry::{Export, Telemetry, Traced, TracedRequests};

/// How long the first request of a message waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a message may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a message is sent at most.
const TRIES: u32 = 8;
/// From the first failure to the next try; doubled at each that follows.
const RETRY: Duration = Duration::from_secs(1);
/// The longest time between two tries, whatever the collector asks for.
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// How long spans are sent after the last request.
const LAST: Duration = Duration::from_secs(2);
/// Between two complaints in the process log.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Where spans go, and how.
#[derive(Clone)]
pub struct Exporter {
    endpoint: Url,
    client: Client,
    authorization: Option<HeaderValue>,
    service: Box<str>,
}

impl Exporter {
    /// To a collector at `endpoint` whose certificate is of an authority in `ca` (PEM), or of a public one, with this
    /// value of `Authorization`, as a service of this name.
    ///
    /// # Errors
    /// `ca` holds no certificate, or a broken one.
    pub fn new(
        endpoint: Url,
        ca: Option<&[u8]>,
        authorization: Option<HeaderValue>,
        service: &str,
    ) -> Result<Self, String> {
        Ok(Self { endpoint, client: Client::new(ca, TIMEOUT)?, authorization, service: service.into() })
    }

    fn begin(&self) -> Export {
        Export::new(&self.service, env!("CARGO_PKG_VERSION"))
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Exporter").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What came of sending a message once.
enum Sent {
    /// It was taken, but for so many spans.
    Taken { rejected: u64, why: String },
    /// It may be taken later, after so long if the collector says.
    Later { after: Option<Duration>, why: String },
    /// It never will be.
    Refused { why: String },
}

/// What became of spans.
struct Account {
    telemetry: Arc<Telemetry>,
    /// Those that were taken over, and of which nobody knows yet.
    open: Cell<u64>,
    over: watch::Receiver<bool>,
    /// How many were lost since it is over.
    lost: Cell<u64>,
}

impl Account {
    fn takes(&self, traced: &Traced) {
        self.open.set(self.open.get() + traced.spans());
    }

    fn lost(&self, spans: u64) {
        if *self.over.borrow() {
            self.lost.set(self.lost.get() + spans);
        }
        self.telemetry.spans_dropped(spans);
    }

    /// A message of all that was open was taken, but for so many at most; for how many.
    fn settles(&self, rejected: u64) -> u64 {
        let spans = self.open.take();
        let rejected = rejected.min(spans);
        self.telemetry.spans_sent(spans - rejected);
        self.lost(rejected);
        rejected
    }

    /// No message of what was open will be taken.
    fn gives_up(&self) {
        self.lost(self.open.take());
    }
}

/// Sends spans until it is `over`, and then those that still wait, each message once, for two seconds at most. What is lost
/// by then is counted, and the process log says how many spans that were.
pub async fn keep(
    exporter: Exporter,
    mut requests: TracedRequests,
    telemetry: Arc<Telemetry>,
    over: watch::Receiver<bool>,
) {
    let account = Account { telemetry, open: Cell::new(0), over: over.clone(), lost: Cell::new(0) };
    let mut ending = over.clone();
    let ends = async {
        is_over(&mut ending).await;
        sleep(LAST).await;
    };
    tokio::select! {
        () = send_all(&exporter, &mut requests, &account, over) => {}
        () = ends => {}
    }
    account.gives_up();
    while let Some(traced) = requests.take() {
        account.lost(traced.spans());
    }
    let lost = account.lost.get();
    if lost > 0 {
        tracing::warn!("the process ends, and {lost} spans that waited for {} are lost", exporter.endpoint);
    }
}

/// Sends all there are until it is over.
async fn send_all(
    exporter: &Exporter,
    requests: &mut TracedRequests,
    account: &Account,
    mut over: watch::Receiver<bool>,
) {
    let mut complaints = Complaints::default();
    loop {
        let first = tokio::select! {
            biased;
            first = requests.next() => first,
            () = is_over(&mut over) => requests.take(),
        };
        let Some(first) = first else { return };
        let mut export = exporter.begin();
        account.takes(&first);
        export.push(&first);
        let due = Instant::now() + GATHER;
        while !export.is_full() {
            let next = tokio::select! {
                biased;
                next = requests.next() => next,
                () = is_over(&mut over) => requests.take(),
                () = sleep_until(due) => None,
            };
            let Some(next) = next else { break };
            account.takes(&next);
            export.push(&next);
        }
        deliver(exporter, export, account, (&mut over, &mut complaints)).await;
    }
}

async fn is_over(over: &mut watch::Receiver<bool>) {
    // Whoever could say it is gone with the process.
    let _ = over.wait_for(|over| *over).await;
}

/// Sends one message, more than once if need be.
async fn deliver(
    exporter: &Exporter,
    export: Export,
    account: &Account,
    (over, complaints): (&mut watch::Receiver<bool>, &mut Complaints),
) {
    let message = Bytes::from(export.finish());
    let mut pause = RETRY;
    for tried in 1..=TRIES {
        let (after, why) = match send(exporter, message.clone()).await {
            Sent::Taken { rejected, why } => {
                match account.settles(rejected) {
                    0 => complaints.are_over(exporter),
                    rejected => complaints.tell(exporter, &format!("{rejected} spans were rejected: {why}")),
                }
                return;
            }
            Sent::Refused { why } => {
                complaints.tell(exporter, &format!("a message was dropped: {why}"));
                break;
            }
            Sent::Later { after, why } => (after, why),
        };
        complaints.tell(exporter, &why);
        if tried == TRIES || *over.borrow() {
            break;
        }
        tokio::select! {
            () = sleep(after.unwrap_or(pause).min(RETRY_LONGEST)) => {}
            () = is_over(over) => {}
        }
        pause = (pause * 2).min(RETRY_LONGEST);
    }
    account.gives_up();
}

async fn send(exporter: &Exporter, message: Bytes) -> Sent {
    let posted = exporter.client.post(&exporter.endpoint, message, exporter.authorization.as_ref()).await;
    match posted {
        Err(fault) => Sent::Later { after: None, why: fault.cause },
        Ok(Posted { status, body, .. }) if status.is_success() => {
            let (rejected, why) = rejected(&body);
            Sent::Taken { rejected, why }
        }
        Ok(Posted { status, retry_after, .. }) => {
            let why = format!("it answered {status}");
            match is_transient(status) {
                true => Sent::Later { after: retry_after.map(Duration::from_secs), why },
                false => Sent::Refused { why },
            }
        }
    }
}

/// The statuses of which OTLP says that the same message may be sent again.
fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// How many spans a collector did not take though it took the message (`partialSuccess`), and what it says to that.
fn rejected(body: &[u8]) -> (u64, String) {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let told = |name: &str| answer.get("partialSuccess").and_then(|partial| partial.get(name));
    let count = match told("rejectedSpans") {
        Some(Value::String(digits)) => digits.parse().unwrap_or_default(),
        number => number.and_then(Value::as_u64).unwrap_or_default(),
    };
    let why = told("errorMessage").and_then(Value::as_str).unwrap_or_default();
    (count, why.chars().take(200).flat_map(char::escape_debug).collect())
}

/// What the process log is told now and then.
#[derive(Default)]
struct Complaints {
    /// Since when nothing was sent, and when that was told last.
    last: Option<Instant>,
}

impl Complaints {
    fn tell(&mut self, exporter: &Exporter, why: &str) {
        if self.last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            self.last = Some(Instant::now());
            tracing::warn!("spans cannot be sent to {}: {why}", exporter.endpoint);
        }
    }

    fn are_over(&mut self, exporter: &Exporter) {
        if self.last.take().is_some() {
            tracing::info!("spans are sent to {} again", exporter.endpoint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_did_not_take_is_read_from_its_answer() {
        for (body, expected) in [
            ("", 0),
            ("{}", 0),
            ("not json", 0),
            (r#"{"partialSuccess":{}}"#, 0),
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"why"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":3}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":-3}}"#, 0),
        ] {
            assert_eq!(rejected(body.as_bytes()).0, expected, "{body}");
        }
    }

    #[test]
    fn only_what_may_pass_by_itself_is_tried_again() {
        for (status, again) in [
            (429, true),
            (502, true),
            (503, true),
            (504, true),
            (400, false),
            (401, false),
            (404, false),
            (500, false),
            (302, false),
        ] {
            assert_eq!(is_transient(StatusCode::from_u16(status).unwrap()), again, "{status}");
        }
    }

    #[test]
    fn no_secret_is_shown_by_debug() {
        let url = Url::parse("https://collector.example.org/v1/traces").unwrap();
        let secret = HeaderValue::from_static("Bearer hidden");
        let exporter = Exporter::new(url, None, Some(secret), "portcullis").unwrap();
        assert!(!format!("{exporter:?}").contains("hidden"));
    }
}
