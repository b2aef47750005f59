//! The account of one request, kept while it runs and handed to telemetry exactly once: at its end, or wherever it is
//! dropped before that (the client went away, a panic).

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderMap};
use http::{Method, StatusCode, Uri};
use tokio::time::Instant;

use super::body::Held;
use super::upload::{Upload, UploadFault};
use super::{Caller, Worker};
use crate::candidate::Offer;
use crate::model::{Mode, Reason};
use crate::pep::{Answer, Given, Grounds, Refusal, Verdict, Watched};
use crate::telemetry::{RequestRecord, Text};
use crate::token::Fault;

/// What nginx's logs call a client that went away before its answer began; no client ever sees it.
const CLIENT_GONE: u16 = 499;

/// The account of one request.
#[derive(Debug)]
pub(super) struct Ledger {
    worker: Rc<Worker>,
    record: Option<Box<RequestRecord>>,
    started: Instant,
    judged: Instant,
    upload: Option<Rc<Upload>>,
    /// The copy for a candidate policy, until the request is judged.
    offer: Option<Box<Offer>>,
}

impl Ledger {
    /// Opens the account of a request that came in at `at` (milliseconds since the Unix epoch).
    pub(super) fn open(
        worker: &Rc<Worker>,
        (method, target, headers): (&Method, &Uri, &HeaderMap),
        caller: &Caller,
        at: u64,
    ) -> Self {
        let mut record = worker.telemetry.record();
        record.figures.at = at;
        record.figures.client = caller.client;
        record.trace = caller.trace.and_then(|context| context.sampled());
        record.set_id(&caller.id);
        record.set(Text::Method, method.as_str());
        record.set(Text::Host, host(target, headers));
        record.set(Text::Path, target.path());
        if let Some(shown) = &caller.connection.certificate {
            record.set(Text::ClientCertificate, shown.name());
        }
        Self {
            worker: Rc::clone(worker),
            record: Some(record),
            started: caller.started,
            judged: caller.started,
            upload: None,
            offer: None,
        }
    }

    /// The request was judged, by whatever verdict.
    pub(super) fn judged(&mut self) {
        self.judged = Instant::now();
        let took = micros(self.started, self.judged);
        self.note(|record| record.figures.decide_us = took);
    }

    /// Judging it goes on after its form was waited for; the wait is no part of it.
    pub(super) fn judges_again(&mut self) {
        self.judged = Instant::now();
    }

    /// It was judged for the second time.
    pub(super) fn judged_again(&mut self) {
        let began = std::mem::replace(&mut self.judged, Instant::now());
        let took = micros(began, self.judged);
        self.note(|record| record.figures.decide_us += took);
    }

    /// This was read of its body to judge it, at this moment in seconds since the Unix epoch.
    pub(super) fn read_form(&mut self, form: &Bytes, now: u64) {
        self.note(|record| record.figures.bytes_in = form.len() as u64);
        if let Some(offer) = &mut self.offer {
            offer.with_form(form, now);
        }
    }

    /// All these objects were looked up to judge it, the last at this moment in seconds since the Unix epoch.
    pub(super) fn has_objects(&mut self, objects: &[Given], now: u64) {
        if let Some(offer) = &mut self.offer {
            offer.with_objects(objects, now);
        }
    }

    /// A copy of it is for a candidate policy, once it is judged.
    pub(super) fn offers(&mut self, offer: Option<Box<Offer>>) {
        self.offer = offer;
    }

    /// It is judged, and a candidate is told how.
    pub(super) fn tell_candidate(&mut self, verdict: &Verdict) {
        if let Some(offer) = self.offer.take() {
            offer.judged(verdict);
        }
    }

    /// It was judged on these grounds.
    pub(super) fn grounds(&mut self, grounds: &Grounds, allowed: bool) {
        self.note(|record| {
            record.figures.serial = grounds.snapshot.serial;
            record.figures.allowed = allowed;
            record.figures.shadow = grounds.mode == Mode::Shadow;
            if let Some(Watched { refusal, .. }) = &grounds.watched {
                record.would_deny = Some(code(refusal));
                record.token_fault = refusal.token_fault.map(Fault::word);
                record.set(Text::WouldDeny, refusal.full_code());
                record.set_some(Text::Right, refusal.right());
                record.set_some(Text::Scope, refusal.scope());
            }
            record.set_some(Text::Application, grounds.application.as_ref().map(|application| &*application.name));
            record.set_some(Text::Route, grounds.route.as_deref());
            record.set_some(Text::Principal, grounds.principal.as_deref());
            if let Some(token) = &grounds.token {
                record.figures.caller = Some(token.class.word());
                record.set(Text::Tenant, &token.tenant);
                record.set_some(Text::ClientId, token.client.as_deref());
                record.set_some(Text::TokenId, token.token_id.as_deref());
            }
        });
    }

    /// Asks whether it may be forwarded as far as its line is concerned.
    pub(super) fn admit(&mut self) -> Result<(), Refusal> {
        let admitted = self.record.as_mut().is_some_and(|record| self.worker.telemetry.admit(record));
        if admitted { Ok(()) } else { Err(Refusal::of(Reason::AuditUnavailable)) }
    }

    /// Its body goes to the upstream.
    pub(super) fn uploads(&mut self, upload: Option<Rc<Upload>>) {
        self.upload = upload;
    }

    /// How its body ended early, if it did.
    pub(super) fn upload_fault(&self) -> Option<UploadFault> {
        self.upload.as_ref().and_then(|upload| upload.fault())
    }

    /// Since when the upstream could have answered; `None` while the client is to send more.
    pub(super) fn upstream_waits_since(&self, sent: Instant) -> Option<Instant> {
        match &self.upload {
            None => Some(sent),
            Some(upload) => upload.upstream_waits_since().map(|since| since.max(sent)),
        }
    }

    /// This server is tried.
    pub(super) fn tries(&mut self, server: &Arc<str>) {
        let judged = self.judged;
        let started = self.started;
        self.note(|record| {
            record.set(Text::Upstream, server);
            if let Some(trace) = &mut record.trace {
                trace.judged_us = micros(started, judged);
            }
        });
    }

    /// The upstream's part is over so far: its head is there, or it failed.
    pub(super) fn answered(&mut self, status: Option<StatusCode>) {
        let took = micros(self.judged, Instant::now()).max(1);
        self.note(|record| {
            if let Some(trace) = &mut record.trace {
                trace.upstream_status = status.map(|status| status.as_u16());
            }
            record.figures.upstream_us = took;
            record.figures.status = status.map_or(0, |status| status.as_u16());
        });
    }

    /// The gateway says no, with `bytes` of body.
    pub(super) fn refused(&mut self, refusal: &Refusal, bytes: usize) {
        self.note(|record| {
            record.figures.status = refusal.reason.status();
            record.reason_code = Some(code(refusal));
            record.set(Text::Reason, refusal.full_code());
            record.token_fault = refusal.token_fault.map(Fault::word);
            record.set_some(Text::Right, refusal.right());
            record.set_some(Text::Scope, refusal.scope());
            record.figures.bytes_out = bytes as u64;
        });
    }

    /// The gateway itself answered, with `bytes` of body.
    pub(super) fn answered_here(&mut self, answer: &Answer, status: StatusCode, bytes: usize) {
        self.note(|record| {
            record.figures.status = status.as_u16();
            record.reason_code = Some(Cow::Borrowed(answer.word()));
            record.figures.bytes_out = bytes as u64;
        });
    }

    /// The answer broke off after its head was sent.
    pub(super) fn broken(&mut self, reason: Reason) {
        self.note(|record| {
            record.reason_code = Some(Cow::Borrowed(reason.code()));
            if let Some(trace) = &mut record.trace {
                trace.is_broken = true;
            }
        });
    }

    /// The answer was ended for this, after its head was sent.
    pub(super) fn cut(&mut self, refusal: &Refusal) {
        self.note(|record| {
            record.reason_code = Some(code(refusal));
            record.set(Text::Reason, refusal.full_code());
            if let Some(trace) = &mut record.trace {
                trace.is_broken = true;
            }
        });
    }

    /// The worker looks after this answer from now on.
    pub(super) fn look_after(&self, held: &Rc<Held>) {
        self.worker.streams.add(held);
    }

    /// A tunnel ended so.
    pub(super) fn ended(&mut self, word: &'static str) {
        self.note(|record| record.reason_code = Some(Cow::Borrowed(word)));
    }

    /// A tunnel carried so many bytes from the client and to it.
    pub(super) fn carried(&mut self, from_client: u64, to_client: u64) {
        self.note(|record| (record.figures.bytes_in, record.figures.bytes_out) = (from_client, to_client));
    }

    /// So many more bytes of the answer are on their way.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.note(|record| record.figures.bytes_out += bytes as u64);
    }

    /// Hands the record over, of a request that is over `now`. What is noted later is lost, so this comes last.
    pub(super) fn close(&mut self, now: Instant) {
        let Some(mut record) = self.record.take() else { return };
        if let Some(upload) = &self.upload {
            record.figures.bytes_in = upload.bytes();
        }
        if record.figures.status == 0 {
            if std::thread::panicking() {
                record.figures.status = Reason::Internal.status();
                record.reason_code = Some(Cow::Borrowed(Reason::Internal.code()));
            } else {
                record.figures.status = CLIENT_GONE;
            }
        }
        record.figures.total_us = micros(self.started, now);
        self.worker.telemetry.emit(record);
    }

    fn note(&mut self, write: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = &mut self.record {
            write(record);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.record.is_some() {
            self.close(Instant::now());
        }
    }
}

/// Only requirements name codes of their own; all others are written in the program.
fn code(refusal: &Refusal) -> Cow<'static, str> {
    match refusal.reason {
        Reason::Requirement => Cow::Owned(refusal.code().to_owned()),
        reason => Cow::Borrowed(reason.code()),
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}

fn host<'r>(target: &'r Uri, headers: &'r HeaderMap) -> &'r str {
    match target.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default(),
    }
}
