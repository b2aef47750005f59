//! Requests that are traced: what spans need beside the record, and the bounded way from the threads that serve requests
//! to whoever sends the spans.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use super::record::{Figures, RequestRecord, Spans, Text};

/// The most traced requests that wait to be sent.
const QUEUE: usize = 4096;
/// The most bytes of them.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// What is known of a sampled request beside its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub trace: u128,
    /// The span of a trusted proxy that the request's own is below.
    pub parent: Option<u64>,
    /// Trace and span that somebody named who is not trusted.
    pub link: Option<(u128, u64)>,
    /// The span of the request.
    pub server: u64,
    /// The span of its upstream leg.
    pub client: u64,
    /// The version of HTTP, as `network.protocol.version` has it.
    pub version: &'static str,
    /// Whether the client's connection is encrypted.
    pub secure: bool,
    /// From the request's head to judged, when the upstream leg begins, in microseconds.
    pub judged_us: u64,
    /// The status that the upstream answered, if it did.
    pub upstream_status: Option<u16>,
    /// Whether the answer broke off after its head was sent.
    pub is_broken: bool,
}

/// A traced request that is over.
#[derive(Debug)]
pub struct Traced {
    /// What only spans need.
    pub(super) trace: Trace,
    /// The numbers of its record.
    pub(super) figures: Figures,
    /// What went wrong, without its subject.
    pub(super) code: Option<Cow<'static, str>>,
    places: Spans,
    texts: Box<[u8]>,
}

impl Traced {
    /// A text of its record.
    pub(super) fn text(&self, which: Text) -> Option<Cow<'_, str>> {
        self.places.text(which, &self.texts).map(String::from_utf8_lossy)
    }

    /// How many spans it makes: one, and one for its upstream leg.
    pub fn spans(&self) -> u64 {
        1 + u64::from(self.places.text(Text::Upstream, &self.texts).is_some())
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.texts.len()
    }
}

/// The end of the threads that serve requests.
#[derive(Clone, Debug)]
pub(super) struct Tracer {
    queue: mpsc::Sender<Traced>,
    waiting: Arc<AtomicUsize>,
    dropped: Counter,
}

impl Tracer {
    /// A way for traced requests, and its other end. What finds no room counts as dropped.
    pub(super) fn new(dropped: Counter) -> (Self, TracedRequests) {
        let (queue, requests) = mpsc::channel(QUEUE);
        let waiting = Arc::<AtomicUsize>::default();
        (Self { queue, waiting: Arc::clone(&waiting), dropped }, TracedRequests { queue: requests, waiting })
    }

    /// Hands a finished request over if it is traced. Never waits.
    pub(super) fn hand_over(&self, record: &mut RequestRecord) {
        let Some(trace) = record.trace else { return };
        let code = record.reason_code.clone();
        let (figures, places, texts) = record.parts();
        let traced = Traced { trace, figures: *figures, code, places: *places, texts: texts.into() };
        let (bytes, spans) = (traced.bytes(), traced.spans());
        let room = self.waiting.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= MOST_BYTES;
        if !room || self.queue.try_send(traced).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.inc_by(spans);
        }
    }
}

/// Traced requests that wait to be sent.
#[derive(Debug)]
pub struct TracedRequests {
    queue: mpsc::Receiver<Traced>,
    waiting: Arc<AtomicUsize>,
}

impl TracedRequests {
    /// The next one, as soon as there is one; `None` if there will be no more.
    pub async fn next(&mut self) -> Option<Traced> {
        let traced = self.queue.recv().await?;
        Some(self.taken(traced))
    }

    /// The next one, if it is there already.
    pub fn take(&mut self) -> Option<Traced> {
        let traced = self.queue.try_recv().ok()?;
        Some(self.taken(traced))
    }

    fn taken(&self, traced: Traced) -> Traced {
        self.waiting.fetch_sub(traced.bytes(), Ordering::Relaxed);
        traced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> RequestRecord {
        let mut record = RequestRecord::new(true);
        record.set(Text::Path, path);
        record.trace = Some(Trace {
            trace: 1,
            parent: None,
            link: None,
            server: 2,
            client: 3,
            version: "1.1",
            secure: false,
            judged_us: 0,
            upstream_status: None,
            is_broken: false,
        });
        record
    }

    #[test]
    fn what_nobody_takes_is_bounded_in_number_and_bytes_and_the_rest_is_counted() {
        for (path, most) in [("/", QUEUE), (&*"x".repeat(1000), QUEUE), (&*"r".repeat(100_000), MOST_BYTES / 100_000)] {
            let dropped = Counter::default();
            let (tracer, mut requests) = Tracer::new(dropped.clone());
            let mut long = record(path);
            // Names from the operators' files are not cut.
            long.set(Text::Route, path);
            (0..2 * QUEUE).for_each(|_| tracer.hand_over(&mut long));
            let taken = std::iter::from_fn(|| requests.take()).count();
            assert!(taken <= most && taken > most / 2, "{taken} of {most}");
            assert_eq!(dropped.get(), (2 * QUEUE - taken) as u64);
            tracer.hand_over(&mut long);
            assert!(requests.take().is_some(), "what was taken leaves room");
        }
    }

    #[test]
    fn a_request_that_is_not_traced_is_not_handed_over() {
        let (tracer, mut requests) = Tracer::new(Counter::default());
        tracer.hand_over(&mut RequestRecord::new(true));
        assert!(requests.take().is_none());
    }
}
