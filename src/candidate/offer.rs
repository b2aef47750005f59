//! The copy of a request on its way to the candidate, and the queue that it waits in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use http::request::Parts;

use super::tally::Why;
use super::{Basis, MOST_BYTES};
use crate::pep::{Environment, Given, Judgement, Overheard, Verdict};
use crate::telemetry::Telemetry;

/// A copy of a request that is being served. One that is dropped was never judged, and counts nowhere.
pub struct Offer {
    post: Arc<Post>,
    request: Overheard,
}

/// A copy with what the live policy says of it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) request: Overheard,
    /// `None` where it is no policy's matter what became of it.
    pub(super) live: Option<Judgement>,
    pub(super) basis: Basis,
}

/// The queue of one candidate.
pub(super) struct Post {
    sender: SyncSender<Judged>,
    telemetry: Arc<Telemetry>,
    closed: AtomicBool,
    /// How many were put into the queue.
    sent: AtomicU64,
    /// How many are out of it again.
    pub(super) taken: AtomicU64,
    full: AtomicU64,
    large: AtomicU64,
}

/// What is counted at the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Copies that wait to be judged.
    pub waiting: u64,
    /// Requests that found no place.
    pub full: u64,
    /// Requests that were too large to copy.
    pub large: u64,
}

impl Offer {
    /// A copy for this queue; a request that is too large is counted there instead.
    pub(super) fn of(post: &Arc<Post>, head: &Parts, environment: Environment<'_>) -> Option<Box<Self>> {
        if post.is_closed() {
            return None;
        }
        let Some(request) = Overheard::of(head, environment, MOST_BYTES) else {
            post.lost(Why::TooLarge);
            return None;
        };
        Some(Box::new(Self { post: Arc::clone(post), request }))
    }

    /// Its form was read to judge it, at this moment in seconds since the Unix epoch.
    pub fn with_form(&mut self, form: &Bytes, now: u64) {
        self.request.with_form(form, now);
    }

    /// All these objects were looked up to judge it, the last at this moment in seconds since the Unix epoch.
    pub fn with_objects(&mut self, objects: &[Given], now: u64) {
        self.request.with_objects(objects, now);
    }

    /// It was judged, and this is what became of it. Never waits: where there is no place, that is counted.
    pub fn judged(self, verdict: &Verdict) {
        let Self { post, request } = self;
        if request.bytes() > MOST_BYTES {
            return post.lost(Why::TooLarge);
        }
        let (live, basis) = (Judgement::of(verdict), Basis::of(verdict.snapshot()));
        post.send(Judged { request, live, basis });
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(out)
    }
}

impl Post {
    pub(super) fn new(sender: SyncSender<Judged>, telemetry: &Arc<Telemetry>) -> Self {
        Self {
            sender,
            telemetry: Arc::clone(telemetry),
            closed: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            full: AtomicU64::new(0),
            large: AtomicU64::new(0),
        }
    }

    fn send(&self, judged: Judged) {
        // Before it is there, so that never more are taken than were sent.
        self.sent.fetch_add(1, Ordering::Relaxed);
        if self.sender.try_send(judged).is_err() {
            self.sent.fetch_sub(1, Ordering::Relaxed);
            self.lost(Why::QueueFull);
        }
    }

    fn lost(&self, why: Why) {
        if self.is_closed() {
            return;
        }
        let counter = if why == Why::TooLarge { &self.large } else { &self.full };
        counter.fetch_add(1, Ordering::Relaxed);
        self.telemetry.candidate_request("not_judged");
    }

    /// Takes no more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Forgets what was lost: the tally begins anew.
    pub(super) fn restart(&self) {
        self.full.store(0, Ordering::Relaxed);
        self.large.store(0, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Queued {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let taken = of(&self.taken);
        let waiting = if self.is_closed() { 0 } else { of(&self.sent).saturating_sub(taken) };
        Queued { waiting, full: of(&self.full), large: of(&self.large) }
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Post").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
